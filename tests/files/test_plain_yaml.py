import math
from types import MappingProxyType

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.files.plain_yaml import MAX_BYTES, dump_plain_yaml, parse_plain_yaml, plain

texts = st.text(st.characters(blacklist_categories=("Cs",)), max_size=12)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
data = st.dictionaries(
    texts,
    st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6),
)


@settings(max_examples=150, deadline=None)
@given(data)
def test_what_is_written_is_read_back(value):
    assert parse_plain_yaml(dump_plain_yaml(value)).data == value


TRAPS = ["no", "off", "on", "yes", "0.67", "1e3", "010", "0x1f", "1:30", "1_000", "null", "~", "Null", "", "none", "=",
         "<<", "2026-01-01", ".nan", ".inf", "a: b", "# x", "- x", "'", '"', "&a", "*a", "!x", "[", "{", "true", "x\ny",
         " x "]  # fmt: skip


@pytest.mark.parametrize("text", TRAPS)
def test_a_text_that_looks_like_something_else_stays_a_text_here_and_in_plain_pyyaml(text):
    written = dump_plain_yaml({"key": text, text: ["x", text]})
    expected = {"key": text, text: ["x", text]}
    assert parse_plain_yaml(written).data == expected
    assert yaml.safe_load(written) == expected


def test_every_value_has_its_line():
    document = parse_plain_yaml("a: 1\n\nb:\n  c: [x,\n    y]\n  d:\n    e: 2\n")
    assert document.lines[("a",)] == 1
    assert document.lines[("b", "c", 1)] == 5
    assert document.lines[("b", "d", "e")] == 7


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "twice"),
        ("x:\n  a: 1\n  a: 1\n", 3, "twice"),
        ("a: &x 1\n", 1, "anchor"),
        ("a: 1\nb: *x\n", 2, "anchor"),
        ("b: 1\na: !!python/object/apply:os.system [echo]\n", 2, "tag"),
        ("a: !!str 1\n", 1, "tag"),
        ("a: 010\n", 1, "number"),
        ("a: 1\nb: 1:30\n", 2, "number"),
        ("a: 1_000\n", 1, "number"),
        ("a: .nan\n", 1, "finite"),
        ("a: 1\nb: -.inf\n", 2, "finite"),
        ("a: 1\n7: x\n", 2, "key"),
        ("no: x\n", 1, "key"),
        ("? [a, b]\n: x\n", 1, "key"),
        ("a: 1\n\tb: 2\n", 2, "YAML"),
        ("a: [1, 2\nb: 3\n", 2, "YAML"),
        ("a: 1\n---\nb: 2\n", 2, "YAML"),
        ("a: 1\nb: \x00\n", 2, "character"),
        ("a: " + "[" * 40 + "]" * 40, 1, "nesting"),
        ("a: " + "{b: " * 5000, 1, "nesting"),
    ],
)
def test_a_defect_is_refused_with_its_line(text, line, word):
    with pytest.raises(ValueError, match=rf"^line {line}: .*{word}") as caught:
        parse_plain_yaml(text)
    assert "\n" not in str(caught.value)


def test_a_text_that_is_too_long_is_refused_before_it_is_parsed():
    with pytest.raises(ValueError, match="at most"):
        parse_plain_yaml("a" * (MAX_BYTES + 1))


def test_plain_copies_containers_and_leaves_the_original_alone():
    original = MappingProxyType({"a": (1, [2.5]), "b": {"c": None}})
    copy = plain(original)
    assert copy == {"a": [1, [2.5]], "b": {"c": None}}
    copy["a"][1].append(3)
    assert original["a"] == (1, [2.5])


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1: "x"}, b"x", {"a": {2}}])
def test_what_no_file_can_state_is_refused(value):
    with pytest.raises(ValueError, match="expected a text"):
        dump_plain_yaml({"key": value})
