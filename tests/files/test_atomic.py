"""The writer of results: whole or not at all, whatever happens in between."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest
import torch

from nas.files.atomic import (
    atomic_file,
    open_to_append,
    remove_leftovers,
    require_same,
    temporary_beside,
    write_bytes_atomic,
    write_new_text,
    write_text_atomic,
)


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def fail(*_: object) -> None:
    raise OSError(28, "no space left")


def test_text_is_written_whole_and_in_utf8(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a" / "t.txt", "größer\n")
    write_text_atomic(tmp_path / "a" / "t.txt", "ß\n")
    assert (tmp_path / "a" / "t.txt").read_bytes() == "ß\n".encode()


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_failed_write_leaves_the_old_file_and_nothing_else(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text_atomic(tmp_path / "t.txt", "old")
    monkeypatch.setattr(step, fail)
    with pytest.raises(OSError, match="no space left"):
        write_text_atomic(tmp_path / "t.txt", "new")
    assert content(tmp_path) == {"t.txt": "old"}


def test_an_error_of_the_one_who_writes_leaves_the_old_file(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "t.txt", "old")
    with pytest.raises(TypeError), atomic_file(tmp_path / "t.txt") as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert content(tmp_path) == {"t.txt": "old"}


def test_only_a_durable_write_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fail)
    write_bytes_atomic(tmp_path / "a.png", b"1", durable=False)
    assert content(tmp_path) == {"a.png": "1"}


def killed_process() -> int:
    """The number of a process that is not there any more."""
    child = multiprocessing.get_context("fork").Process(target=lambda: None)
    child.start()
    child.join()
    assert child.pid is not None
    return child.pid


def killed_while_writing(path: Path) -> None:
    with atomic_file(path) as file:
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_the_file(tmp_path: Path) -> None:
    for _ in range(2):
        child = multiprocessing.get_context("fork").Process(target=killed_while_writing, args=(tmp_path / "t.txt",))
        child.start()
        child.join()
        [left] = tmp_path.iterdir()
        assert left.name.endswith(f"-{child.pid}.tmp")
    write_text_atomic(tmp_path / "t.txt", "new")
    assert content(tmp_path) == {"t.txt": "new"}


def test_what_others_are_writing_is_left(tmp_path: Path) -> None:
    machine, killed = temporary_beside(tmp_path / "x").name.split(".")[2].split("-")[0], killed_process()
    others = {
        f".t.txt.{machine}-{os.getppid()}.tmp": "being written",
        f".[t.txt.{machine}-{killed}.tmp": "of another file",
        ".t.txt.00000000-1.tmp": "of another machine, and young",
        f".t.txt.{killed}.tmp": "of another program",
    }
    left = {f".t.txt.{machine}-{killed}.tmp", f".t.txt.{machine}-{10**30}.tmp", ".t.txt.11111111-1.tmp"}
    for name in (*others, *left):
        (tmp_path / name).write_text(others.get(name, "torn"))
    os.utime(tmp_path / ".t.txt.11111111-1.tmp", (0, 0))
    write_text_atomic(tmp_path / "t.txt", "new")
    assert content(tmp_path) == {"t.txt": "new", **others}
    remove_leftovers(tmp_path)
    assert content(tmp_path).keys() == {"t.txt", *others} - {f".[t.txt.{machine}-{killed}.tmp"}


def test_a_name_as_long_as_the_disk_allows_is_written(tmp_path: Path) -> None:
    name = "\u00e9" * 125 + ".yaml"
    write_text_atomic(tmp_path / name, "new")
    assert content(tmp_path) == {name: "new"}


def write_often(path: Path, letter: str) -> None:
    for _ in range(40):
        write_text_atomic(path, letter * 200_000)


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    writers = [multiprocessing.get_context("fork").Process(target=write_often, args=(path, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert not path.exists() or path.read_text() in ("a" * 200_000, "b" * 200_000)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]


def test_file_permissions_follow_the_umask(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "atomic", "x")
    (tmp_path / "ordinary").write_text("x")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_link_is_replaced_and_its_target_left(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_text_atomic(tmp_path / "link", "new")
    assert content(tmp_path) == {"target": "old", "link": "new"}
    assert not (tmp_path / "link").is_symlink()


def test_a_new_file_is_written_once(tmp_path: Path) -> None:
    write_new_text(tmp_path / "t.txt", "first")
    with pytest.raises(FileExistsError):
        write_new_text(tmp_path / "t.txt", "second")
    assert content(tmp_path) == {"t.txt": "first"}


def test_a_new_file_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_new_text(tmp_path / "t.txt", "text")
    assert content(tmp_path) == {}


@pytest.mark.parametrize(("size", "expected"), [(0, "new"), (4, "one\nnew"), (8, "one\ntwo\nnew")])
def test_appending_goes_on_behind_a_size(size: int, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "t.txt"
    with open_to_append(path, size=0) as file:
        file.write(b"one\ntwo\n")
    with open_to_append(path, size=size) as file:
        assert file.tell() == size
        file.write(b"new")
    assert path.read_text() == expected


def test_errors_of_the_disk_name_the_file_that_was_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in ("os.fsync", "pathlib.Path.replace"):
        with monkeypatch.context() as changed:
            changed.setattr(step, fail)
            with pytest.raises(OSError, match="no space left") as caught:
                write_text_atomic(tmp_path / "t.txt", "new")
        assert caught.value.filename == str(tmp_path / "t.txt")


def test_a_limit_of_the_disk_is_raised_whatever_the_one_who_writes_makes_of_it(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large") as caught, atomic_file(tmp_path / "t.pt") as file:
            torch.save({"a": torch.zeros(100_000)}, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(tmp_path / "t.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_removed_or_replaced_is_noticed(tmp_path: Path) -> None:
    with open_to_append(tmp_path / "m.jsonl", size=0) as file:
        require_same(file, tmp_path / "m.jsonl")
        write_text_atomic(tmp_path / "m.jsonl", "of another")
        with pytest.raises(FileNotFoundError, match="removed while it was written"):
            require_same(file, tmp_path / "m.jsonl")
        (tmp_path / "m.jsonl").unlink()
        with pytest.raises(FileNotFoundError, match="removed while it was written"):
            require_same(file, tmp_path / "m.jsonl")
