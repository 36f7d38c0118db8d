"""A device whose operations have known times, with noise, outliers, drift and throttling on a simulated clock."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nas.devices.runtime_name import RuntimeName
from nas.devices.this_machine import DeviceInfo
from nas.measuring.effort import Effort
from nas.measuring.runners.in_process import InProcess
from nas.measuring.table_filling import ProfileResult, fill_table
from nas.ops import OpSpec
from nas.worker.interface import Run
from nas.worker.readings import Reading

RUNTIME = RuntimeName(backend="torch-eager")


def conv(channels: int, size: int = 8, *, kind: str = "relu_conv_bn") -> OpSpec:
    return OpSpec(
        kind=kind,
        in_channels=channels,
        height=size,
        width=size,
        out_channels=channels,
        out_height=size,
        out_width=size,
        kernel=3,
    )


class PowerCutError(Exception):
    """What a device raises where it is told to fail."""


def steady(now: int) -> float:
    del now
    return 1.0


def drifting(length: int, *, by: float = 0.15) -> Callable[[int], float]:
    """Slower and slower, by a share of the first speed over `length` ticks."""
    return lambda now: 1.0 + by * now / length


def throttled(start: int, end: int, *, by: float = 0.3) -> Callable[[int], float]:
    """Slower by a share from one tick to another."""
    return lambda now: 1.0 + by * (start <= now < end)


class SimulatedDevice:
    """A backend whose clock ticks with every line of a journal.

    A time is truth x slowness(tick) x noise, and the noise depends on nothing but the operation and the tick: whether a run was
    stopped in between makes no difference to what it measures.

    Args:
        times: Operation -> true ms.
        journal: The journal of the run.
        noise: Standard deviation of the logarithm, for all operations or for each.
        outliers: Share of timings that take three times as long.
        slowness: Tick -> factor on all times.
    """

    def __init__(
        self,
        times: Mapping[OpSpec, float],
        journal: Path,
        *,
        noise: float | Mapping[OpSpec, float] = 0.0,
        outliers: float = 0.0,
        slowness: Callable[[int], float] = steady,
    ) -> None:
        self.runtime = RUNTIME
        self.version = "1.0"
        self.clock, self.cuda_graphs = "wall", None
        self.times = dict(times)
        self.journal = journal
        self.noise = dict(noise) if isinstance(noise, Mapping) else dict.fromkeys(times, noise)
        self.outliers = outliers
        self.slowness = slowness
        self.runs: list[tuple[OpSpec, int]] = []
        self.fail_at: float = math.inf
        self.failure: BaseException = PowerCutError("power cut")
        self.inside = False

    @contextmanager
    def measuring(self) -> Iterator[None]:
        self.inside = True
        try:
            yield
        finally:
            self.inside = False

    def prepare(self, spec: OpSpec) -> Run:
        assert self.inside

        def run(calls: int) -> float:
            if len(self.runs) >= self.fail_at:
                raise self.failure
            self.runs.append((spec, calls))
            tick = self.tick
            draw = np.random.default_rng([zlib.crc32(spec.key.encode()), tick])
            slow = 3.0 if draw.random() < self.outliers else 1.0
            noise = math.exp(self.noise.get(spec, 0.0) * float(draw.standard_normal()))
            return self.times[spec] * self.slowness(tick) * slow * noise

        return run

    @property
    def tick(self) -> int:
        """Whole lines in the journal."""
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0


def profile_specs(
    specs: Iterable[OpSpec],
    backend: SimulatedDevice,
    *,
    device: DeviceInfo,
    path: Path,
    effort: Effort | None = None,
    read_clocks: Callable[[], Any] | None = None,
    read_state: Callable[[], Reading] | None = None,
    **rest: Any,
) -> ProfileResult:
    """Measure operations in this process into a table."""
    runner = InProcess(backend, device=device, effort=effort or Effort(), read_clocks=read_clocks, read_state=read_state)
    return fill_table(specs, runner, path=path, **rest)
