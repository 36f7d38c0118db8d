"""Strict reading of JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nas.files.strict_json import as_count, as_number, as_object, as_optional_text, as_text, parse_strict


@pytest.mark.parametrize("text", ["[" * 32 + "]" * 32, "[" + ", ".join(["[[1], {}]"] * 40) + "]"])
def test_as_many_levels_as_any_file_has_are_read(text: str) -> None:
    assert json.dumps(parse_strict(text)) == text


def test_plain_data_is_read() -> None:
    assert parse_strict('{"a": [1, 2.5, null, true, "x"]}') == {"a": [1, 2.5, None, True, "x"]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": {"b": 1, "b": 1}}', "'b' twice"),
        ("[NaN]", "got NaN"),
        ("[-Infinity]", "got -Infinity"),
        ("{'a': 1}", "line 1, column 2"),
        ("[" * 100_000, "too deeply"),
        ("[" * 33 + "]" * 33, "too deeply, expected at most 32 levels"),
        ('{"a": [' * 17 + "]}" * 17, "too deeply, expected at most 32 levels"),
    ],
)
def test_defects_are_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_strict(text)


def test_objects_have_exactly_their_fields() -> None:
    assert as_object({"a": 1, "b": 2}, "x", ["a", "b"]) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match="x: 'b' is missing, expected a, b"):
        as_object({"a": 1}, "x", ["a", "b"])
    with pytest.raises(ValueError, match="x: got unknown 'c'"):
        as_object({"a": 1, "c": 1}, "x", ["a"])


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (as_text, 3),
        (as_text, " "),
        (as_optional_text, 0),
        (as_number, True),
        (as_number, "1"),
        (as_number, 10**400),
        (as_number, float("inf")),
    ],
)
def test_wrong_types_are_refused_with_the_place(read: Any, value: object) -> None:
    with pytest.raises(ValueError, match="^here: got .*, expected "):
        read(value, "here")


@pytest.mark.parametrize("value", [True, 1.0, "1", None, 0])
def test_only_whole_numbers_count(value: object) -> None:
    with pytest.raises(ValueError, match="expected a whole number of at least 1"):
        as_count(value, "n", minimum=1)
