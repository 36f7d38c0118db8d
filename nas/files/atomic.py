"""The one place that writes results: a file appears whole or not at all, and a file of lines grows at its end.

A file is written beside its target, forced to the disk and renamed: at every moment, also after `kill -9` or a power cut, the
target is either the old file or the new one. Its permissions follow the umask. A symbolic link is replaced by the file.
"""

from __future__ import annotations

import errno
import glob
import io
import os
import re
import shutil
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LEFT_S = 3600.0
"""Seconds after which a temporary file of another machine's process counts as left."""
MOST_BYTES = 230
"""Bytes of a name that a temporary name keeps."""
_TEMPORARY = re.compile(r"\..*\.(?P<machine>[0-9a-f]{8})-(?P<pid>[0-9]+)\.tmp", re.DOTALL)


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
    if durable:  # a folder of many files is looked through once, by who holds it
        remove_leftovers(path.parent, of=path.name)
    temporary = temporary_beside(path)
    try:
        with naming(path):
            raw = _NamedFile(temporary, "wb", target=path)
        try:
            with io.BufferedWriter(raw) as file:
                yield cast("BinaryIO", file)
                file.flush()
                if durable:
                    sync(file, path)
        except Exception as error:
            if raw.failure is None or error is raw.failure:
                raise
            raise raw.failure from error  # PyTorch says that writing failed, and not why
        with naming(path):
            temporary.replace(path)
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):  # the folder may have gone, too
            temporary.unlink(missing_ok=True)
    if durable:
        with naming(path):
            _sync_folder(path.parent)


def open_to_append(path: Path, *, size: int) -> BinaryIO:
    """Open a file to append to it after its first `size` bytes; what follows them is cut off. File and folder are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BufferedWriter(_NamedFile(path, "ab", target=path))
    file.truncate(size)
    file.seek(0, os.SEEK_END)  # so that tell() counts from the new end
    return cast("BinaryIO", file)


def sync(file: BinaryIO | io.BufferedWriter, path: Path) -> None:
    """Force an open file to the disk.

    Raises:
        OSError: Naming the file, also where it is no longer there.
    """
    with naming(path):
        os.fsync(file.fileno())


def require_same(file: BinaryIO, path: Path) -> None:
    """Refuse to go on writing to an open file that somebody has removed or replaced: what is written is lost.

    Raises:
        FileNotFoundError: Naming it.
    """
    if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
        raise FileNotFoundError(errno.ENOENT, "removed while it was written", str(path))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let errors of the system name this file, and not a temporary one or none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # else its text is all that it has
            error.filename, error.filename2 = str(path), None
        raise


class _NamedFile(io.FileIO):
    """A file whose errors name what it will become; the last one is kept, for who writes may hide it.

    Args:
        path: The file.
        mode: As for `open`.
        target: What errors name.
    """

    def __init__(self, path: Path, mode: str, *, target: Path) -> None:
        super().__init__(path, mode)
        self.target = target
        self.failure: OSError | None = None

    def write(self, content: ReadableBuffer) -> int:
        """Write bytes; how many."""
        try:
            with naming(self.target):
                return super().write(content)
        except OSError as error:
            self.failure = error
            raise


def temporary_beside(path: Path) -> Path:
    """A name for what becomes a file, which says whose it is: `remove_leftovers` knows by it what a killed process has left."""
    return path.with_name(f".{_stem_of(path)}.{_machine()}-{os.getpid()}.tmp")


def is_temporary(path: Path) -> bool:
    """Whether a name is one of `temporary_beside`: no result."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove_leftovers(folder: Path, *, of: str | None = None) -> None:
    """Remove what killed processes have left under temporary names, so that it does not pile up.

    The number of a process of another machine that shares the disk says nothing here: what was touched lately stays.

    Args:
        folder: Where they wrote.
        of: Name of the file that they wrote; None: any.
    """
    for leftover in folder.glob(f".{'*' if of is None else glob.escape(_stem_of(Path(of)))}.*.tmp"):
        name = _TEMPORARY.fullmatch(leftover.name)
        if name is None:
            continue
        is_ours = name["machine"] == _machine()
        if not is_running(int(name["pid"])) if is_ours else _seconds_untouched(leftover) > LEFT_S:
            _remove(leftover)


def _remove(leftover: Path) -> None:
    """Remove a file or folder, which somebody else may be removing, too, or which may not be ours to remove."""
    if leftover.is_dir() and not leftover.is_symlink():
        shutil.rmtree(leftover, ignore_errors=True)
        return
    with suppress(OSError):
        leftover.unlink(missing_ok=True)


@cache
def _machine() -> str:
    """This machine since it was started, and its numbers of processes, of which a container has its own."""
    facts = [socket.gethostname()]
    with suppress(OSError):  # Linux says more
        facts += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return f"{zlib.crc32(' '.join(facts).encode()):08x}"


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
