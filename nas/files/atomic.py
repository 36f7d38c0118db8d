"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text in UTF-8 atomically; the folder is made."""
    write_bytes_atomic(path, text.encode())


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write bytes atomically; the folder is made."""
    with _atomic(path) as file:
        file.write(content)


@contextmanager
def _atomic(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` at once and as a whole when the block ends, and never if it raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name, so that what a killed process left behind is overwritten and does not pile up.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Force a renaming in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
