"""Files of JSON lines that grow at their end, and whose last line a crash may have torn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WholeLines:
    """The lines that were written to their end.

    Args:
        lines: Each without its line break.
        size: Bytes that they take, line breaks included: after them stands what a crash has torn, or what is being written.
    """

    lines: tuple[bytes, ...]
    size: int


def read_whole_lines(path: Path) -> WholeLines:
    """Read a file of lines, also while it is being written; a last line without its line break is left out.

    Raises:
        OSError: If the file cannot be read.
    """
    return whole_lines_of(path.read_bytes())


def whole_lines_of(content: bytes) -> WholeLines:
    r"""The whole lines of the content of a file.

    >>> whole_lines_of(b'{"step": 1}\n{"st')
    WholeLines(lines=(b'{"step": 1}',), size=12)
    """
    whole, newline, _torn = content.rpartition(b"\n")
    return WholeLines(tuple(whole.split(b"\n")) if newline else (), len(whole) + len(newline))
