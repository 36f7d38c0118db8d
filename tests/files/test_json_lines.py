"""Files of lines whose last one a crash may have torn."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.files.json_lines import WholeLines, read_whole_lines


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", ()),
        (b"torn", ()),
        (b"\n", (b"",)),
        (b"1\n", (b"1",)),
        (b"1\n2", (b"1",)),
        (b"1\r\n\xff\n\n", (b"1\r", b"\xff", b"")),
    ],
)
def test_lines_with_their_end_are_read_and_counted(content: bytes, lines: tuple[bytes, ...], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    found = read_whole_lines(tmp_path / "a.jsonl")
    assert found == WholeLines(lines, size=sum(len(line) + 1 for line in lines))


def test_a_missing_file_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_whole_lines(tmp_path / "a.jsonl")
