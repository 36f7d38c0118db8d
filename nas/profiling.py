"""Stage `profile`: measure every operation that a network of a space can need, into a latency table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.config import ProfileJob
from nas.cost.lookup import WORK_FOLDER
from nas.cost.table_parts import RuntimeInfo
from nas.devices import BACKENDS, Backend, RuntimeName
from nas.devices.identity import DeviceInfo, current_clocks, identify
from nas.errors import ConfigError
from nas.journal import Conditions, Journal
from nas.ops.spec import OpSpec
from nas.protocol import Effort, effort_of, protocol_of
from nas.runners import WORKER_RUNTIMES
from nas.space import SearchSpace, deployed_specs
from nas.table_filling import Observed, ProfileResult, fill_table
from nas.worker.rounds import OnProgress, measure_rounds

if TYPE_CHECKING:
    from nas.far_profiling import BundleResult

ReadClocks = Callable[[], str | None]
"""Reads what the device's clocks are at this moment."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The operations that a profile job asks for.

    Args:
        specs: What any network of the space can need at the shape.
        input_size: (height, width) of the deployed network's input in pixels.
        init_channels: Its initial channels.
    """

    specs: tuple[OpSpec, ...]
    input_size: tuple[int, int]
    init_channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a profile job comes down to that is measured in this process.

    Args:
        backend: What executes the operations.
        device: What it executes them on.
        path: The table's file.
        effort: How long to measure.
    """

    backend: Backend
    device: DeviceInfo
    path: Path
    effort: Effort

    @property
    def conditions(self) -> Conditions:
        """The conditions that a table at the target must have been measured under."""
        return conditions_of(self.backend, self.device, self.effort)


def profile(job: ProfileJob, space: SearchSpace, *, on_progress: OnProgress | None = None) -> ProfileResult | BundleResult:
    """Measure the operations of a space at the deployed shape, on this machine or on another one.

    Args:
        job: What to measure, how, where, and where to write.
        space: The search space.
        on_progress: See `OnProgress`.

    Raises:
        ConfigError: If a setting is wrong or missing.
        TableError: If the table or journal at the target is of another device, runtime or protocol, or malformed.
        ResumableError: If the worker or the connection to it stopped; the same call goes on.
    """
    wanted = wanted_by(job, space)
    if not is_in_process(job):
        from nas.far_profiling import profile_far

        return profile_far(job, wanted.specs, on_progress=on_progress)
    target = target_of(job)
    return profile_specs(
        wanted.specs,
        target.backend,
        device=target.device,
        path=target.path,
        effort=target.effort,
        read_clocks=lambda: current_clocks(job.accelerator or "cpu"),
        on_progress=on_progress,
    )


def wanted_by(job: ProfileJob, space: SearchSpace) -> Wanted:
    """The operations that a job asks for; raises `ConfigError` if it states no shape."""
    if job.deploy.input is None:
        raise ConfigError(
            "deploy.input: got null, expected the size of the deployed network's input; "
            "give deploy.input=[HEIGHT,WIDTH], e.g. deploy.input=[360,480]"
        )
    height, width = job.deploy.input
    channels = job.deploy.init_channels or space.deploy_channels
    specs = deployed_specs(space, input_size=(height, width), init_channels=channels, num_classes=job.num_classes)
    return Wanted(specs=specs, input_size=(height, width), init_channels=channels)


def is_in_process(job: ProfileJob) -> bool:
    """Whether the operations run in this process, not in the worker.

    Raises:
        ConfigError: If the runtime is none, or not one for the runner, or cannot measure what is asked for.
    """
    names = dict.fromkeys((*BACKENDS, *WORKER_RUNTIMES)) if job.runner == "local" else WORKER_RUNTIMES
    runtime = RuntimeName.parse(job.runtime, backends=names)
    here = job.runner == "local" and runtime.backend in BACKENDS and not (job.energy and runtime.backend in WORKER_RUNTIMES)
    if here and job.energy:
        raise ConfigError(f"energy: got true with runtime={runtime}, expected one of {', '.join(WORKER_RUNTIMES)}")
    return here


def target_of(job: ProfileJob) -> Target:
    """What to measure with in this process, and into which file; raises `ConfigError` for settings that are wrong."""
    effort = effort_of(job.rounds, job.max_rounds, job.ci)
    accelerator = job.accelerator or "cpu"
    runtime = RuntimeName.parse(job.runtime, backends=BACKENDS)
    device = identify(accelerator, name=job.device)
    backend = BACKENDS[runtime.backend](runtime, accelerator=accelerator)
    path = WORK_FOLDER / device.name / f"{runtime}.json" if job.out is None else Path(job.out)
    return Target(backend=backend, device=device, path=path, effort=effort)


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
    protocol = protocol_of(effort, threads=backend.runtime.threads)
    return Conditions(device, RuntimeInfo.of(backend.runtime, version=backend.version), protocol)
