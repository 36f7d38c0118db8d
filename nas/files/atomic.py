"""The one place that writes results: a file appears whole or not at all, and a file of lines grows at its end.

A file is written beside its target, forced to the disk and renamed: at every moment, also after `kill -9` or a power cut, the
target is either the old file or the new one. Its permissions follow the umask. A symbolic link is replaced by the file.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

LEFT_S = 3600.0
"""Seconds after which a temporary file of a process that is not there counts as left."""
MOST_BYTES = 230
"""Bytes of a name that a temporary name keeps."""


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text in UTF-8 atomically; the folder is made."""
    write_bytes_atomic(path, text.encode())


def write_bytes_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write bytes atomically; the folder is made.

    Args:
        path: The file.
        content: What it shall hold.
        durable: Wait until the disk has it. A folder of many files that can be made again does without, for each wait takes
            about as long as making a picture.
    """
    with atomic_file(path, durable=durable) as file:
        file.write(content)


def write_new_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 to a file that does not exist yet; its folder does.

    Raises:
        FileExistsError: If the file exists; it is left as it is.
    """
    path.open("xb").close()  # holds the name, so that nobody else takes it in between
    try:
        write_text_atomic(path, text)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_file(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` at once and as a whole when the block ends, and never if it raises.

    Two processes that write the same file at once do not disturb each other: the later one wins.

    Args:
        path: The file; its folder is made.
        durable: As for `write_bytes_atomic`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = path.with_name(f".{_stem_of(path)}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        _sync_folder(path.parent)


def open_to_append(path: Path, *, size: int) -> BinaryIO:
    """Open a file to append to it after its first `size` bytes; what follows them is cut off. File and folder are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    file.truncate(size)
    file.seek(0, os.SEEK_END)  # so that tell() counts from the new end
    return file


def _remove_leftovers(path: Path) -> None:
    """Remove what killed processes have left of this file, so that it does not pile up.

    A process of another machine that shares the disk has a number that says nothing here: what was touched lately stays.
    """
    for leftover in path.parent.glob(f".{glob.escape(_stem_of(path))}.*.tmp"):
        pid = leftover.name.rsplit(".", 2)[1]
        if pid.isdecimal() and not is_running(int(pid)) and _seconds_untouched(leftover) > LEFT_S:
            leftover.unlink(missing_ok=True)


def _stem_of(path: Path) -> str:
    """The beginning of a file's name, so short that a number and an ending have room behind it (255 bytes on most disks)."""
    return os.fsdecode(os.fsencode(path.name)[:MOST_BYTES])


def _seconds_untouched(path: Path) -> float:
    """Seconds since a file was written to; 0 if it is not there any more."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def is_running(pid: int) -> bool:
    """Whether this machine has a process of a number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Force a renaming in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
