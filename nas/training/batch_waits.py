"""Share of an epoch in which a run waits for its batches."""

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
        cached: Whether decoded images stay in memory; then nothing is said of the first epoch, which fills it. None: these data
            cannot be kept.
    """

    def __init__(self, workers: int, *, cached: bool | None = None) -> None:
        self.workers, self.cached, self.waited_s, self._told = workers, cached, 0.0, False
        self._epochs = 0

    def batches(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """The same batches, the waiting for each added up from zero."""
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
        self._epochs += 1
        if self.cached and self._epochs == 1:
            return
        if not self._told and self.share(seconds) > MOST and self.waited_s >= LEAST_S:
            self._told = True
            cache = "" if self.cached is not False else ", or data.cache=true (decoded images stay in memory)"
            log.warning(
                "data: %.0f %% of the epoch's %.1f s went into waiting for batches with data.workers=%d, expected at most %.0f %%; "
                "give data.workers=%d (processes that prepare them)%s",
                100 * self.share(seconds),
                seconds,
                self.workers,
                100 * MOST,
                max(2, 2 * self.workers),
                cache,
            )
