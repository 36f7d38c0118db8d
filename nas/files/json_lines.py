"""Files of JSON lines that grow at their end, and whose last line a crash may have torn. None is held as a whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES = 1_000_000
"""Bytes of the longest line that is read."""
_BLOCK = 65_536
"""Bytes that are looked through at a time."""


def whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file one after the other, also while it is being written.

    Each is without its line break; a last line that has none is left out.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If a line is longer than `MOST_BYTES`.
    """
    with path.open("rb") as file:
        while line := file.readline(MOST_BYTES + 1):
            if not line.endswith(b"\n"):
                if len(line) > MOST_BYTES:
                    raise ValueError(f"got a line of more than {MOST_BYTES} bytes")
                return
            yield line[:-1]


def whole_size(path: Path) -> int:
    """Bytes of the whole lines of a file: after them stands what a crash has torn, or what is being written.

    Raises:
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _BLOCK)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0
