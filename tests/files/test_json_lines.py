"""Files of lines whose last one a crash may have torn."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from nas.files.json_lines import MOST_BYTES, whole_lines, whole_size


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"torn", []),
        (b"\n", [b""]),
        (b"1\n", [b"1"]),
        (b"1\n2", [b"1"]),
        (b"1\r\n\xff\n\n", [b"1\r", b"\xff", b""]),
        (b"1\n" + b"x" * 200_000, [b"1"]),
        (b"x" * 200_000, []),
        (b"x" * 65_535 + b"\n" + b"y" * 65_536, [b"x" * 65_535]),
    ],
)
def test_lines_with_their_end_are_read_and_counted(content: bytes, lines: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    assert list(whole_lines(tmp_path / "a.jsonl")) == lines
    assert whole_size(tmp_path / "a.jsonl") == sum(len(line) + 1 for line in lines)


@pytest.mark.parametrize("read", [lambda path: list(whole_lines(path)), whole_size])
def test_a_missing_file_is_no_empty_one(read, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "a.jsonl")


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_that_never_ends_is_refused_before_it_fills_the_memory(end: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"1\n" + b"x" * (MOST_BYTES + 1) + end)
    lines = whole_lines(tmp_path / "a.jsonl")
    assert next(lines) == b"1"
    with pytest.raises(ValueError, match=f"got a line of more than {MOST_BYTES} bytes"):
        next(lines)


def test_a_large_file_is_read_in_the_memory_of_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes((b"x" * 99 + b"\n") * 100_000)
    tracemalloc.start()
    assert sum(1 for _ in whole_lines(tmp_path / "a.jsonl")) == 100_000
    assert whole_size(tmp_path / "a.jsonl") == 10_000_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000
