"""Files are read where a user may have named something else: a pipe would be waited for, a device read without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read its bytes.

    Raises:
        OSError: If it cannot be opened, or is no file but a folder, a pipe or a device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # so that a pipe without a writer is not waited for
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "is a pipe or a device, expected a file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, limit: int = -1) -> bytes:
    """The bytes of a file.

    Args:
        path: The file.
        limit: Most bytes that are read; below 0: all.

    Raises:
        OSError: As for `open_regular`.
    """
    with open_regular(path) as file:
        return file.read(limit)
