"""Plain data is read within bounds: what is too long, too deep, no number or said twice is refused with a reason."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from nas.worker.plain_json import MAX_DIGITS, MAX_LINE_BYTES, one_line, read_bounded, value_of


def test_what_json_says_is_read() -> None:
    assert value_of(b'{"a": [1, -2.5, "x", null, true]}') == {"a": [1, -2.5, "x", None, True]}
    assert value_of(b"9" * MAX_DIGITS) == int("9" * MAX_DIGITS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 200_000, "not valid JSON"),
        (b'{"a":' * 100_000, "not valid JSON"),
        (b"NaN", "expected a finite number"),
        (b"-Infinity", "expected a finite number"),
        (b"1e999", "expected a finite number"),
        (b"9" * 1_000_000, "got a number of 1,000,000 digits, expected at most 30"),
        (b'{"a": 1, "a": 2}', "got a name twice in one object"),
        (b'"\xff"', "not valid JSON: 'utf-8' codec"),
        (b"", "not valid JSON"),
        (b" " * (MAX_LINE_BYTES + 1), "expected at most"),
    ],
    ids=lambda value: repr(value)[:12],
)
def test_what_is_no_plain_data_is_refused_at_once(content: bytes, reason: str) -> None:
    start = time.monotonic()
    with pytest.raises(ValueError, match=reason):
        value_of(content)
    assert time.monotonic() - start < 5


def test_a_file_is_read_up_to_its_limit_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(str(path), limit=5) == b"12345"
    with pytest.raises(ValueError, match="more than 4 bytes"):
        read_bounded(str(path), limit=4)
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(ValueError, match="no regular file"):
            read_bounded(str(tmp_path / name), limit=5)
    with pytest.raises(FileNotFoundError):
        read_bounded(str(tmp_path / "none"), limit=5)


def test_a_reason_is_one_short_line_that_does_not_steer_a_terminal() -> None:
    assert one_line("a\n b\x1b[2J") == "a b?[2J"
    assert one_line("x" * 500) == "x" * 197 + "..."
