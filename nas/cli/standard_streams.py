"""The standard output and error of the command: what cannot be said there stops no work, and is told at the end."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class StandardStream(io.FileIO):
    """A standard stream that takes everything, and keeps the error of what could not be written.

    A reader that has gone, as `head` does, is an error as before.

    Args:
        number: Of its descriptor.
        is_closed: Whether the process was started without it.
    """

    def __init__(self, number: int, *, is_closed: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.is_closed = is_closed
        self.failure: OSError | None = None

    def write(self, content: ReadableBuffer) -> int:
        """Write bytes; how many."""
        try:
            if self.is_closed:
                raise OSError(errno.EBADF, "it is closed")
            return super().write(content)
        except BrokenPipeError:
            raise
        except OSError as error:
            self.failure = error
            return memoryview(content).nbytes


@contextmanager
def standard_streams() -> Iterator[StandardStream]:
    """Put such streams in place of `sys.stdout` and `sys.stderr`; gives the first.

    The descriptor of a closed one is taken: else a result would get its number, and whatever a library prints.
    """
    closed = [_is_closed(number) for number in (0, 1, 2)]
    for number in (0, 1, 2):
        if closed[number]:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    before = sys.stdout, sys.stderr
    out, err = (StandardStream(number, is_closed=closed[number]) for number in (1, 2))
    sys.stdout, sys.stderr = _text(out, before[0], is_error=False), _text(err, before[1], is_error=True)
    try:
        yield out
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(BrokenPipeError, ValueError):  # the interpreter says the first itself; the second is closed
                stream.flush()


def _text(stream: StandardStream, before: TextIO | None, *, is_error: bool) -> io.TextIOWrapper:
    """A stream of text as the interpreter makes it."""
    return io.TextIOWrapper(
        io.BufferedWriter(cast("BinaryIO", stream)),
        encoding="utf-8" if before is None else before.encoding,
        errors="backslashreplace" if before is None or is_error else before.errors,
        line_buffering=is_error or stream.isatty(),
        write_through=is_error,
    )


def _is_closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False
