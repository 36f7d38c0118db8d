"""Networks that are ready to be timed, of which those not used for longest are closed where memory runs short."""

from __future__ import annotations

from collections.abc import Callable

from nas.worker.interface import Run

FREE_SHARE = 0.5
"""A network is opened with at least this share of the memory that was available at first, if closing others gives as much."""


class NetworkSessions:
    """Holds what executes networks; closed ones are opened again when they are run.

    A network keeps memory for its activations, and tens of networks of large images may need more than there is.

    Args:
        available: Bytes that the process may still take; None: nobody can say, and nothing is closed.
    """

    def __init__(self, available: Callable[[], int | None]) -> None:
        self._available = available
        self._at_first = available()
        self._open: dict[int, Run] = {}
        """Number of a network -> what executes it, in the order of use."""
        self._count = 0

    def hold(self, make: Callable[[], Run]) -> Run:
        """What executes a network, which is opened at once, so that a refusal comes early.

        Args:
            make: Opens it.
        """
        number = self._count
        self._count += 1

        def opened() -> Run:
            if number not in self._open:
                self.make_room()
                self._open[number] = make()
            self._open[number] = self._open.pop(number)  # the last to be closed
            return self._open[number]

        opened()
        return lambda calls: opened()(calls)

    def make_room(self) -> None:
        """Close those not used for longest until enough memory is available, or none is open."""
        while self._open and self._is_short():
            self._open.pop(next(iter(self._open)))

    def _is_short(self) -> bool:
        available = self._available()
        return available is not None and self._at_first is not None and available < FREE_SHARE * self._at_first
