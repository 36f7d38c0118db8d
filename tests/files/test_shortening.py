"""Values in error messages: whole where they are short, else without their middle, on one line."""

from __future__ import annotations

import pytest

from nas.files.shortening import LINE, QUOTED, printable, safe_message, shorten


@pytest.mark.parametrize("limit", [19, 20, 60])
@pytest.mark.parametrize("value", ["a\n" * 500, list(range(100)), {"key": "v" * 100}, "x" * 57, "x" * 58, "x" * 59])
def test_long_values_lose_their_middle(value: object, limit: int) -> None:
    text, short = repr(value), shorten(value, limit=limit)
    assert "\n" not in short
    if len(text) <= limit:
        assert short == text
    else:
        head, tail = short.split("...")
        assert len(short) == limit
        assert text.startswith(head)
        assert text.endswith(tail)
        assert 0 <= len(tail) - len(head) <= 1


@pytest.mark.parametrize("value", [None, 3, 0.5, "", [1, "a"]])
def test_short_values_are_whole(value: object) -> None:
    assert shorten(value) == repr(value)


def test_a_text_is_quoted_on_one_line_with_its_control_characters_escaped() -> None:
    assert printable("gr\u00fcn \x1b[2J\r\n\u202e") == "gr\u00fcn \\x1b[2J\\r\\n\\u202e"
    assert len(printable("\x00" * 10**6)) == QUOTED


def test_a_message_shows_no_control_characters_and_no_endless_words() -> None:
    assert safe_message("a\x1b\nb\x00") == "a\\x1b\nb\\x00"
    assert len(safe_message("got " + "x" * 10**6 + ", expected y")) <= QUOTED + 20
    assert len(safe_message("x " * 10**6)) == LINE
    path = "/" + "a/" * 300
    assert safe_message(path) == path
