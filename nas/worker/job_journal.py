"""The worker's journal: one line a timing, flushed before it counts, so that a stopped run goes on where it was."""

import errno
import json
import os
from io import FileIO
from typing import Dict, List, Mapping, Optional, Sequence

from nas.worker.drift import Timing
from nas.worker.interface import WorkerError
from nas.worker.rounds import Log

JOURNAL_FILE = "journal.jsonl"
FAR_JOURNAL_VERSION = 1
"""The version of the file that this code writes and reads."""


def line_of(timing: Timing, operation: int) -> str:
    """A timing as a line of JSON without its line break; operations go by their number in the job."""
    fields = {"op": operation, "round": timing.round_index, "ms": timing.ms, "calls": timing.calls, "ref": timing.is_reference}
    return json.dumps(fields, allow_nan=False)


def header_of(job_id: str, under: Mapping[str, str]) -> str:
    """The first line of the journal of a job under certain conditions, without its line break."""
    return json.dumps({"format_version": FAR_JOURNAL_VERSION, "job": job_id, "under": dict(under)}, sort_keys=True)


def conditions_under(version: str, facts: Mapping[str, str]) -> Dict[str, str]:
    """What two runs of a job must share: version of the runtime, power mode and limits of the clocks, as far as they are known."""
    return {"version": version, **{name: facts[name] for name in ("power_mode", "clock_limits") if name in facts}}


def timing_of(line: str, keys: Sequence[str]) -> Timing:
    """The timing that a line states; raises `ValueError` for anything else."""
    fields = json.loads(line)
    if not isinstance(fields, dict) or set(fields) != {"op", "round", "ms", "calls", "ref"}:
        raise ValueError("got no timing")
    operation, round_index, ms, calls, is_reference = (fields[name] for name in ("op", "round", "ms", "calls", "ref"))
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in (operation, round_index, calls))
    good = whole and isinstance(ms, (int, float)) and not isinstance(ms, bool) and isinstance(is_reference, bool)
    if not good or not 0 <= operation < len(keys) or round_index < 0 or calls < 1 or not 0 < ms < float("inf"):
        raise ValueError("got no timing of this job")
    return Timing(keys[operation], round_index, float(ms), calls, is_reference)


def whole_lines(text: str) -> List[str]:
    """The lines of a journal that were written to their end; a last one that a crash has torn is left out."""
    return text.split("\n")[:-1]


class FarJournal(Log):
    """The timings of a job on the device, in memory and in a file.

    Args:
        path: The file; one of another job is replaced.
        job_id: Identifies the job.
        keys: Keys of its operations.
        under: The conditions now, from `conditions_under`.

    Raises:
        WorkerError: If the file cannot be read or written, or is malformed.
    """

    def __init__(self, path: str, job_id: str, keys: Sequence[str], *, under: Mapping[str, str]) -> None:
        super().__init__()
        self._path = path
        self._numbers: Dict[str, int] = {key: number for number, key in enumerate(keys)}
        self._file: Optional[FileIO] = None
        whole_bytes = self._read(job_id, keys, under) if os.path.exists(path) else 0
        try:
            self._file = open(path, "ab", buffering=0)
            self._file.truncate(whole_bytes)
        except OSError as error:
            raise WorkerError(f"{path}: cannot be written ({error.strerror}); the folder must be writable") from error
        if whole_bytes == 0:
            self._append(header_of(job_id, under))

    def write(self, timing: Timing) -> None:
        """Append a timing to the file."""
        self._append(line_of(timing, self._numbers[timing.key]))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _append(self, line: str) -> None:
        assert self._file is not None
        content = f"{line}\n".encode("ascii")
        try:
            if self._file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            folder = os.path.dirname(self._path) or "."
            raise WorkerError(
                f"{folder}: the journal cannot be written ({error.strerror}) after {len(self.timings)} timings, which are kept; "
                "make room there, then run the same again: it goes on from here"
            ) from error

    def _read(self, job_id: str, keys: Sequence[str], under: Mapping[str, str]) -> int:
        """Take what the file holds; returns the bytes of its whole lines, 0 where it is of another job."""
        try:
            with open(self._path, encoding="ascii") as file:
                lines = whole_lines(file.read())
        except (OSError, UnicodeDecodeError) as error:
            raise WorkerError(f"{self._path}: the journal cannot be read ({error}); delete it to start over") from error
        if not lines or f'"job": "{job_id}"' not in lines[0]:
            return 0
        if lines[0] != header_of(job_id, under):
            raise WorkerError(
                f"{self._path}: the journal of a stopped run under other conditions ({lines[0]}), and now there are {dict(under)}; "
                "go on under those conditions, or delete the journal to start over"
            )
        for number, line in enumerate(lines[1:], start=2):
            try:
                timing = timing_of(line, keys)
                self.check_new(timing)
            except ValueError as error:
                raise WorkerError(f"{self._path}: line {number}: {error}; delete the journal to start over") from error
            self.keep(timing)
        return sum(len(line) + 1 for line in lines)
