"""This process as a place where timings are taken: its runtimes take modules in place of graphs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nas.cost.latency_table import LatencyTable
from nas.cost.table_parts import RuntimeInfo
from nas.devices.this_machine import DeviceInfo, current_clocks, identify
from nas.measuring.backends import BACKENDS
from nas.measuring.backends.module_runtime import ModuleRuntime
from nas.measuring.effort import Effort, protocol_of
from nas.measuring.journal import Conditions, TableJournal
from nas.measuring.network_rounds import level_of, time_networks
from nas.measuring.runners.request import Request
from nas.measuring.runners.runner import Observed, SizedNetwork
from nas.ops.spec import OpSpec
from nas.worker.readings import Reading, Slowdowns, clocks_text, read_state, slowdowns_between, temperatures_text
from nas.worker.rounds import OnProgress, measure_rounds

ReadClocks = Callable[[], str | None]
"""Reads what the device's clocks are at this moment; None where that is not known."""
ReadState = Callable[[], Reading]
"""Reads the state of the device at this moment."""

_log = logging.getLogger(__name__)


class InProcess:
    """This process; a `Runner`.

    Args:
        backend: What executes operations and networks.
        device: What it executes them on.
        effort: How long to measure.
        read_clocks: See `ReadClocks`; None: they are not known.
        read_state: See `ReadState`; None: it is not known.
    """

    def __init__(
        self,
        backend: ModuleRuntime,
        *,
        device: DeviceInfo,
        effort: Effort,
        read_clocks: ReadClocks | None = None,
        read_state: ReadState | None = None,
    ) -> None:
        self.backend = backend
        self.effort = effort
        self.conditions = Conditions(
            device,
            RuntimeInfo.of(backend.runtime, version=backend.version),
            protocol_of(effort, threads=backend.runtime.threads, clock=backend.clock, cuda_graphs=backend.cuda_graphs),
        )
        self._read_clocks = read_clocks or (lambda: None)
        self._read_state = read_state or (lambda: Reading({}, {}, None, [], {}))

    @classmethod
    def of(cls, request: Request) -> InProcess:
        """This process with the backend of a request.

        Raises:
            ConfigError: If the runtime, the accelerator or the name of the device is none.
        """
        device = identify(request.accelerator, name=request.device or "auto")
        backend = BACKENDS[request.runtime.backend](request.runtime, accelerator=request.accelerator)
        return cls(
            backend,
            device=device,
            effort=request.effort,
            read_clocks=partial(current_clocks, request.accelerator),
            read_state=partial(read_state, request.accelerator),
        )

    def take(
        self, plan: Sequence[OpSpec], reference: OpSpec, journal: TableJournal, *, on_progress: OnProgress | None = None
    ) -> Observed:
        """Take the timings of a plan that a journal lacks; see `Runner`."""
        by_key = {spec.key: spec for spec in (*plan, reference)}
        before, effort, states, slowdowns = self._read_clocks(), self.effort, [self._read_state()], Slowdowns()

        def look() -> None:
            states.append(self._read_state())
            seen = slowdowns_between(*states[-2:])
            slowdowns.add(seen.states, seen.rises)

        def round_done(index: int, count: int) -> None:
            look()
            _log.info("round %d of at most %d done, over %d operations", index + 1, effort.max_rounds, count)

        _log.info("%d operations in %d to %d rounds", len(plan), effort.rounds, effort.max_rounds)
        if journal.num_samples:
            _log.info("%d samples are there from a stopped run", journal.num_samples)
        with self.backend.measuring():
            measure_rounds(
                [spec.key for spec in plan],
                reference.key,
                lambda key: self.backend.prepare(by_key[key]),
                log=journal,
                rounds=effort.as_rounds,
                on_progress=on_progress,
                on_round=round_done,
            )
        look()
        return Observed(
            clocks_before=before or clocks_text(states[0]),
            clocks_after=self._read_clocks() or clocks_text(states[-1]),
            temperature_before=temperatures_text(states[0]),
            temperature_after=temperatures_text(states[-1]),
            throttled=tuple(slowdowns.in_words()),
        )

    def time_networks(
        self, networks: Sequence[SizedNetwork], level: LatencyTable | None, *, seed: int, on_progress: OnProgress | None = None
    ) -> NDArray[np.float64]:
        """Samples of whole networks; see `Runner`."""
        with self.backend.measuring():
            runs = [self.backend.prepare_network(one.make(), size=one.size) for one in networks]
            reference = None if level is None else level_of(level, self.backend)
            return time_networks(runs, rounds=self.effort.rounds, seed=seed, reference=reference, on_progress=on_progress)

    def finish(self, *, measured: bool) -> None:
        """Nothing is left."""
