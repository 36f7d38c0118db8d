"""Whether a file or folder can be written: tried before work is done whose result would have no place."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from nas.files.atomic import naming, remove_leftovers, temporary_beside, write_bytes_atomic

_TRIAL = "trial"
"""Beginning of the name of the folder that is written to on trial."""
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
    remove_leftovers(there, of=_TRIAL)
    trial = temporary_beside(there / _TRIAL)
    trial.mkdir(exist_ok=True)
    try:
        write_bytes_atomic(trial / folder.relative_to(there) / name, _BYTES)
    finally:
        shutil.rmtree(trial, ignore_errors=True)
