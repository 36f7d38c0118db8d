"""A text stream for one of several processes that write to the same place: whole lines, each with the name of its process."""

from __future__ import annotations

import io
import os


class WholeLines(io.TextIOBase):
    """Writes each line in one piece, after a prefix; what has no end of line yet is kept back until `close`.

    It never says that it is a terminal: bars that several processes draw in one place would overwrite each other.

    Args:
        descriptor: Of the file that all write to.
        prefix: Stands before each line.
    """

    def __init__(self, descriptor: int, prefix: str = "") -> None:
        super().__init__()
        self._descriptor, self._prefix, self._kept = descriptor, prefix, ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As everywhere in this project."""
        return "utf-8"

    def fileno(self) -> int:
        """Descriptor of the file."""
        return self._descriptor

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def write(self, text: str) -> int:
        """Write the lines that are complete now."""
        *lines, self._kept = (self._kept + text).split("\n")
        if lines:
            self._put("".join(f"{self._prefix}{line}\n" for line in lines))
        return len(text)

    def close(self) -> None:
        """Write what is left as a line; the file stays open."""
        if self._kept:
            self.write("\n")
        super().close()

    def _put(self, text: str) -> None:
        data = text.encode("utf-8", errors="backslashreplace")
        while data:
            data = data[os.write(self._descriptor, data) :]
