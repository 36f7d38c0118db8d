"""What is no file is an error at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nas.files.regular_file import open_regular, read_regular


def test_a_file_is_read_to_a_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("a")
    assert read_regular(tmp_path / "link") == b"abc"
    assert read_regular(tmp_path / "a", 2) == b"ab"
    with open_regular(tmp_path / "a") as file:
        assert file.read() == b"abc"


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="is a pipe or a device, expected a file") as caught:
            open_regular(path)
        assert caught.value.filename == str(path)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nothing")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
