"""Stage `profile` with the worker: in a process of its own here, on a machine over SSH, or in a bundle carried by hand."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.config.jobs import ProfileJob, ValidateJob
from nas.cost.latency_table import read_table
from nas.cost.lookup import WORK_FOLDER
from nas.cost.table_parts import parse_key
from nas.devices.runtime_name import RuntimeName
from nas.devices.runtimes import WORKER_RUNTIMES, hardware_note
from nas.devices.this_machine import is_device_name
from nas.errors import ConfigError, WorkerStoppedError
from nas.files.atomic import write_bytes_atomic
from nas.measuring.effort import effort_of
from nas.measuring.journal import Conditions, TableJournal
from nas.measuring.reference_operation import choose_reference
from nas.measuring.runners.bundle import Request, bundle_archive, bundle_files
from nas.measuring.runners.conditions import MOST_ROUNDS, far_conditions
from nas.measuring.runners.local_place import LocalPlace
from nas.measuring.runners.worker_result import observed_in
from nas.measuring.runners.worker_run import WorkerRun
from nas.measuring.table_filling import Observed, ProfileResult, check_writable, fill_table, table_so_far
from nas.ops import is_free
from nas.ops.spec import OpSpec
from nas.worker.job import JOB_FILE
from nas.worker.rounds import OnProgress
from nas.worker.timing_journal import JOURNAL_FILE

if TYPE_CHECKING:
    from nas.measuring.runners.place import Place

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleResult:
    """A bundle that was written.

    Args:
        path: The zip.
        size: Its bytes.
        operations: Number of operations in it.
        kept: Number of those wanted that the table of the device holds already.
        note: What the user must know of the runtime; None: nothing.
    """

    path: Path
    size: int
    operations: int
    kept: int
    note: str | None

    def summary(self) -> list[str]:
        """Lines for the terminal: what was written and what to do with it."""
        kept = f", {self.kept} are in its table already" if self.kept else ""
        return [
            f"{self.path}: {self.operations} operations to measure{kept}, {self.size / 1e6:.1f} MB",
            *([] if self.note is None else [self.note]),
            "copy it to the device, unpack it in an empty folder and run there: python3 -I worker.py",
            "next: carry its result.json back and run: nas profile import file=result.json",
        ]


def profile_far(job: ProfileJob, specs: Sequence[OpSpec], *, on_progress: OnProgress | None = None) -> ProfileResult | BundleResult:
    """Measure operations with the worker, or write the bundle that does.

    Args:
        job: What to measure with, where, and where to write.
        specs: The operations; repetitions and free ones are left out.
        on_progress: See `OnProgress`.

    Raises:
        UserError: If a setting is wrong, or the place refuses.
        ResumableError: If the worker or the connection stopped.
    """
    request = request_of(job)
    note = hardware_note(request.runtime.backend, request.accelerator)
    if job.runner == "bundle":
        return _write_bundle(job, specs, request, note)
    if note is not None:
        _log.warning(note)
    with closing(open_place(job, request)) as place:
        run = WorkerRun(place, request)
        identity = run.identify()
        conditions = far_conditions(request, identity)
        effort = effort_of(job.rounds, job.max_rounds, job.ci, is_program=identity.is_program)
        path = WORK_FOLDER / conditions.device.name / f"{request.runtime}.json" if job.out is None else Path(job.out)
        if request.energy:
            _check_energies(path, conditions, specs)

        def take(plan: Sequence[OpSpec], reference: OpSpec, journal: TableJournal) -> Observed:
            run.take(plan, reference, journal, identity=identity, on_progress=on_progress)
            assert run.result is not None
            try:
                return observed_in(run.result, [spec.key for spec in plan])
            except ValueError as error:
                raise WorkerStoppedError(f"{place.name}: the worker said what no worker says: {error}") from error

        result = fill_table(specs, conditions, take, path=path, effort=effort)
        if result.measured or place.get(JOURNAL_FILE) is None:  # with a journal, somebody else measures there
            place.remove()
    return result


def _check_energies(path: Path, conditions: Conditions, specs: Sequence[OpSpec]) -> None:
    """Refuse to measure energies for a table that holds some of the operations without: those would not be measured again."""
    table = table_so_far(path, conditions)
    held = set() if table is None else {spec.key for spec in specs if spec.key in table.entries}
    lacking = [key for key in held if table is not None and table.entries[key].energy_mj is None]
    if lacking:
        raise ConfigError(
            f"energy: {path} holds {len(lacking)} of the operations without energies, and these are not measured again; "
            "delete the file, or give another one with out="
        )


def request_of(job: ProfileJob) -> Request:
    """Request to the worker; raises `ConfigError` for settings that are wrong."""
    runtime = RuntimeName.parse(job.runtime, backends=WORKER_RUNTIMES)
    known = WORKER_RUNTIMES[runtime.backend]
    accelerator = job.accelerator or known.accelerators[0]
    if accelerator not in known.accelerators:
        allowed = " or ".join(known.accelerators)
        raise ConfigError(f"accelerator: got {accelerator!r}, expected {allowed} with runtime={runtime.backend}")
    if runtime.precision not in known.precisions:
        allowed = " or ".join(known.precisions)
        raise ConfigError(f"runtime: got precision {runtime.precision!r}, expected {allowed} with {runtime.backend}")
    if job.device != "auto" and not is_device_name(job.device):
        raise ConfigError(
            f"device: got {job.device!r}, expected auto or lower-case letters, digits, '.', '_' and '-', the first one no sign"
        )
    if job.max_rounds is not None and job.max_rounds > MOST_ROUNDS:
        raise ConfigError(f"max_rounds: got {job.max_rounds}, expected at most {MOST_ROUNDS} with runtime={runtime.backend}")
    return Request(
        runtime=runtime,
        accelerator=accelerator,
        effort=effort_of(job.rounds, job.max_rounds, job.ci),
        program_effort=effort_of(job.rounds, job.max_rounds, job.ci, is_program=True),
        energy=job.energy,
        device=None if job.device == "auto" else job.device,
    )


def open_place(job: ProfileJob | ValidateJob, request: Request) -> Place:
    """Folder in which the worker runs, one for each runtime."""
    folder = str(request.runtime) if request.accelerator == "cpu" else f"{request.runtime}-{request.accelerator}"
    if job.runner == "local":
        return LocalPlace(folder)
    from nas.measuring.runners.ssh.remote_place import SshPlace, SshTarget

    assert job.host is not None
    key, known_hosts = (None if name is None else Path(name).expanduser() for name in (job.ssh.key, job.ssh.known_hosts))
    target = SshTarget.parse(host=job.host, key=key, known_hosts=known_hosts, python=job.ssh.python, folder=job.ssh.folder)
    return SshPlace(target, folder)


def _write_bundle(job: ProfileJob, specs: Sequence[OpSpec], request: Request, note: str | None) -> BundleResult:
    """Write the zip; what the table of a named device holds already is left out, and its reference operation is kept."""
    path = Path(job.out or f"segnas-{request.runtime}.zip")
    if path.suffix != ".zip":
        raise ConfigError(f"out: got {path}, expected a .zip file with runner=bundle")
    check_writable(path)
    plan = sorted({spec for spec in specs if not is_free(spec)})
    wanted, reference = len(plan), None
    table_path = WORK_FOLDER / str(request.device) / f"{request.runtime}.json"
    if request.device is not None and table_path.is_file():
        table = read_table(table_path)
        plan = table.missing(plan)
        if not plan:
            raise ConfigError(f"{table_path}: holds all {wanted} operations already, so there is nothing to measure")
        if table.reference is None:
            raise ConfigError(
                f"{table_path}: the table names no reference operation, so nothing can be added at its level; give another device="
            )
        reference = parse_key(table.reference.key)
    _log.info("making the graphs of %d operations", len(plan))
    files = bundle_files(plan, reference or choose_reference(plan), request)
    if path.exists() and _job_in(path) != files[JOB_FILE]:
        raise ConfigError(f"out: {path} is there already with another measurement; delete it, or give another out=")
    archive = bundle_archive(files, request)
    write_bytes_atomic(path, archive)
    return BundleResult(path=path, size=len(archive), operations=len(plan), kept=wanted - len(plan), note=note)


def _job_in(path: Path) -> bytes | None:
    """The measurement that a bundle is for; None for any other file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(JOB_FILE)
    except (OSError, KeyError, zipfile.BadZipFile):
        return None
