"""Observations of the worker beside timings, a line each at once, so that a stopped run does not lose them."""

import json
import os
from typing import Any, Dict, List, Mapping, Set

from nas.worker.interface import WorkerError
from nas.worker.readings import Reading, Slowdowns, slowdowns_between
from nas.worker.timing_journal import header_of, job_header, whole_lines
from nas.worker.whole_file import write_whole

NOTES_FILE = "notes.jsonl"


class JobNotes:
    """Notes of a job: the first reading of the device, what slowed it down, what ran without a CUDA graph, and energies.

    Args:
        folder: Where the file lies; one of another job, or under other conditions, is replaced.
        job_id: Identifies the job.
        under: The conditions now, from `conditions_under`.

    Raises:
        WorkerError: If the file cannot be read or written.
    """

    def __init__(self, folder: str, job_id: str, *, under: Mapping[str, str]) -> None:
        self._path = os.path.join(folder, NOTES_FILE)
        self.before: Dict[str, Any] = {}
        """The first reading, in words."""
        self._slowdowns = Slowdowns()
        self.without_graph: Set[int] = set()
        """Numbers of the operations of which a call was launched kernel by kernel, where CUDA graphs are used."""
        self.energies: Dict[int, Dict[str, float]] = {}
        """Number of an operation -> `mj`, millijoules a call, and `idle_w`, the idle power in W."""
        header, lines = header_of(job_header(job_id, under)), self._read()
        if not lines or lines[0] != header:
            lines = [header]
            self._replace(lines)
        for line in lines[1:]:
            self._take(json.loads(line))

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
            with open(self._path, "a", encoding="ascii") as file:
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

    def _read(self) -> List[str]:
        if not os.path.exists(self._path):
            return []
        try:
            with open(self._path, "rb") as file:
                lines = [line.decode("ascii") for line in whole_lines(file.read())]
            for line in lines:
                json.loads(line)
        except (OSError, ValueError) as error:
            raise WorkerError(f"{self._path}: cannot be read ({error}); delete it") from error
        self._replace(lines)  # without a last line that a crash has torn
        return lines

    def _replace(self, lines: List[str]) -> None:
        write_whole(self._path, "".join(line + "\n" for line in lines).encode("ascii"), remedy="make room there")
