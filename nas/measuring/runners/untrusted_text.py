"""Text from another machine: cut, cleaned and never kept whole."""

from __future__ import annotations

import re
from collections import deque

MAX_LINE_BYTES = 1 << 20
"""A longer line is no line of a worker."""
KEPT_LINES = 20
"""So many of the last lines of standard error are kept."""
KEPT_LINE_BYTES = 2000
"""So much of the end of each of them is kept."""

_FREE = re.compile(r"\s\d+\s+-?\d+\s+(?P<free>-?\d+)\s+(?:\d+%|-)\s")


def plain(text: str, *, limit: int = 200) -> str:
    r"""A text on one line that cannot steer a terminal: what is not printable becomes `?`, the rest is cut to `limit` characters.

    >>> plain("\x1b[2Jgone\n")
    '?[2Jgone'
    """
    clean = "".join(char if char.isprintable() else "?" for char in text.strip()[: limit + 1])
    return clean if len(clean) <= limit else f"{clean[: limit - 3]}..."


def free_kib(df: str) -> int | None:
    """Free space by `df -Pk`, in KiB; None if it cannot be read.

    The line is `NAME 1024-BLOCKS USED AVAILABLE CAPACITY MOUNTED-ON` (POSIX); the name may hold spaces.
    """
    found = [_FREE.search(line) for line in df.splitlines()[1:]]
    free = [int(match["free"]) for match in found if match]
    return free[-1] if free else None


class LineSplitter:
    """Cuts a stream of bytes into lines, each decoded as UTF-8 with replacement."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that the chunk ends, without their line breaks.

        Raises:
            ValueError: If a line is longer than `MAX_LINE_BYTES`.
        """
        ended, newline, rest = chunk.rpartition(b"\n")
        lines = (bytes(self._rest) + ended).split(b"\n") if newline else []
        if newline:
            self._rest.clear()
        self._rest += rest
        if max(map(len, [*lines, self._rest])) > MAX_LINE_BYTES:
            raise ValueError(f"got a line of over {MAX_LINE_BYTES} bytes")
        return [line.decode(errors="replace") for line in lines]

    def end(self) -> list[str]:
        """The last line, if the stream did not end with a line break."""
        return [self._rest.decode(errors="replace")] if self._rest else []


class PidLine:
    """Takes the line `segnas runs as process N` out of the beginning of a stream."""

    _LINE = re.compile(rb"^segnas runs as process (?P<pid>[1-9][0-9]{0,9})\n", re.MULTILINE)

    def __init__(self) -> None:
        self.pid: int | None = None
        self._head: bytes | None = b""

    def feed(self, chunk: bytes) -> bytes:
        """The stream without the line, held back until it has come; a line that does not come early is not waited for."""
        if self._head is None:
            return chunk
        self._head += chunk
        match = self._LINE.search(self._head)
        if match is None and len(self._head) <= MAX_LINE_BYTES:
            return b""
        if match:
            self.pid = int(match["pid"])
            self._head = self._head[: match.start()] + self._head[match.end() :]
        head, self._head = self._head, None
        return head

    def end(self) -> bytes:
        """The text that was held back."""
        head, self._head = self._head or b"", None
        return head


class Tail:
    """The last `KEPT_LINES` lines of a stream, in bounded memory."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=KEPT_LINES)
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        """Take what came."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._lines.extend(line[-KEPT_LINE_BYTES:] for line in lines[-KEPT_LINES:])
        self._rest = self._rest[-KEPT_LINE_BYTES:]

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines that are not empty, cleaned."""
        cleaned = (plain(line.decode(errors="replace"), limit=KEPT_LINE_BYTES) for line in (*self._lines, self._rest))
        return tuple(line for line in cleaned if line)[-KEPT_LINES:]
