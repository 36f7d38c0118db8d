"""This process as a place where timings are taken: its runtimes take modules in place of graphs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from nas.cost.table_parts import RuntimeInfo
from nas.devices.this_machine import DeviceInfo, current_clocks, identify
from nas.measuring.backends import BACKENDS
from nas.measuring.backends.module_runtime import ModuleRuntime
from nas.measuring.effort import Effort, protocol_of
from nas.measuring.journal import Conditions, TableJournal
from nas.measuring.network_rounds import NetworkTimings, time_networks
from nas.measuring.runners.request import Request
from nas.measuring.runners.runner import Observed, SizedNetwork, Timeable
from nas.ops.spec import OpSpec
from nas.worker.interface import Run
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
        by_key, effort = {spec.key: spec for spec in (*plan, reference)}, self.effort
        watch = self.watch()

        def round_done(index: int, count: int) -> None:
            watch.look()
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
        return watch.observed()

    def time_networks(
        self, networks: Sequence[Timeable], reference: OpSpec | None, *, seed: int, on_progress: OnProgress | None = None
    ) -> tuple[NetworkTimings, Observed]:
        """Time whole networks; see `Runner`."""
        with self.backend.measuring():
            runs = [self._prepared(one) for one in networks]
            level = None if reference is None else (reference.key, self.backend.prepare(reference))
            watch = self.watch()
            timings = time_networks(
                runs,
                rounds=self.effort.rounds,
                seed=seed,
                reference=level,
                on_progress=on_progress,
                on_round=lambda index, count: watch.look(),  # noqa: ARG005
            )
            return timings, watch.observed()

    def watch(self) -> Watch:
        """What sees the device from now on."""
        return Watch(self._read_clocks, self._read_state)

    def _prepared(self, network: Timeable) -> Run:
        if isinstance(network, SizedNetwork):
            return self.backend.prepare_network(network.make(), size=network.size)
        return self.backend.prepare_file(network.make(), name=network.name)

    def finish(self, *, measured: bool) -> None:
        """Nothing is left."""


class Watch:
    """What the device is like before, between and after the rounds of a measurement.

    Args:
        read_clocks: See `ReadClocks`.
        read_state: See `ReadState`.
    """

    def __init__(self, read_clocks: ReadClocks, read_state: ReadState) -> None:
        self._read_clocks = read_clocks
        self._read_state = read_state
        self._clocks_before = read_clocks()
        self._states = [read_state()]
        self._slowdowns = Slowdowns()

    def look(self) -> None:
        """Read the state and compare it with the one before."""
        self._states.append(self._read_state())
        seen = slowdowns_between(*self._states[-2:])
        self._slowdowns.add(seen.states, seen.rises)

    def observed(self) -> Observed:
        """All that was seen, with a last look."""
        self.look()
        first, last = self._states[0], self._states[-1]
        return Observed(
            clocks_before=self._clocks_before or clocks_text(first),
            clocks_after=self._read_clocks() or clocks_text(last),
            temperature_before=temperatures_text(first),
            temperature_after=temperatures_text(last),
            throttled=tuple(self._slowdowns.in_words()),
        )
