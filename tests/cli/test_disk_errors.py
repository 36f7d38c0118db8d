"""Errors of files that a user named are one line; those of other files keep their traceback."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nas.cli import disk_errors
from nas.cli.disk_errors import in_one_line
from nas.errors import StorageError, UnusablePathError

PACKAGE = Path(disk_errors.__file__).parents[2]


def raised(error: OSError, *named: str | Path) -> None:
    with in_one_line(named):
        raise error


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, StorageError, "the disk is full; make room"),
        (errno.EDQUOT, StorageError, "the quota is used up; make room"),
        (errno.EMFILE, StorageError, "ulimit -n"),
        (errno.EROFS, UnusablePathError, "the file system is read-only"),
        (errno.EACCES, UnusablePathError, "no right"),
        (errno.ENAMETOOLONG, UnusablePathError, "too long"),
        (errno.ELOOP, UnusablePathError, "in a circle"),
        (errno.ENOTDIR, UnusablePathError, "is a file, expected a folder"),
        (errno.EXDEV, UnusablePathError, os.strerror(errno.EXDEV)),
    ],
)
def test_an_error_says_where_what_and_what_to_do(
    number: int, kind: type[Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=words) as caught:
        raised(OSError(number, os.strerror(number), "run/a\nb.pt"), "run")
    assert str(caught.value).startswith("run/a\\nb.pt: ")
    assert "\n" not in str(caught.value)


def test_notes_end_the_line_and_a_run_that_had_begun_is_no_wrong_input(tmp_path: Path) -> None:
    error = FileNotFoundError(errno.ENOENT, "removed while it was written", str(tmp_path / "m"))
    error.add_note("then resume=run goes on from step 3")
    with pytest.raises(StorageError) as caught:
        raised(error, tmp_path)
    assert str(caught.value) == f"{tmp_path / 'm'}: removed while it was written; then resume=run goes on from step 3"


def test_links_to_nothing_are_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nothing")
    with pytest.raises(UnusablePathError, match=f"the symbolic link {tmp_path / 'link'} leads to nothing"):
        raised(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(tmp_path / "link" / "a")), tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        OSError("no number"),
        OSError(errno.ENOSPC, "no file"),
        FileNotFoundError(errno.ENOENT, "gone", "/elsewhere/x"),
        FileNotFoundError(errno.ENOENT, "gone", str(PACKAGE / "conf" / "search.yaml")),
    ],
)
def test_a_fault_of_ours_keeps_its_traceback(error: OSError, tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011  the same object
        raised(error, tmp_path, PACKAGE)
    assert caught.value is error


def test_a_file_of_the_package_that_was_named_is_the_users() -> None:
    path = PACKAGE / "latency_tables" / "mine.json"
    with pytest.raises(UnusablePathError):
        raised(PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)), path)
