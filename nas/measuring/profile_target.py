"""Target of a profile job: the operations, their runtime, the device and the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.config.jobs import ProfileJob
from nas.cost.lookup import WORK_FOLDER
from nas.cost.table_parts import RuntimeInfo
from nas.devices.runtime_name import RuntimeName
from nas.devices.runtimes import WORKER_RUNTIMES
from nas.devices.this_machine import DeviceInfo, identify
from nas.errors import ConfigError
from nas.measuring.backends import BACKENDS
from nas.measuring.backends.backend import Backend
from nas.measuring.effort import Effort, effort_of, protocol_of
from nas.measuring.journal import Conditions
from nas.ops.spec import OpSpec
from nas.space.deployment import Deployment
from nas.space.search_space import SearchSpace

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The operations that a profile job asks for.

    Args:
        specs: What any network of the space can need.
        deployment: What they are deployed for.
    """

    specs: tuple[OpSpec, ...]
    deployment: Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Target of a profile job that is measured in this process.

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


def wanted_by(job: ProfileJob, space: SearchSpace) -> Wanted:
    """The operations that a job asks for; raises `ConfigError` if it states no shape."""
    if job.deploy.input is None:
        raise ConfigError(
            "deploy.input: got null, expected the size of the deployed network's input; "
            "give deploy.input=[HEIGHT,WIDTH], e.g. deploy.input=[360,480]"
        )
    deployment = job.deploy.deployment(space, job.num_classes)
    return Wanted(specs=space.plan(deployment), deployment=deployment)


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
    """The runtime in this process, and the file; raises `ConfigError` for settings that are wrong."""
    effort = effort_of(job.rounds, job.max_rounds, job.ci)
    accelerator = job.accelerator or "cpu"
    runtime = RuntimeName.parse(job.runtime, backends=BACKENDS)
    device = identify(accelerator, name=job.device)
    backend = BACKENDS[runtime.backend](runtime, accelerator=accelerator)
    path = WORK_FOLDER / device.name / f"{runtime}.json" if job.out is None else Path(job.out)
    return Target(backend=backend, device=device, path=path, effort=effort)


def conditions_of(backend: Backend, device: DeviceInfo, effort: Effort) -> Conditions:
    """The conditions of a measurement now."""
    protocol = protocol_of(effort, threads=backend.runtime.threads)
    return Conditions(device, RuntimeInfo.of(backend.runtime, version=backend.version), protocol)
