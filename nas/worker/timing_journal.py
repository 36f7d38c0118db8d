"""The journal of a measurement: one line a timing, flushed before it counts, so that a stopped run goes on where it was."""

import errno
import json
import os
from io import FileIO
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence

from nas.worker.drift import Timing
from nas.worker.interface import WorkerError
from nas.worker.plain_json import cut, one_line, read_bounded, value_of
from nas.worker.rounds import MAX_CALLS, Log
from nas.worker.whole_file import open_own

JOURNAL_FILE = "journal.jsonl"
"""Its name in the worker's folder."""
JOURNAL_VERSION = 2
"""The version of the file that this code writes and reads."""
MAX_JOURNAL_BYTES = 256 * 2**20
"""A larger file is no journal: 100,000 timings have 30 MB."""
LEAST_MS, MOST_MS = 1e-6, 1e8
"""A nanosecond, which is what a table resolves, and a day: no call takes less, or more."""


class OtherConditionsError(WorkerError):
    """The journal of a stopped run states other conditions than there are now."""


CheckTiming = Callable[[Timing], None]
"""Refuses, with `ValueError`, a timing that does not belong to the measurement."""


def line_of(timing: Timing) -> str:
    """A timing as a line of JSON without its line break."""
    name = "reference" if timing.is_reference else "key"
    return json.dumps({name: timing.key, "round": timing.round_index, "ms": timing.ms, "calls": timing.calls}, allow_nan=False)


def timing_of(fields: object) -> Timing:
    """The timing that the value of a line states; raises `ValueError` for anything else."""
    if not isinstance(fields, dict):
        raise ValueError(f"got {cut(fields)}, expected a timing")
    is_reference = "reference" in fields
    name = "reference" if is_reference else "key"
    if set(fields) != {name, "round", "ms", "calls"}:
        raise ValueError(f"got {cut(fields)}, expected {name}, round, ms and calls")
    key, round_index, ms, calls = (fields[field] for field in (name, "round", "ms", "calls"))
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in (round_index, calls))
    good = whole and isinstance(key, str) and isinstance(ms, (int, float)) and not isinstance(ms, bool)
    if not good or round_index < 0 or calls < 1 or not LEAST_MS <= ms <= MOST_MS:
        raise ValueError(f"got {cut(fields)}, expected a key, a round of at least 0, ms above 0 and at least 1 call")
    return Timing(key, round_index, float(ms), calls, is_reference)


def whole_lines(content: bytes) -> List[bytes]:
    """The lines of a journal that were written to their end; a last one that a crash has torn is left out."""
    return content.split(b"\n")[:-1]


def keep_lines(lines: Iterable[bytes], log: Log, check: CheckTiming) -> None:
    """Keep in a log the timings of the lines after a header; raises `ValueError` that names the first line that is none."""
    for number, line in enumerate(lines, start=2):
        try:
            timing = timing_of(value_of(line))
            check(timing)
            log.check_new(timing)
        except ValueError as error:
            raise ValueError(f"line {number}: {' '.join(str(error).split())}") from error
        log.keep(timing)


def header_of(fields: Mapping[str, Any]) -> str:
    """The first line of a journal that states these conditions, without its line break."""
    return json.dumps(dict({"format_version": JOURNAL_VERSION}, **fields))


class Journal(Log):
    """The timings of a measurement, in memory and in a file that is written to from the first one on.

    Args:
        path: The file.
        header: What the measurement shares with the file that it goes on from; stands in the first line.
        check: Refuses timings that do not belong to the measurement.
        goes_on_from: Whether the file is gone on from, by what its first line states; else it is replaced. Raises
            `OtherConditionsError`, and `ValueError` for what is no first line.

    Raises:
        WorkerError: If the file cannot be read, is malformed, or is refused.
    """

    def __init__(
        self,
        path: str,
        header: Mapping[str, Any],
        *,
        check: CheckTiming,
        goes_on_from: Callable[[object], bool],
    ) -> None:
        super().__init__()
        self._path = path
        self._header = header
        self._file: Optional[FileIO] = None
        self._whole_bytes = 0
        if os.path.exists(path):
            self._read(check, goes_on_from)

    def start(self) -> None:
        """Open the file for writing, and state the conditions in a new one."""
        if self._file is not None:
            return
        try:
            os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
            self._file = FileIO(open_own(self._path, os.O_WRONLY | os.O_APPEND), "ab")
            self._file.truncate(self._whole_bytes)
        except OSError as error:
            raise self._unwritable(error) from error
        if self._whole_bytes == 0:
            self._append(header_of(self._header))

    def write(self, timing: Timing) -> None:
        """Append a timing to the file."""
        self.start()
        self._append(line_of(timing))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, line: str) -> None:
        assert self._file is not None
        content = f"{line}\n".encode("ascii")
        try:
            if self._file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> WorkerError:
        after = f" after {len(self.timings)} timings, which are kept" if self.timings else ""
        return WorkerError(
            f"{self._path}: the journal cannot be written ({error.strerror}){after}; make room there, then run the same again: it "
            "goes on from here"
        )

    def _read(self, check: CheckTiming, goes_on_from: Callable[[object], bool]) -> None:
        try:
            lines = whole_lines(read_bounded(self._path, limit=MAX_JOURNAL_BYTES))
        except (OSError, ValueError) as error:
            raise WorkerError(f"{self._path}: the journal cannot be read ({one_line(error)}); delete it to start over") from error
        try:
            if not lines or not self._goes_on(lines[0], goes_on_from):
                return
            keep_lines(lines[1:], self, check)
        except OtherConditionsError as error:
            raise WorkerError(
                f"{self._path}: {error}; go on under those conditions, or delete the journal to start over"
            ) from error
        except ValueError as error:
            raise WorkerError(f"{self._path}: {error}; delete the journal to start over") from error
        self._whole_bytes = sum(len(line) + 1 for line in lines)

    @staticmethod
    def _goes_on(line: bytes, goes_on_from: Callable[[object], bool]) -> bool:
        try:
            return goes_on_from(value_of(line))
        except ValueError as error:
            raise ValueError(f"line 1: {' '.join(str(error).split())}") from error


def job_header(job_id: str, under: Mapping[str, str]) -> Dict[str, Any]:
    """Content of a job's journal under certain conditions."""
    return {"job": job_id, "under": dict(sorted(under.items()))}


def conditions_under(version: str, facts: Mapping[str, str]) -> Dict[str, str]:
    """Conditions that two runs of a job must share: version of the runtime, and power mode and clock limits where known."""
    return {"version": version, **{name: facts[name] for name in ("power_mode", "clock_limits") if name in facts}}


def is_of_job(found: object, header: Mapping[str, Any]) -> bool:
    """Whether the first line of a journal is of the job that a header names.

    Raises:
        OtherConditionsError: If it is, but under other conditions.
        ValueError: If it is, but in another format.
    """
    if not isinstance(found, dict) or found.get("job") != header["job"]:
        return False
    if found.get("format_version") != JOURNAL_VERSION:
        raise ValueError(f"format_version: got {cut(found.get('format_version'))}, expected {JOURNAL_VERSION}")
    if found != dict(header, format_version=JOURNAL_VERSION):
        raise OtherConditionsError(
            f"the journal of a stopped run under other conditions ({cut(found.get('under'), 300)}), and now there are "
            f"{header['under']}"
        )
    return True


def check_of_job(keys: Sequence[str], *, reference: str, rounds: int) -> CheckTiming:
    """Refuse timings that are not of a job.

    Args:
        keys: Keys of the job's operations.
        reference: Key of its reference operation.
        rounds: The most rounds that it can have.
    """
    known = set(keys)

    def check(timing: Timing) -> None:
        other = timing.key not in known or (timing.is_reference and timing.key != reference)
        if other or timing.round_index >= rounds or timing.calls > MAX_CALLS:
            raise ValueError("got no timing of this job")

    return check
