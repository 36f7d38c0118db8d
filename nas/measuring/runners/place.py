"""A folder on some machine in which the worker runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

OnLine = Callable[[str], None]
"""Called with each line that a program writes to its standard output, as soon as it is there, without the line break."""


class Place(Protocol):
    """A folder on some machine; it is made when something is put there, and is the same one again in the next run.

    Every method raises `UserError` with one line where the user can correct it (no such machine, refused, no room, no Python) and
    `ConnectionLostError` where the connection breaks off: what is in the folder stays, and the same call works later.
    """

    @property
    def name(self) -> str:
        """Its name in messages, e.g. `ubuntu@jetson.local:~/.cache/segnas/3f2a`."""

    @property
    def stderr(self) -> tuple[str, ...]:
        """The last lines that the last program wrote to standard error."""

    def put(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all, in place of the one of that name."""

    def get(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""

    def run(self, arguments: Sequence[str], *, on_line: OnLine) -> int:
        """Run `python -I ARGUMENTS` in the folder and wait for its end.

        Returns:
            Its exit status; below 0: minus the number of the signal that ended it.
        """

    def remove(self) -> None:
        """Delete the folder and what is in it; nothing happens if there is none."""

    def close(self) -> None:
        """Give back what is held open; the folder stays."""
