"""Results of the worker: read with every defect refused, and made into a latency table."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nas.cost.lookup import WORK_FOLDER
from nas.cost.table_parts import parse_key
from nas.devices.runtime_name import RuntimeName
from nas.devices.runtimes import WORKER_RUNTIMES, hardware_note
from nas.devices.this_machine import is_device_name
from nas.errors import ConfigError, TableError, UserError
from nas.files.regular_file import read_regular
from nas.files.shortening import shorten
from nas.files.strict_json import as_bool, as_count, as_list, as_number, as_object, as_optional_text, as_text, parse_strict
from nas.measuring.effort import Effort
from nas.measuring.runners.conditions import conditions_in, effort_in
from nas.measuring.runners.graph_hashes import NOT_CHECKED, check_graphs, job_fields, operation_fields, states_hashes
from nas.measuring.runners.request import MOST_ROUNDS, Request
from nas.measuring.runners.runner import Observed
from nas.measuring.runners.untrusted_text import plain
from nas.measuring.runners.worker_identity import Identity
from nas.measuring.table_filling import ProfileResult, fill_from_log
from nas.ops import KINDS
from nas.worker.drift import REFERENCE_EVERY, Timing
from nas.worker.result import MAX_RESULT_BYTES as MAX_BYTES
from nas.worker.result import RESULT_VERSION, checksum
from nas.worker.rounds import Log
from nas.worker.timing_journal import LEAST_MS, MOST_MS

MAX_OPERATIONS, MAX_TIMINGS, MAX_WORDS = 20_000, 100_000, 100
FIRST_DATE = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
"""Before that there was no worker: the clock of the device was wrong."""

NETWORK_KEY = re.compile(r"network [0-9]{1,4} series [0-9]: [^\n]{1,480}")
"""Beginning of the key of a whole network."""
_OF = {True: "networks", False: "operations"}
_FIELDS = ("format_version", "device", "before", "after", "throttled", "energy", "started_at", "finished_at")
_LATER_FIELDS = ("without_graph", "graphs")
"""What workers of versions before did not state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerResult:
    """A result of the worker.

    Args:
        request: How it was to measure.
        identity: What it was on.
        keys: Keys of the operations that it was to measure, or of the networks.
        log: Their timings.
        observed: What was seen of the device.
        finished_at: When it ended by the device's clock, in s since 1970.
        states_hashes: Whether it states which graphs were measured.
    """

    request: Request
    identity: Identity
    keys: tuple[str, ...]
    log: Log
    observed: Observed
    finished_at: float
    states_hashes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedResult:
    """Outcome of a result.

    Args:
        profile: The table that it was added to.
        notes: What the user must know.
    """

    profile: ProfileResult
    notes: tuple[str, ...]

    def summary(self) -> list[str]:
        """Lines for the terminal."""
        return [*self.notes, *self.profile.summary()]


def import_result(source: Path, *, device: str | None = None, out: str | None = None) -> ImportedResult:
    """Add the operations of a result to the table of its device and runtime, which is made if there is none.

    Args:
        source: The file.
        device: Name of the device; None: what the bundle or the worker calls it.
        out: The table's file; None: latency_tables/DEVICE/RUNTIME.json under the working folder.

    Raises:
        TableError: If the file is no whole result, or the table is of other conditions.
        ConfigError: If the name of the device is none, or the table cannot be written.
    """
    result = read_result(source)
    conditions = conditions_in(result.request, result.identity, device=device)
    path = WORK_FOLDER / conditions.device.name / f"{result.request.runtime}.json" if out is None else Path(out)
    note = hardware_note(result.request.runtime.backend, result.request.accelerator)
    notes = [] if note is None else [note]
    if not result.states_hashes:
        notes.append(NOT_CHECKED)
    measured_at = None
    if FIRST_DATE <= result.finished_at <= time.time() + 86_400:
        measured_at = datetime.fromtimestamp(result.finished_at, UTC).isoformat(timespec="seconds")
    else:
        notes.append("the clock of the device was wrong: the table has the time of this import")
    effort = effort_in(result.request, result.identity)
    try:
        profile = fill_from_log(
            result.log,
            [parse_key(key) for key in result.keys],
            conditions,
            result.observed,
            path=path,
            effort=effort,
            measured_at=measured_at,
        )
    except OSError as error:
        raise ConfigError(f"out: {path} cannot be written ({error.strerror}); give another out=") from error
    except UserError:
        raise
    except ValueError as error:
        raise TableError(f"{source}: no table can be made of its timings: {plain(str(error), limit=400)}") from error
    return ImportedResult(profile=profile, notes=tuple(notes))


def read_result(path: Path, *, of_networks: bool = False) -> WorkerResult:
    """The result in a file.

    Args:
        path: The file.
        of_networks: Whether it is one of whole networks; else of operations.

    Raises:
        TableError: One line with the file and its first defect: no result is made of a file that has one.
    """
    try:
        return parse_result(_content(path).decode("ascii"), of_networks=of_networks)
    except TableError:
        raise
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); expected the worker's result.json") from error
    except (ValueError, RecursionError) as error:
        reason = plain(str(error), limit=400)
        raise TableError(f"{path}: {reason}; carry the file over again, or let the worker finish and write it again") from error


def _content(path: Path) -> bytes:
    """Content of a file; raises `TableError` for a larger one, and `OSError`."""
    content = read_regular(path, MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise TableError(f"{path}: got a larger file, expected a result of the worker, at most {MAX_BYTES:,} bytes")
    return content


def parse_result(text: str, *, of_networks: bool = False) -> WorkerResult:
    """The result that a text states; see `read_result`.

    Raises:
        ValueError: For the first defect.
    """
    raw = parse_strict(text)
    fields = as_object(raw, "result", (*_FIELDS, "job", "timings", "checksum"), optional=_LATER_FIELDS)
    if fields["checksum"] != checksum(fields):
        raise ValueError("checksum: the content is not what the worker wrote; expected the file unchanged")
    if fields["format_version"] != RESULT_VERSION:
        raise ValueError(f"format_version: got {shorten(fields['format_version'])}, expected {RESULT_VERSION}")
    job = job_fields(fields["job"])
    request = _request(job)
    keys, planned, reference = _operations(job, of_networks=of_networks)
    check_graphs(job, fields.get("graphs"))
    identity = Identity.parse(fields["device"], "device")
    effort = effort_in(request, identity)
    log = _timings(fields["timings"], keys, reference=keys[reference], effort=effort)
    _check_whole(log, keys[:planned], effort)
    as_number(fields["started_at"], "started_at")
    rest = {name: fields[name] for name in (*_FIELDS, *_LATER_FIELDS) if name in fields}
    return WorkerResult(
        request=request,
        identity=identity,
        keys=tuple(keys[:planned]),
        log=log,
        observed=observed_in(rest, keys[:planned]),
        finished_at=as_number(fields["finished_at"], "finished_at"),
        states_hashes=states_hashes(job),
    )


def observed_in(value: Mapping[str, Any], keys: Sequence[str]) -> Observed:
    """Facts of the device that the worker saw, as it states them at its end.

    Args:
        value: The result without job, timings and checksum.
        keys: Keys of the operations that were to be measured.

    Raises:
        ValueError: For the first defect.
    """
    fields = as_object(dict(value), "result", _FIELDS, optional=_LATER_FIELDS)
    identity = Identity.parse(fields["device"], "device")
    before, after = (as_object(fields[name], name, ("clocks", "temperatures")) for name in ("before", "after"))
    listed = as_list(fields["throttled"], "throttled")[:MAX_WORDS]
    throttled = tuple(plain(as_text(one, f"throttled[{i}]"), limit=200) for i, one in enumerate(listed))
    energy_mj, system = _energy(fields["energy"], keys)
    runtime = {f"runtime: {name}": text for name, text in identity.details.items()}
    clocks, temperatures = ([_words(one[name], name) for one in (before, after)] for name in ("clocks", "temperatures"))
    return Observed(
        clocks_before=clocks[0],
        clocks_after=clocks[1],
        temperature_before=temperatures[0],
        temperature_after=temperatures[1],
        throttled=throttled,
        system={**identity.facts, **runtime, **system},
        energy_mj=energy_mj,
        without_graph=_without_graph(fields.get("without_graph", []), keys),
    )


def _without_graph(value: object, keys: Sequence[str]) -> frozenset[str]:
    """The operations of which a call was launched without a CUDA graph; the reference operation may be one beside the planned."""
    numbers = [as_count(one, f"without_graph[{i}]", minimum=0) for i, one in enumerate(as_list(value, "without_graph"))]
    if numbers and max(numbers) > len(keys):
        raise ValueError(f"without_graph: got {max(numbers)}, expected numbers of {len(keys)} operations")
    return frozenset(keys[number] for number in numbers if number < len(keys))


def _words(value: object, where: str) -> str | None:
    text = as_optional_text(value, where)
    return None if text is None else plain(text, limit=300)


def _energy(value: object, keys: Sequence[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Energy of a call by operation in mJ, and facts about it."""
    if value is None:
        return {}, {}
    fields = as_object(value, "energy", ("source", "idle_w", "mj"))
    numbers = as_object(fields["mj"], "energy.mj", [str(number) for number in range(len(keys))])
    energy = {key: as_number(numbers[str(number)], f"energy.mj[{number}]") for number, key in enumerate(keys)}
    if not all(mj > 0 for mj in energy.values()):
        raise ValueError("energy.mj: got a value that is not above 0, expected millijoules")
    source = plain(as_text(fields["source"], "energy.source"), limit=200)
    return energy, {"power source": source, "idle power": f"{as_number(fields['idle_w'], 'energy.idle_w'):.2f} W"}


def _request(job: Mapping[str, object]) -> Request:
    runtime = as_object(job["runtime"], "job.runtime", ("backend", "precision", "batch", "threads"))
    backend = as_text(runtime["backend"], "job.runtime.backend")
    if backend not in WORKER_RUNTIMES:
        raise ValueError(f"job.runtime.backend: got {shorten(backend)}, expected one of {', '.join(WORKER_RUNTIMES)}")
    known = WORKER_RUNTIMES[backend]
    precision, accelerator = as_text(runtime["precision"], "job.runtime.precision"), as_text(job["accelerator"], "job.accelerator")
    if precision not in known.precisions or accelerator not in known.accelerators:
        raise ValueError(f"job: got {shorten(precision)} on {shorten(accelerator)}, which {backend} does not measure")
    device = as_optional_text(job["device"], "job.device")
    if device is not None and not is_device_name(device):
        raise ValueError(f"job.device: got {shorten(device)}, expected the name of a device")
    protocol = as_object(job["protocol"], "job.protocol", ("rounds", "program_rounds", "ci"))
    ci = as_number(protocol["ci"], "job.protocol.ci")
    return Request(
        runtime=RuntimeName(
            backend=backend,
            precision=precision,
            batch=_small(runtime["batch"], "job.runtime.batch"),
            threads=_small(runtime["threads"], "job.runtime.threads"),
        ),
        accelerator=accelerator,
        effort=_effort(protocol["rounds"], ci, "job.protocol.rounds"),
        program_effort=_effort(protocol["program_rounds"], ci, "job.protocol.program_rounds"),
        energy=as_bool(job["energy"], "job.energy"),
        device=device,
    )


def _small(value: object, where: str) -> int:
    """A count as a runtime's name can have it."""
    count = as_count(value, where, minimum=1)
    if count > 9999:
        raise ValueError(f"{where}: got {shorten(count)}, expected at most 9999")
    return count


def _effort(value: object, ci: float, where: str) -> Effort:
    pair = as_list(value, where)
    if len(pair) != 2:
        raise ValueError(f"{where}: got {shorten(value)}, expected [fewest, most]")
    fewest, most = (as_count(one, where, minimum=1) for one in pair)
    if most > MOST_ROUNDS:
        raise ValueError(f"{where}: got {shorten(most)}, expected at most {MOST_ROUNDS}")
    return Effort(rounds=fewest, max_rounds=most, ci=ci)


def _operations(job: Mapping[str, object], *, of_networks: bool) -> tuple[list[str], int, int]:
    """Keys of the operations or networks, how many were to be measured, and the number of the reference operation."""
    listed = as_list(job["operations"], "job.operations")
    if not 1 <= len(listed) <= MAX_OPERATIONS:
        raise ValueError(f"job.operations: got {len(listed)}, expected 1 to {MAX_OPERATIONS}")
    keys: list[str] = []
    for number in range(len(listed)):
        where, one = f"job.operations[{number}]", operation_fields(job, number)
        key = as_text(one["key"], f"{where}.key")
        if of_networks is not bool(NETWORK_KEY.match(key)) and not (of_networks and number == len(listed) - 1):
            remedy = "nas profile import reads it" if of_networks else "nas bench with result= reads it"
            raise ValueError(f"{where}.key: got {shorten(key)}, expected a result of {_OF[of_networks]}; {remedy}")
        keys.append(key if NETWORK_KEY.match(key) else _operation_key(key, f"{where}.key"))
    if len(set(keys)) < len(keys):
        raise ValueError("job.operations: got an operation twice, expected each once")
    planned, reference = (as_count(job[name], f"job.{name}", minimum=0) for name in ("planned", "reference"))
    if not 1 <= planned <= len(keys) <= planned + 1 or reference >= len(keys):
        raise ValueError(f"job: got planned {shorten(planned)} and reference {shorten(reference)} of {len(keys)} operations")
    return keys, planned, reference


def _operation_key(key: str, where: str) -> str:
    spec = parse_key(key)
    if spec.kind not in KINDS:
        raise ValueError(f"{where}: got an operation of kind {shorten(spec.kind)}, expected one of {', '.join(KINDS)}")
    return spec.key


def _timings(value: object, keys: Sequence[str], *, reference: str, effort: Effort) -> Log:
    listed = as_list(value, "timings")
    if len(listed) > MAX_TIMINGS:
        raise ValueError(f"timings: got {len(listed):,}, expected at most {MAX_TIMINGS:,}")
    log = Log()
    for number, one in enumerate(listed):
        where = f"timings[{number}]"
        fields = as_list(one, where)
        if len(fields) != 5:
            raise ValueError(f"{where}: got {shorten(fields)}, expected [operation, round, ms, calls, is reference]")
        operation, round_index = (as_count(field, where, minimum=0) for field in fields[:2])
        ms, calls, is_reference = as_number(fields[2], where), as_count(fields[3], where, minimum=1), as_bool(fields[4], where)
        if operation >= len(keys) or round_index >= effort.max_rounds or not LEAST_MS <= ms <= MOST_MS:
            raise ValueError(
                f"{where}: got {shorten(fields)}, expected one of {len(keys)} operations, a round below "
                f"{effort.max_rounds} and {LEAST_MS:g} to {MOST_MS:g} ms"
            )
        timing = Timing(keys[operation], round_index, ms, calls, is_reference)
        if is_reference and timing.key != reference:
            raise ValueError(f"{where}: got a timing of {timing.key} as reference, expected {reference}")
        log.check_new(timing)
        log.keep(timing)
    return log


def _check_whole(log: Log, keys: Sequence[str], effort: Effort) -> None:
    """Refuse a measurement that was not finished, and timings that no measurement takes."""
    if log.reference_key is None:
        raise ValueError("timings: got none of the reference operation")
    if strange := log.keys - set(keys):
        raise ValueError(f"timings: got samples of {min(strange)}, expected none of an operation that is the reference only")
    references = len(log.timings) - log.num_samples
    if references > (most := log.num_samples // REFERENCE_EVERY + effort.max_rounds + 1):
        raise ValueError(f"timings: got {references:,} of the reference operation, expected at most {most:,}")
    for key in keys:
        count = log.samples_of(key)
        if count < effort.rounds or not all(log.has(key, index) for index in range(count)):
            raise ValueError(f"timings: got {count} of {key}, expected those of rounds 0 to {effort.rounds - 1} at least")
