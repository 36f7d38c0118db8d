"""Requests for measurements, from the settings of a job."""

from __future__ import annotations

import json
from dataclasses import dataclass

from nas.config.bench_networks_job import DEFAULT_ROUNDS, BenchNetworksJob
from nas.config.measuring_jobs import ProfileJob, ValidateJob
from nas.cost.latency_table import LatencyTable
from nas.devices.runtime_name import RuntimeName
from nas.devices.runtimes import WORKER_RUNTIMES
from nas.devices.this_machine import is_device_name
from nas.errors import ConfigError, TableError
from nas.measuring.backends import BACKENDS
from nas.measuring.effort import Effort, effort_of

MOST_ROUNDS = 200
"""Most rounds of a measurement by the worker: a file that states more is refused before it is worked on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Request for a measurement.

    Args:
        runtime: What runs the operations.
        accelerator: `cpu` or `cuda`.
        effort: How long to measure.
        program_effort: The same where each sample starts a program.
        energy: Whether to measure energy, too.
        device: Name of the device; None: what it is called by its model.
        in_process: Whether this process measures, not the worker in a process of its own.
    """

    runtime: RuntimeName
    accelerator: str
    effort: Effort
    program_effort: Effort
    energy: bool = False
    device: str | None = None
    in_process: bool = False

    @property
    def question(self) -> str:
        """The request of `--identify`."""
        runtime = self.runtime
        fields = {"backend": runtime.backend, "precision": runtime.precision, "threads": runtime.threads}
        return json.dumps({**fields, "accelerator": self.accelerator})


def request_of(job: ProfileJob) -> Request:
    """Request of a job; raises `ConfigError` for settings that are wrong."""
    names = dict.fromkeys((*BACKENDS, *WORKER_RUNTIMES)) if job.runner == "local" else WORKER_RUNTIMES
    runtime = RuntimeName.parse(job.runtime, backends=names)
    in_process = job.runner == "local" and runtime.backend in BACKENDS and not (job.energy and runtime.backend in WORKER_RUNTIMES)
    if in_process and job.energy:
        raise ConfigError(f"energy: got true with runtime={runtime}, expected one of {', '.join(WORKER_RUNTIMES)}")
    if not in_process:
        _check_worker(job, runtime, key="max_rounds", rounds=job.max_rounds)
    return Request(
        runtime=runtime,
        accelerator=_accelerator(job, runtime, in_process=in_process),
        effort=effort_of(job.rounds, job.max_rounds, job.ci),
        program_effort=effort_of(job.rounds, job.max_rounds, job.ci, is_program=not in_process),
        energy=job.energy,
        device=None if job.device == "auto" else job.device,
        in_process=in_process,
    )


def request_for_networks(job: BenchNetworksJob, runtime_text: str) -> Request:
    """Request for the timing of whole networks; raises `ConfigError` for settings that are wrong.

    Args:
        job: Where, and how long.
        runtime_text: One of its runtimes.
    """
    names = dict.fromkeys((*BACKENDS, *WORKER_RUNTIMES)) if job.runner == "local" else WORKER_RUNTIMES
    runtime = RuntimeName.parse(runtime_text, backends=names)
    in_process = job.runner == "local" and runtime.backend in BACKENDS
    rounds = job.rounds or DEFAULT_ROUNDS
    if not in_process:
        _check_worker(job, runtime, key="rounds", rounds=rounds)
    return _fixed_rounds(job, runtime, rounds, in_process=in_process)


def request_for_table(job: ValidateJob, table: LatencyTable) -> Request:
    """Request for the timing of networks at the level of a table.

    Raises:
        ConfigError: If the table is of a runtime that the runner does not have.
        TableError: If it names no reference operation, which the worker needs.
    """
    runtime = RuntimeName.from_full(table.runtime.name)
    in_process = job.runner == "local" and table.runtime.backend in BACKENDS
    if runtime is None or not (in_process or runtime.backend in WORKER_RUNTIMES):
        known = ", ".join(WORKER_RUNTIMES)
        raise ConfigError(f"latency.table: got {table.identifier} with runner={job.runner}, expected a table of one of {known}")
    if table.reference is None and not in_process:
        raise TableError(
            f"latency table {table.identifier}: names no reference operation, so nothing can be measured at its level; expected a "
            "table of nas profile"
        )
    return _fixed_rounds(job, runtime, job.rounds, in_process=in_process)


def _fixed_rounds(job: ValidateJob | BenchNetworksJob, runtime: RuntimeName, rounds: int, *, in_process: bool) -> Request:
    """Request for the timing of whole networks in so many rounds, whatever their samples say."""
    effort = Effort(rounds=rounds, max_rounds=rounds, ci=0.01)
    return Request(
        runtime=runtime,
        accelerator=_accelerator(job, runtime, in_process=in_process),
        effort=effort,
        program_effort=effort,
        device=None if job.device == "auto" else job.device,
        in_process=in_process,
    )


def _accelerator(job: ProfileJob | ValidateJob | BenchNetworksJob, runtime: RuntimeName, *, in_process: bool) -> str:
    """Accelerator of the runtime: that of the job, else the usual one."""
    return job.accelerator or ("cpu" if in_process else WORKER_RUNTIMES[runtime.backend].accelerators[0])


def _check_worker(job: ProfileJob | BenchNetworksJob, runtime: RuntimeName, *, key: str, rounds: int | None) -> None:
    """Refuse what the worker does not measure; what this process does not, its backends refuse."""
    known = WORKER_RUNTIMES[runtime.backend]
    if job.accelerator not in (None, *known.accelerators):
        allowed = " or ".join(known.accelerators)
        raise ConfigError(f"accelerator: got {job.accelerator!r}, expected {allowed} with runtime={runtime.backend}")
    if runtime.precision not in known.precisions:
        allowed = " or ".join(known.precisions)
        raise ConfigError(f"runtime: got precision {runtime.precision!r}, expected {allowed} with {runtime.backend}")
    if job.device != "auto" and not is_device_name(job.device):
        raise ConfigError(
            f"device: got {job.device!r}, expected auto or lower-case letters, digits, '.', '_' and '-', the first one no sign"
        )
    if rounds is not None and rounds > MOST_ROUNDS:
        raise ConfigError(f"{key}: got {rounds}, expected at most {MOST_ROUNDS} with runtime={runtime.backend}")
