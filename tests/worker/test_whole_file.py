"""The worker's writer: the old file or the new one, and an error of one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.worker.interface import WorkerError
from nas.worker.whole_file import write_whole


def test_a_file_is_written_in_place_of_the_old_one(tmp_path: Path) -> None:
    for content in (b"old and long", b"new"):
        write_whole(str(tmp_path / "a"), content, remedy="make room")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"new")]


@pytest.mark.parametrize("step", ["os.fsync", "os.replace"])
def test_a_file_that_cannot_be_written_leaves_the_old_one(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(str(tmp_path / "a"), b"old", remedy="make room")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, fail)
    with pytest.raises(WorkerError) as caught:
        write_whole(str(tmp_path / "a"), b"new", remedy="make room there")
    assert str(caught.value) == f"{tmp_path}/a: cannot be written (No space left on device); make room there"
    assert (tmp_path / "a").read_bytes() == b"old"
