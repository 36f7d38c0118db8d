"""How much of an epoch a run waits for its batches."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator

from torch import Tensor

log = logging.getLogger("nas")

MOST = 0.1
"""Share of an epoch above which waiting for batches is worth a line."""
LEAST_S = 1.0
"""Seconds of waiting in an epoch below which it is not."""


class DataWatch:
    """Times how long batches let a run wait, and says so once if it is long.

    Without worker processes, that is the time in which this process prepares them.

    Args:
        workers: Worker processes that prepare them.
    """

    def __init__(self, workers: int) -> None:
        self.workers, self.waited_s, self._told = workers, 0.0, False

    def batches(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """The same batches, the waiting for each added up anew."""
        self.waited_s = 0.0
        started = time.perf_counter()
        for batch in batches:
            self.waited_s += time.perf_counter() - started
            yield batch
            started = time.perf_counter()

    def share(self, seconds: float) -> float:
        """Share of an epoch of so many seconds that went into waiting, 0 to 1."""
        return min(1.0, self.waited_s / seconds) if seconds > 0 else 0.0

    def tell(self, seconds: float) -> None:
        """Say once in a run that an epoch of so many seconds waited for its data."""
        if not self._told and self.share(seconds) > MOST and self.waited_s >= LEAST_S:
            self._told = True
            log.warning(
                "data: %.0f %% of the epoch's %.1f s went into waiting for batches with data.workers=%d, expected at most %.0f %%; "
                "give data.workers=%d (processes that prepare them), or data.cache=true (decoded images stay in memory)",
                100 * self.share(seconds),
                seconds,
                self.workers,
                100 * MOST,
                max(2, 2 * self.workers),
            )
