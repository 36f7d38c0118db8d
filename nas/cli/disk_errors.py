"""Errors of files and folders that a user named, in one line: which one, what is wrong with it, and what to do."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.errors import StorageError, UnusablePathError
from nas.files.shortening import printable

log = logging.getLogger("nas")

_PACKAGE = Path(__file__).resolve().parents[2]
_OWN = tuple(_PACKAGE / name for name in ("nas", "search_spaces", "conf", "latency_tables"))
"""Folders of this installation: an error in them is none of the user's, save in those that were named."""
_ELSEWHERE = "give a path that can be used"
_SHORTAGES = {
    errno.ENOSPC: ("the disk is full", "make room"),
    errno.EDQUOT: ("the quota is used up", "make room"),
    errno.EFBIG: ("larger than the file system or the limit of this process lets a file be", "raise the limit (ulimit -f)"),
    errno.EIO: ("the disk cannot be read or written", "check the disk"),
    errno.ESTALE: ("the network file system has lost it", "mount it again"),
    errno.EMFILE: ("too many files are open in this process", "raise the limit (ulimit -n)"),
    errno.ENFILE: ("too many files are open on this machine", "close some"),
}
"""What is no fault of a path: number -> what happened, what to do."""
_PATHS = {
    errno.ENOENT: ("no such file or folder, and none can be made there", "put it back, or give another path"),
    errno.ENOTDIR: ("a part of the path is a file, expected a folder", _ELSEWHERE),
    errno.EISDIR: ("is a folder, expected a file", _ELSEWHERE),
    errno.EEXIST: ("is a file, expected a folder", _ELSEWHERE),
    errno.ENOTEMPTY: ("is a folder that is not empty", _ELSEWHERE),
    errno.EACCES: ("no right to read or write it", "change its permissions, or give another path"),
    errno.EPERM: ("no right to read or write it", "change its permissions, or give another path"),
    errno.EROFS: ("the file system is read-only", "give a path on one that can be written"),
    errno.ENAMETOOLONG: ("the name is too long", "give a shorter one"),
    errno.ELOOP: ("a symbolic link in it leads in a circle", _ELSEWHERE),
    errno.EINVAL: ("the file system does not take this name", "give another one"),
}


@contextmanager
def in_one_line(named: Iterable[str | Path]) -> Iterator[None]:
    """Turn the `OSError`s of files that were named, or lie below what was named, into errors of users.

    Other ones are faults of this program and pass with their traceback. That of a turned one is in the log at level debug, which
    `hydra.verbose=true` shows. Notes on the error, such as where a run goes on, end the line.

    Args:
        named: Files and folders.

    Raises:
        UnusablePathError: If a path cannot be used.
        StorageError: If the disk or the limits of the process are at an end, or a run had begun.
    """
    try:
        yield
    except OSError as error:
        if not _is_named(error, named):
            raise
        log.debug("the error in full", exc_info=error)
        notes = getattr(error, "__notes__", [])
        kind = StorageError if error.errno in _SHORTAGES or notes else UnusablePathError
        raise kind("; ".join([_line(error), *notes])) from error


def _is_named(error: OSError, named: Iterable[str | Path]) -> bool:
    if error.errno is None or not isinstance(error.filename, str | bytes | os.PathLike):
        return False
    path = _whole(error.filename)
    below = [one for one in map(_whole, named) if path.is_relative_to(one)]
    own = next((folder for folder in _OWN if path.is_relative_to(folder)), None)
    return bool(below) if own is None else any(one.is_relative_to(own) for one in below)


def _whole(path: str | bytes | os.PathLike[str]) -> Path:
    """The path from the root on, its links as they are: one may lead in a circle."""
    try:
        return Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100  pathlib follows links or keeps ".."
    except FileNotFoundError:  # the working folder has gone
        return Path(os.fsdecode(path))


def _line(error: OSError) -> str:
    assert error.errno is not None
    path = os.fsdecode(error.filename)
    if error.strerror and error.strerror != os.strerror(error.errno):  # our own words
        return f"{printable(path)}: {error.strerror}"
    what, remedy = {**_SHORTAGES, **_PATHS}.get(error.errno, (str(error.strerror), _ELSEWHERE))
    if error.errno in (errno.ENOENT, errno.EEXIST, errno.ENOTDIR) and (link := _dangling(_whole(path))) is not None:
        what = f"the symbolic link {printable(str(link))} leads to nothing"
        remedy = "remove the link, or make what it leads to"
    return f"{printable(path)}: {what}; {remedy}"


def _dangling(path: Path) -> Path | None:
    """The symbolic link in a path that leads to nothing; None: there is none."""
    for part in (path, *path.parents):
        if part.is_symlink() and not os.path.exists(part):  # noqa: PTH110  a circle raises in pathlib
            return part
    return None
