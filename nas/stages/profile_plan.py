"""Stage `profile plan`: what would be measured, and how long it would take; no file is written."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.config.measuring_jobs import ProfileJob
from nas.cost.lookup import WORK_FOLDER
from nas.errors import ConfigError
from nas.measuring.backends.module_runtime import ModuleRuntime
from nas.measuring.effort import Effort
from nas.measuring.journal import TableJournal
from nas.measuring.reference_operation import choose_reference
from nas.measuring.runners.in_process import InProcess
from nas.measuring.runners.request import request_of
from nas.measuring.table_filling import journal_path, table_so_far
from nas.measuring.wanted_operations import wanted_by
from nas.ops import is_free, macs
from nas.ops.spec import OpSpec
from nas.reports.text_table import duration
from nas.space.design import Design
from nas.space.search_space import SearchSpace
from nas.worker.drift import REFERENCE_EVERY
from nas.worker.rounds import WARMUP_CALLS, num_calls

MOST_PROBED = 64
"""Operations that are run for the forecast; of more, as many evenly spaced in order of size stand for the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Duration of a measurement, forecast.

    Args:
        low_s: Duration in s if every operation is finished after the fewest rounds.
        high_s: Duration in s if every operation needs the most.
        probed: Operations that were run, twice each.
    """

    low_s: float
    high_s: float
    probed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanResult:
    """Forecast of `nas profile` with the same settings.

    Args:
        where: Space and shape in words.
        table: DEVICE/RUNTIME.
        path: The table's file.
        specs: The operations that any network of the space can need.
        missing: Those that the table lacks.
        journaled: Samples that a stopped run has left.
        effort: How long to measure.
        forecast: How long it takes; None if nothing is missing.
        whose: Which networks need them, in words.
    """

    where: str
    table: str
    path: Path
    specs: tuple[OpSpec, ...]
    missing: tuple[OpSpec, ...]
    journaled: int
    effort: Effort
    forecast: Forecast | None
    whose: str = "any network can need"

    @property
    def by_kind(self) -> Mapping[str, int]:
        """Kind of operation -> number of operations, the most frequent first."""
        counts = Counter(spec.kind for spec in self.specs)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def summary(self) -> list[str]:
        """Lines for the terminal: the operations, what is there, and how long the rest takes."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.by_kind.items())
        there = len(self.specs) - len(self.missing)
        lines = [
            f"{self.where}: {len(self.specs)} operations that {self.whose}: {kinds}",
            f"{self.path} ({self.table}): holds {there} of them, {len(self.missing)} to measure",
        ]
        if self.forecast is None:
            return [*lines, "nothing to measure"]
        low, high = duration(self.forecast.low_s), duration(self.forecast.high_s)
        lines.append(
            f"forecast: {low} to {high} ({self.effort.rounds} to {self.effort.max_rounds} rounds), "
            f"from running {self.forecast.probed} of the operations twice"
        )
        if self.journaled:
            lines.append(f"a stopped run has left {self.journaled} samples in {journal_path(self.path)}, which come off that")
        return [*lines, "measure with: nas profile and the same settings; no file was written"]


def plan(job: ProfileJob, networks: SearchSpace | Design) -> PlanResult:
    """Forecast what `nas profile` would measure with these settings, and how long it would take.

    Args:
        job: What to measure, how, and where to write.
        networks: The search space, or the design of `genotype`.

    Raises:
        ConfigError: If a setting is wrong or missing.
        TableError: If the table or journal at the target is of another device, runtime or protocol, or malformed.
    """
    wanted = wanted_by(job, networks)
    specs = tuple(sorted({spec for spec in wanted.specs if not is_free(spec)}))
    height, width = wanted.deployment.input
    name = job.genotype if isinstance(networks, Design) else networks.config.name
    where = (
        f"{name} at {height}x{width}, {wanted.deployment.init_channels} initial channels, {wanted.deployment.num_classes} classes"
    )
    request = request_of(job)
    if not request.in_process:
        raise ConfigError(
            f"runtime: got {job.runtime} with runner={job.runner}, whose time only the device itself can tell ({where}: "
            f"{len(specs)} operations); nas profile with the same settings says how far it is, and can be stopped and resumed"
        )
    runner = InProcess.of(request)
    device = runner.conditions.device.name
    path = WORK_FOLDER / device / f"{request.runtime}.json" if job.out is None else Path(job.out)
    table = table_so_far(path, runner.conditions)
    journal = TableJournal(journal_path(path), runner.conditions)
    missing = specs if table is None else tuple(table.missing(specs))
    return PlanResult(
        where=where,
        table=f"{device}/{request.runtime}",
        path=path,
        specs=specs,
        missing=missing,
        journaled=journal.num_samples,
        effort=runner.effort,
        forecast=forecast(missing, runner.backend, effort=runner.effort) if missing else None,
        whose="the network needs" if isinstance(networks, Design) else "any network can need",
    )


def forecast(specs: Iterable[OpSpec], backend: ModuleRuntime, *, effort: Effort, most_probed: int = MOST_PROBED) -> Forecast:
    """Forecast the duration of measuring operations, from running some of them twice.

    The first call pays for what is set up once; the second says how long a sample will take. A probed operation stands for
    its neighbours in order of multiply-accumulates and size.

    Args:
        specs: The operations, at least one.
        backend: What executes them.
        effort: How long to measure.
        most_probed: Run at most this many.
    """
    ranked = sorted(specs, key=lambda spec: (macs(spec), spec.out_channels * spec.out_height * spec.out_width, spec.key))
    probed = evenly_spaced(ranked, most_probed)
    reference = choose_reference(ranked)
    with backend.measuring():
        probes = [_probe(backend, spec) for spec in probed]
        reference_ms = _probe(backend, reference).sample_ms
    share = len(ranked) / len(probed)
    set_up_ms = share * sum(probe.set_up_ms for probe in probes)
    references = math.ceil(len(ranked) / REFERENCE_EVERY)
    round_ms = share * sum(probe.sample_ms for probe in probes) + references * reference_ms
    low_ms, high_ms = (set_up_ms + rounds * round_ms for rounds in (effort.rounds, effort.max_rounds))
    return Forecast(low_s=low_ms / 1e3, high_s=high_ms / 1e3, probed=len(probed))


def evenly_spaced(items: Sequence[OpSpec], most: int) -> list[OpSpec]:
    """At most `most` items, each from the middle of an equal part of the sequence."""
    count = min(most, len(items))
    return [items[(2 * index + 1) * len(items) // (2 * count)] for index in range(count)]


@dataclass(frozen=True, slots=True)
class _Probe:
    set_up_ms: float
    sample_ms: float


def _probe(backend: ModuleRuntime, spec: OpSpec) -> _Probe:
    """Time to set an operation up (it is made and run twice), and that of a sample of it with its warm-up."""
    start = time.perf_counter()
    run = backend.prepare(spec)
    run(1)
    estimate = run(1)
    set_up_ms = (time.perf_counter() - start) * 1e3
    return _Probe(set_up_ms, (WARMUP_CALLS + num_calls(estimate)) * estimate)
