"""Stage `profile`: measure every operation that a network of a space can need, into a latency table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.config import ProfileJob
from nas.cost.lookup import WORK_FOLDER
from nas.cost.table_parts import ProtocolInfo, RuntimeInfo
from nas.devices import BACKENDS, Backend, RuntimeName
from nas.devices.identity import DeviceInfo, current_clocks, identify
from nas.drift import REFERENCE_RULE
from nas.effort import Effort
from nas.errors import ConfigError
from nas.journal import Conditions, Journal
from nas.ops.spec import OpSpec
from nas.space import SearchSpace, deployed_specs
from nas.table_filling import Observed, ProfileResult, fill_table
from nas.worker.rounds import MAX_CALLS, SAMPLE_MS, WARMUP_CALLS, OnProgress, measure_rounds

CALLS_RULE = f"clamp(ceil({SAMPLE_MS:g} ms / estimate), 1, {MAX_CALLS})"
STATISTIC = "median, p10, p90 over interleaved rounds, corrected for drift; a sample is the mean of its calls"

ReadClocks = Callable[[], str | None]
"""Reads what the device's clocks are at this moment."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a profile job comes down to.

    Args:
        specs: The operations that any network of the space can need.
        backend: What executes them.
        device: What it executes them on.
        path: The table's file.
        effort: How long to measure.
        input_size: (height, width) of the deployed network's input in pixels.
        init_channels: Its initial channels.
    """

    specs: tuple[OpSpec, ...]
    backend: Backend
    device: DeviceInfo
    path: Path
    effort: Effort
    input_size: tuple[int, int]
    init_channels: int

    @property
    def conditions(self) -> Conditions:
        """The conditions that a table at the target must have been measured under."""
        return conditions_of(self.backend, self.device, self.effort)


def profile(job: ProfileJob, space: SearchSpace, *, on_progress: OnProgress | None = None) -> ProfileResult:
    """Measure the operations of a space at the deployed shape on this machine.

    Args:
        job: What to measure, how, and where to write.
        space: The search space.
        on_progress: See `OnProgress`.

    Raises:
        ConfigError: If a setting is wrong or missing.
        TableError: If the table or journal at the target is of another device, runtime or protocol, or malformed.
    """
    target = target_of(job, space)
    return profile_specs(
        target.specs,
        target.backend,
        device=target.device,
        path=target.path,
        effort=target.effort,
        read_clocks=lambda: current_clocks(job.accelerator),
        on_progress=on_progress,
    )


def target_of(job: ProfileJob, space: SearchSpace) -> Target:
    """What to measure, with what, and into which file; raises `ConfigError` for settings that are wrong or missing."""
    effort = Effort(rounds=job.rounds, max_rounds=job.max_rounds, ci=job.ci)
    if job.deploy.input is None:
        raise ConfigError(
            "deploy.input: got null, expected the size of the deployed network's input; "
            "give deploy.input=[HEIGHT,WIDTH], e.g. deploy.input=[360,480]"
        )
    height, width = job.deploy.input
    runtime = RuntimeName.parse(job.runtime, backends=BACKENDS)
    device = identify(job.accelerator, name=job.device)
    backend = BACKENDS[runtime.backend](runtime, accelerator=job.accelerator)
    channels = job.deploy.init_channels or space.deploy_channels
    specs = deployed_specs(space, input_size=(height, width), init_channels=channels, num_classes=job.num_classes)
    path = WORK_FOLDER / device.name / f"{runtime}.json" if job.out is None else Path(job.out)
    return Target(
        specs=specs,
        backend=backend,
        device=device,
        path=path,
        effort=effort,
        input_size=(height, width),
        init_channels=channels,
    )


def profile_specs(
    specs: Iterable[OpSpec],
    backend: Backend,
    *,
    device: DeviceInfo,
    path: Path,
    effort: Effort | None = None,
    read_clocks: ReadClocks | None = None,
    on_progress: OnProgress | None = None,
) -> ProfileResult:
    """Measure what a table lacks of `specs` in this process and add it; see `fill_table`.

    Args:
        specs: The operations; repetitions and free ones are left out.
        backend: What executes them.
        device: What it executes them on.
        path: The table's file, new or to be extended.
        effort: How long to measure; None: the default.
        read_clocks: See `ReadClocks`; None: they are not known.
        on_progress: See `OnProgress`.

    Raises:
        ConfigError: If `path` cannot be used.
        TableError: If table or journal are of another device, runtime or protocol, or malformed.
    """
    effort = effort or Effort()

    def take(plan: Sequence[OpSpec], reference: OpSpec, journal: Journal) -> Observed:
        by_key = {spec.key: spec for spec in (*plan, reference)}
        before = read_clocks() if read_clocks is not None else None
        _log.info("%d operations in %d to %d rounds", len(plan), effort.rounds, effort.max_rounds)
        if journal.num_samples:
            _log.info("%d samples are there from a stopped run", journal.num_samples)
        with backend.measuring():
            measure_rounds(
                [spec.key for spec in plan],
                reference.key,
                lambda key: backend.prepare(by_key[key]),
                log=journal,
                rounds=effort.as_rounds,
                on_progress=on_progress,
                on_round=lambda index, count: _log.info(
                    "round %d of at most %d done, over %d operations", index + 1, effort.max_rounds, count
                ),
            )
        after = read_clocks() if read_clocks is not None else None
        return Observed(clocks_before=before, clocks_after=after)

    return fill_table(specs, conditions_of(backend, device, effort), take, path=path, effort=effort)


def conditions_of(backend: Backend, device: DeviceInfo, effort: Effort) -> Conditions:
    """The conditions of a measurement now."""
    protocol = ProtocolInfo(
        warmup=WARMUP_CALLS,
        rounds=effort.rounds,
        max_rounds=effort.max_rounds,
        ci=effort.ci,
        calls=CALLS_RULE,
        statistic=STATISTIC,
        reference=REFERENCE_RULE,
        threads=backend.runtime.threads,
    )
    return Conditions(device, RuntimeInfo.of(backend.runtime, version=backend.version), protocol)
