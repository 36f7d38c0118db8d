"""Observations of the worker beside timings, a line each at once, so that a stopped run does not lose them."""

import json
import os
from typing import Any, Dict, List, Mapping, Set

from nas.worker.interface import WorkerError
from nas.worker.plain_json import cut, one_line, read_bounded, value_of
from nas.worker.readings import Reading, Slowdowns, slowdowns_between
from nas.worker.timing_journal import header_of, job_header, whole_lines
from nas.worker.whole_file import open_own, write_whole

NOTES_FILE = "notes.jsonl"
MAX_NOTES_BYTES = 16 * 2**20
"""A larger file has no notes: an energy has 60 bytes."""


class JobNotes:
    """Notes of a job: the first reading of the device, what slowed it down, what ran without a CUDA graph, and energies.

    Args:
        folder: Where the file lies; one of another job, or under other conditions, is replaced.
        job_id: Identifies the job.
        under: The conditions now, from `conditions_under`.
        operations: Number of the job's operations.

    Raises:
        WorkerError: If the file cannot be read or written.
    """

    def __init__(self, folder: str, job_id: str, *, under: Mapping[str, str], operations: int) -> None:
        self._path = os.path.join(folder, NOTES_FILE)
        self.before: Dict[str, Any] = {}
        """The first reading, in words."""
        self._slowdowns = Slowdowns()
        self.without_graph: Set[int] = set()
        """Numbers of the operations of which a call was launched kernel by kernel, where CUDA graphs are used."""
        self.energies: Dict[int, Dict[str, float]] = {}
        """Number of an operation -> `mj`, millijoules a call, and `idle_w`, the idle power in W."""
        header = header_of(job_header(job_id, under))
        lines = self._read() or [b""]
        if lines[0] != header.encode("ascii"):
            lines = [header.encode("ascii")]
        try:
            notes = [_note_of(value_of(line), operations) for line in lines[1:]]
        except ValueError as error:
            raise WorkerError(f"{self._path}: cannot be read ({one_line(error)}); delete it") from error
        write_whole(self._path, b"".join(line + b"\n" for line in lines), remedy="make room there")  # without a torn last line
        for note in notes:
            self._take(note)

    @property
    def throttled(self) -> List[str]:
        """What slowed the device, in words, over all runs of the job."""
        return self._slowdowns.in_words()

    def note_slowdowns(self, before: Reading, after: Reading) -> None:
        """Keep what slowed the device between two readings; nothing is written where nothing is new."""
        seen = slowdowns_between(before, after)
        new = [text for text in seen.states if text not in self._slowdowns.states]
        if new or seen.rises:
            self.note({"throttled": new, "rises": seen.rises})

    def note(self, fields: Dict[str, Any]) -> None:
        """Keep a note: `before`, `throttled` with `rises`, `without_graph`, or an energy (`op`, `mj`, `idle_w`)."""
        try:
            with os.fdopen(open_own(self._path, os.O_WRONLY | os.O_APPEND), "a", encoding="ascii") as file:
                file.write(json.dumps(fields, allow_nan=False) + "\n")
        except OSError as error:
            raise WorkerError(
                f"{self._path}: cannot be written ({error.strerror}); make room, then run the same again: it goes on from here"
            ) from error
        self._take(fields)

    def _take(self, fields: Dict[str, Any]) -> None:
        if "before" in fields and not self.before:
            self.before = fields["before"]
        self._slowdowns.add(fields.get("throttled", []), fields.get("rises", {}))
        if "without_graph" in fields:
            self.without_graph.add(fields["without_graph"])
        if "op" in fields:
            self.energies[fields["op"]] = {"mj": fields["mj"], "idle_w": fields["idle_w"]}

    def _read(self) -> List[bytes]:
        if not os.path.exists(self._path):
            return []
        try:
            return whole_lines(read_bounded(self._path, limit=MAX_NOTES_BYTES))
        except (OSError, ValueError) as error:
            raise WorkerError(f"{self._path}: cannot be read ({one_line(error)}); delete it") from error


def _note_of(value: object, operations: int) -> Dict[str, Any]:
    """The note that the value of a line states; raises `ValueError` for anything else."""
    fields = value if isinstance(value, dict) else {}
    before, states, rises = (fields.get(name) for name in ("before", "throttled", "rises"))
    names = sorted(fields)
    if names == ["before"]:
        texts = before if isinstance(before, dict) else {}
        good = sorted(texts) == ["clocks", "temperatures"]
        good = good and all(text is None or isinstance(text, str) for text in texts.values())
    elif names == ["rises", "throttled"]:
        good = isinstance(states, list) and all(isinstance(text, str) for text in states)
        good = good and isinstance(rises, dict) and all(type(rise) is int for rise in rises.values())
    elif names == ["without_graph"]:
        good = _is_number_of(fields["without_graph"], operations)
    else:
        good = names == ["idle_w", "mj", "op"] and _is_number_of(fields["op"], operations)
        good = good and all(type(fields[name]) in (int, float) for name in ("idle_w", "mj"))
    if not good:
        raise ValueError(f"got {cut(value)}, expected a note")
    return fields


def _is_number_of(value: object, operations: int) -> bool:
    return type(value) is int and 0 <= value < operations
