"""The place where a job is measured, chosen by its settings."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from nas.config.bench_networks_job import BenchNetworksJob
from nas.config.measuring_jobs import ProfileJob, ValidateJob
from nas.cost.comparable_times import SampleKind
from nas.cost.latency_table import LatencyTable
from nas.devices.runtimes import WORKER_RUNTIMES, hardware_note
from nas.errors import TableError
from nas.measuring.runners.in_process import InProcess
from nas.measuring.runners.local_place import LocalPlace
from nas.measuring.runners.place import Place
from nas.measuring.runners.request import Request
from nas.measuring.runners.runner import Runner, TimesNetworks
from nas.measuring.runners.worker_runner import WorkerRunner

_log = logging.getLogger(__name__)


@contextmanager
def open_runner(job: ProfileJob | ValidateJob | BenchNetworksJob, request: Request) -> Iterator[Runner]:
    """This process, or the worker on this machine or on one over SSH.

    Args:
        job: Says where.
        request: Says how.

    Raises:
        UserError: If a setting is wrong, or the place refuses.
    """
    note = hardware_note(request.runtime.backend, request.accelerator)
    if note is not None and request.runtime.backend in WORKER_RUNTIMES:
        _log.warning(note)
    if request.in_process:
        yield InProcess.of(request)
        return
    with closing(_place(job, request)) as place:
        yield WorkerRunner(place, request)


def check_table(table: LatencyTable, runner: TimesNetworks, path: Path) -> None:
    """Refuse a table of another device, another version of the runtime or another kind of samples than a runner has.

    Args:
        table: The table.
        runner: What it would be measured with.
        path: The table's file.

    Raises:
        TableError: If it is.
    """
    device, runtime = runner.conditions.device, runner.conditions.runtime
    if device.name != table.device.name:
        raise TableError(
            f"{path}: got a latency table of {table.device.name}, expected one of {device.name}, where this runs; "
            f"measure one with nas profile, or give device={table.device.name} if that is a name of that machine"
        )
    if runtime.version != table.runtime.version:
        raise TableError(
            f"{path}: measured with {table.runtime.backend} {table.runtime.version}, and there is "
            f"{runtime.version}; measure it again with nas profile"
        )
    there, here = (SampleKind.of(one.runtime, one.protocol) for one in (table, runner.conditions))
    if different := there.differences(here):
        raise TableError(
            f"{path}: its operations were timed in another way than networks are here: "
            f"{', '.join(different)}; measure it again with nas profile, or choose the program or package that it was measured with"
        )


def _place(job: ProfileJob | ValidateJob | BenchNetworksJob, request: Request) -> Place:
    """Folder in which the worker runs, one for each runtime."""
    folder = str(request.runtime) if request.accelerator == "cpu" else f"{request.runtime}-{request.accelerator}"
    if job.runner == "local":
        return LocalPlace(folder)
    from nas.measuring.runners.ssh.remote_place import SshPlace, SshTarget

    assert job.host is not None
    key, known_hosts = (None if name is None else Path(name) for name in (job.ssh.key, job.ssh.known_hosts))
    target = SshTarget.parse(host=job.host, key=key, known_hosts=known_hosts, python=job.ssh.python, folder=job.ssh.folder)
    return SshPlace(target, folder)
