"""The worker in a folder of some machine as a place where timings are taken."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from nas.errors import WorkerStoppedError
from nas.measuring.journal import TableJournal
from nas.measuring.network_rounds import SERIES, NetworkTimings, series_key
from nas.measuring.runners.bundle import network_files
from nas.measuring.runners.conditions import conditions_in, effort_in
from nas.measuring.runners.place import Place
from nas.measuring.runners.request import Request
from nas.measuring.runners.runner import Observed, Timeable
from nas.measuring.runners.worker_result import observed_in
from nas.measuring.runners.worker_run import WorkerRun
from nas.ops.spec import OpSpec
from nas.worker.rounds import Log, OnProgress
from nas.worker.timing_journal import JOURNAL_FILE

_log = logging.getLogger(__name__)


class WorkerRunner:
    """The worker in a place; a `Runner`.

    Args:
        place: Where it runs.
        request: How it measures.

    Raises:
        UserError: If it cannot run there, lacks the runtime, or nothing says what the device is.
    """

    def __init__(self, place: Place, request: Request) -> None:
        self._place = place
        self._request = request
        self._run = WorkerRun(place, request)
        self._identity = self._run.identify()
        self.conditions = conditions_in(request, self._identity)
        self.effort = effort_in(request, self._identity)

    def take(
        self, plan: Sequence[OpSpec], reference: OpSpec, journal: TableJournal, *, on_progress: OnProgress | None = None
    ) -> Observed:
        """Take the timings of a plan that a journal lacks; what a stopped run has left in the place comes first; see `Runner`."""
        result = self._run.take(plan, reference, journal, identity=self._identity, on_progress=on_progress)
        return self._observed(result, [spec.key for spec in plan])

    def time_networks(
        self, networks: Sequence[Timeable], reference: OpSpec | None, *, seed: int, on_progress: OnProgress | None = None
    ) -> tuple[NetworkTimings, Observed]:
        """Time whole networks; a run that stopped goes on from the worker's journal when it is repeated; see `Runner`."""
        del seed  # the worker's orders are always the same
        assert reference is not None
        log = Log()
        files = network_files(networks, reference, self._request)
        result = self._run.measure(files, log, identity=self._identity, on_progress=on_progress)
        if count := networks_without_graph(result, len(networks)):
            _log.warning(
                "%s: %d of %d networks cannot be captured as CUDA graphs and were launched kernel by kernel, so that their "
                "launches are part of their times",
                self._place.name,
                count,
                len(networks),
            )
        keys = [series_key(number, series) for number in range(len(networks)) for series in range(SERIES)]
        observed = self._observed(result, keys)
        self._place.remove()
        return NetworkTimings(tuple(log.timings), len(networks)), observed

    def finish(self, *, measured: bool) -> None:
        """Delete the folder; where nothing was measured and there is a journal, somebody else measures there."""
        if measured or self._place.get(JOURNAL_FILE) is None:
            self._place.remove()

    def _observed(self, result: Mapping[str, Any], keys: Sequence[str]) -> Observed:
        """What the worker saw of the device, as it says at its end."""
        try:
            return observed_in(result, keys)
        except ValueError as error:
            raise WorkerStoppedError(f"{self._place.name}: the worker said what no worker says: {error}") from error


def networks_without_graph(result: Mapping[str, Any], networks: int) -> int:
    """Number of networks that were not launched as CUDA graphs, as the operations were that they are compared with.

    Args:
        result: What the worker says at its end.
        networks: Number of networks, each of which was timed in `SERIES` series.
    """
    numbers = result.get("without_graph")
    without = {number // SERIES for number in numbers if isinstance(number, int)} if isinstance(numbers, list) else set()
    return len(without & set(range(networks)))
