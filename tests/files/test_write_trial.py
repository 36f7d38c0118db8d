"""A trial of writing finds what writing would, and leaves nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from nas.files.write_trial import try_file, try_folder


def fail(*_: object) -> None:
    raise OSError(28, os.strerror(28))


def test_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    for folder in ("there", "there/a/b", "new/c", str(tmp_path / "d")):
        try_folder(Path(folder))
        try_file(Path(folder) / "table.json")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


@pytest.mark.parametrize("attempt", [try_folder, try_file])
def test_a_full_disk_is_found_and_named(attempt: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left") as caught:
        attempt(tmp_path / "new" / "x")  # type: ignore[operator]
    assert caught.value.filename == str(tmp_path / "new" / "x")
    assert list(tmp_path.iterdir()) == []


def killed_in_a_trial(folder: Path) -> None:
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    try_folder(folder)


def test_the_next_trial_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    child = multiprocessing.get_context("fork").Process(target=killed_in_a_trial, args=(tmp_path / "a" / "b",))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    try_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
