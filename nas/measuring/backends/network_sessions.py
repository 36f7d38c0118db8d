"""Networks that are ready to be timed, of which those not used for longest are closed where memory runs short."""

from __future__ import annotations

from collections.abc import Callable

from nas.worker.interface import Run

FREE_SHARE = 0.3
"""A network that was closed, or has not run yet, begins with this share of the memory that was available at first."""


class NetworkSessions:
    """Holds what executes networks; closed ones are opened again when they are run.

    A network keeps memory for its activations from its first run on, and tens of networks of large images may need more than there
    is.

    Args:
        available: Bytes that the process may still take; None: nobody can say, and nothing is closed.
    """

    def __init__(self, available: Callable[[], int | None]) -> None:
        self._available = available
        self._at_first = available()
        self._open: dict[int, list[Run]] = {}
        """Number of a network -> what executes it, in the order of use."""
        self._count = 0

    def hold(self, make: Callable[[], Run]) -> Run:
        """What executes a network, which is opened at once, so that a refusal comes early.

        Args:
            make: Opens it.
        """
        number, opened, has_run = self._count, [make()], False
        self._count += 1

        def run(calls: int) -> float:
            nonlocal opened, has_run
            if number not in self._open:
                self._make_room()
                if has_run:
                    opened = [make()]
                self._open[number], has_run = opened, True
            self._open[number] = self._open.pop(number)
            return opened[0](calls)

        return run

    def _make_room(self) -> None:
        """Close those not used for longest until enough memory is available, or none is open."""
        while self._open and self._is_short():
            self._open.pop(next(iter(self._open))).clear()

    def _is_short(self) -> bool:
        available = self._available()
        return available is not None and self._at_first is not None and available < FREE_SHARE * self._at_first
