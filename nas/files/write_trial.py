"""Whether a file or folder can be written: tried before work is done whose result would have no place."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from nas.files.atomic import naming, write_bytes_atomic

_BYTES = bytes(4096)
"""What is written on trial: one block of most disks."""


def try_folder(folder: Path) -> None:
    """Write a file to a folder, or to one of that name where it does not exist yet; nothing of it stays.

    Raises:
        OSError: If it cannot be done, naming the folder.
    """
    with naming(folder):
        _try(folder, "trial")


def try_file(path: Path) -> None:
    """Write a file of this name, beside the one that is there; nothing of it stays.

    Raises:
        OSError: If it cannot be done, naming the file.
    """
    with naming(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _try(path.parent, path.name)


def _try(folder: Path, name: str) -> None:
    """What is missing of the folder is made inside a folder on trial, for others may be making it at this moment."""
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    with tempfile.TemporaryDirectory(dir=there) as trial:
        write_bytes_atomic(Path(trial) / folder.relative_to(there) / name, _BYTES)
