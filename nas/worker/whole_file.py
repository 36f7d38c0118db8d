"""The worker's writer of files: whole or not at all, and never through a link."""

import contextlib
import errno
import os
import stat

from nas.worker.interface import WorkerError


def open_own(path: str, flags: int) -> int:
    """A descriptor of a file of the worker's own, made where there is none.

    Args:
        path: The file.
        flags: Of `os.open`, beside those that make it and keep it from following a link or waiting for a pipe.

    Raises:
        OSError: If it cannot be opened, or is a link or anything else but a regular file.
    """
    number = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "it is no regular file", path)
    return number


def write_whole(path: str, content: bytes, *, remedy: str) -> None:
    """Write a file under a temporary name, force it to the disk and rename it, so that there is never a part of one.

    Args:
        path: The file.
        content: Its content.
        remedy: What to do where it cannot be written; ends the message.

    Raises:
        WorkerError: If it cannot be written; nothing of it is left then.
    """
    temporary = f"{path}.part"
    try:
        with os.fdopen(open_own(temporary, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise WorkerError(f"{path}: cannot be written ({error.strerror}); {remedy}") from error
