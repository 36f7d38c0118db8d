"""A measurement by the worker in some place, line by line into the journal of this machine."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nas.errors import ConfigError, ResumableError, UserError, WorkerStoppedError
from nas.files.atomic import is_running
from nas.files.shortening import shorten
from nas.files.strict_json import as_count, as_list, as_number, as_optional_text, as_text, parse_strict
from nas.measuring.journal import TableJournal
from nas.measuring.runners.bundle import WORKER_FILE, bundle_files
from nas.measuring.runners.graph_hashes import check_graphs
from nas.measuring.runners.place import Place
from nas.measuring.runners.request import Request
from nas.measuring.runners.untrusted_text import plain
from nas.measuring.runners.worker_file import worker_source
from nas.measuring.runners.worker_identity import Identity
from nas.ops.spec import OpSpec
from nas.worker.drift import Timing
from nas.worker.graph_archive import GRAPHS_FILE
from nas.worker.job import JOB_FILE
from nas.worker.lock import NOBODY
from nas.worker.main import WORKER_DONE, WORKER_INTERRUPTED, WORKER_REFUSED
from nas.worker.plain_json import value_of
from nas.worker.rounds import Log, OnProgress
from nas.worker.tensorrt_choice import FELL_BACK
from nas.worker.timing_journal import (
    JOURNAL_FILE,
    CheckTiming,
    OtherConditionsError,
    check_of_job,
    conditions_under,
    header_of,
    is_of_job,
    job_header,
    keep_lines,
    line_of,
    timing_of,
    whole_lines,
)

CLOCK_TOLERANCE_S = 120.0
"""The clock of a place that differs by more is reported."""
MAX_REASON = 600
"""Most characters of what the worker says that an error quotes."""

_log = logging.getLogger(__name__)


class WorkerRun:
    """The worker in one place.

    Args:
        place: Where it runs.
        request: How it measures.
    """

    def __init__(self, place: Place, request: Request) -> None:
        self._place = place
        self._request = request
        self._busy: str | None = None
        self._busy_client = NOBODY
        self._archive_there: str | None = None

    def identify(self) -> Identity:
        """Ask the worker what it is on.

        Raises:
            UserError: If it cannot run there, or lacks the runtime.
        """
        self._place.put(WORKER_FILE, worker_source().encode())
        try:
            heard = self._run(["--identify", self._request.question], {})
        except UserError:
            if self._place.get(JOURNAL_FILE) is None:
                self._place.remove()
            raise
        try:
            said = heard.get("identity")
            fields = dict(said) if isinstance(said, dict) else {}
            clock = as_number(fields.pop("clock", None), "identity.clock")
            self._busy = as_optional_text(fields.pop("busy", None), "identity.busy")
            self._busy_client = as_text(fields.pop("busy_client", NOBODY), "identity.busy_client")
            self._archive_there = as_optional_text(fields.pop("archive", None), "identity.archive")
            identity = Identity.parse(fields, "identity")
        except ValueError as error:
            raise ConfigError(f"{self._place.name}: the worker does not say what it is on: {error}") from error
        if abs(clock - time.time()) > CLOCK_TOLERANCE_S:
            _log.warning(
                "%s: its clock is wrong by %+.0f s; the table has the time of this machine", self._place.name, clock - time.time()
            )
        if FELL_BACK in identity.details:
            _log.warning("%s: %s", self._place.name, identity.details[FELL_BACK])
        return identity

    def take(
        self,
        plan: Sequence[OpSpec],
        reference: OpSpec,
        journal: TableJournal,
        *,
        identity: Identity,
        on_progress: OnProgress | None,
    ) -> Mapping[str, Any]:
        """Take the timings of a plan that a journal lacks; what a stopped run has left in the place comes first.

        Args:
            plan: The operations.
            reference: The reference operation.
            journal: Where the timings are and will be.
            identity: What `identify` said.
            on_progress: See `OnProgress`.

        Returns:
            What the worker says at its end, without the timings.

        Raises:
            UserError: If the worker refuses.
            ResumableError: If it stopped before its time.
        """
        _log.info("making the graphs of %d operations", len(plan))
        files = bundle_files(plan, reference, self._request, on_graph=_say_tenths("%d of %d graphs are made"))
        return self.measure(files, journal, identity=identity, on_progress=on_progress)

    def measure(
        self, files: Mapping[str, bytes], log: Log, *, identity: Identity, on_progress: OnProgress | None
    ) -> Mapping[str, Any]:
        """Let the worker measure what files state, as `take`.

        Args:
            files: From `bundle_files` or `measurement_files`.
            log: Where the timings are and will be.
            identity: What `identify` said.
            on_progress: See `OnProgress`.

        Returns:
            As `take`.
        """
        job = json.loads(files[JOB_FILE])
        if self._busy not in (None, job["id"]):
            raise ConfigError(
                f"{self._place.name}: another measurement is running there; wait for its end, or give another folder: ssh.folder="
            )
        replaced = [] if self._busy is None else [self._left_behind(self._busy_client)]
        keys = [str(operation["key"]) for operation in job["operations"]]
        header = job_header(job["id"], conditions_under(identity.version, identity.facts))
        protocol = job["protocol"]
        rounds = max(protocol["rounds"][1], protocol["program_rounds"][1])
        check = check_of_job(keys, reference=keys[job["reference"]], rounds=rounds)
        known = self._meet(log, keys, header, check)
        self._put_files(files)
        if log.num_samples:
            _log.info("%d samples are there from a stopped run", log.num_samples)

        def on_timing(value: object) -> None:
            timing = timing_of(value)
            check(timing)
            log.record(timing)

        def on_numbers(value: object) -> None:
            done, total = _counts(value, "progress")
            if on_progress is not None:
                on_progress(done, total)

        say_ready = _say_tenths("%d of %d operations are ready")

        def on_ready(value: object) -> None:
            say_ready(*_counts(value, "ready"))

        listeners = {"timing": on_timing, "progress": on_numbers, "ready": on_ready}
        heard = self._run(["--stream", str(known), client_name(), *replaced], listeners, log=log)
        result = heard.get("result")
        if not isinstance(result, dict):
            raise WorkerStoppedError(f"{self._place.name}: the worker ended without a result; the same command goes on from there")
        try:
            check_graphs(job, result.get("graphs"))
        except ValueError as error:
            raise ConfigError(f"{self._place.name}: {error}") from error
        return result

    def _left_behind(self, client: str) -> str:
        """The client of a worker at the same job, where it may have gone: its worker is stopped, which is said.

        Raises:
            ConfigError: If the client is there, or there is none: somebody started the worker by hand.
        """
        host, _, number = client.rpartition(":")
        is_here = host == client_name().rpartition(":")[0] and number.isdecimal() and int(number) != os.getpid()
        if client == NOBODY or (is_here and is_running(int(number))):
            who = "a worker that was started by hand" if client == NOBODY else f"process {number} of this machine"
            raise ConfigError(f"{self._place.name}: {who} is at the same measurement there; wait for its end, or stop it")
        _log.warning(
            "%s: the worker that %s started is still at the same measurement there; it is stopped, and this command goes on",
            self._place.name,
            plain(client),
        )
        return client

    def _put_files(self, files: Mapping[str, bytes]) -> None:
        """Put the files of a measurement; the graphs, which may be large, only if those that are there are others."""
        if self._archive_there != hashlib.sha256(files[GRAPHS_FILE]).hexdigest():
            self._place.put(GRAPHS_FILE, files[GRAPHS_FILE])
        for name in (WORKER_FILE, JOB_FILE):
            self._place.put(name, files[name])

    def _meet(self, log: Log, keys: Sequence[str], header: Mapping[str, Any], check: CheckTiming) -> int:
        """Let both journals hold what either has: the longer one counts, of which the other is the beginning.

        What the journal of this machine has of other operations, which the table holds by now, stays there alone.

        Returns:
            The number of timings that both hold then.
        """
        there = self._timings_there(header, check)
        own = [timing for timing in log.timings if timing.key in set(keys)]
        shared = min(len(there), len(own))
        if there[:shared] == own[:shared]:
            for timing in there[shared:]:
                log.record(timing)
            own += there[shared:]
        else:
            _log.warning("%s: its journal holds other timings than that of this machine, which counts", self._place.name)
        if there != own:
            lines = [header_of(header), *(line_of(timing) for timing in own)]
            self._place.put(JOURNAL_FILE, "".join(f"{line}\n" for line in lines).encode())
        return len(own)

    def _timings_there(self, header: Mapping[str, Any], check: CheckTiming) -> list[Timing]:
        """The timings in the place's journal of the same job; of another one, or under other conditions, none count."""
        lines = whole_lines(self._place.get(JOURNAL_FILE) or b"")
        log, defect = Log(), "of another version of segnas"
        try:
            if lines and is_of_job(_header_in(lines[0]), header):
                defect = "damaged"
                keep_lines(lines[1:], log, check)
        except OtherConditionsError:
            return []
        except ValueError as error:
            raise ConfigError(
                f"{self._place.name}: {JOURNAL_FILE} is {defect} ({plain(str(error))}); delete it there, then "
                "the same command goes on with the timings that are here"
            ) from error
        return log.timings

    def _run(
        self, arguments: Sequence[str], listeners: Mapping[str, Callable[[object], None]], *, log: Log | None = None
    ) -> dict[str, object]:
        """Run the worker; returns the last value of each event that nobody listens to."""
        heard: dict[str, object] = {}

        def on_line(line: str) -> None:
            if not line.strip():
                return
            event = _event(line)
            if event is None:
                _log.info("%s says: %s", self._place.name, shorten(line, limit=200))
                return
            for name, value in event.items():
                if name in listeners:
                    listeners[name](value)
                else:
                    heard[name] = value

        try:
            status = self._place.run([WORKER_FILE, *arguments], on_line=on_line)
        except UserError:
            raise
        except ValueError as error:
            raise WorkerStoppedError(f"{self._place.name}: the worker said what no worker says: {error}") from error
        if status != WORKER_DONE:
            raise self._failure(status, heard.get("error"), log)
        return heard

    def _failure(self, status: int, said: object, log: Log | None) -> ConfigError | ResumableError:
        """Meaning of an exit status."""
        if status == WORKER_REFUSED and isinstance(said, str):
            return ConfigError(f"{self._place.name}: {plain(said, limit=MAX_REASON)}")
        if said is None and log is None and status > 0:
            return ConfigError(
                f"{self._place.name}: the worker does not start there (status {status}: {self._last_words()}); "
                "it needs Python 3.6 or newer: ssh.python="
            )
        there = 0 if log is None else len(log.timings)
        kept = f" after {there} timings, which are kept; the same command goes on from there" if there else ""
        if status < 0:
            return WorkerStoppedError(f"{self._place.name}: the worker was ended by signal {-status}{kept}")
        why = plain(said, limit=MAX_REASON) if isinstance(said, str) else self._last_words()
        if status == WORKER_INTERRUPTED:
            why += ", as by another nas profile of the same measurement"
        return WorkerStoppedError(f"{self._place.name}: the worker ended with status {status} ({why}){kept}")

    def _last_words(self) -> str:
        return plain(self._place.stderr[-1]) if self._place.stderr else "it said nothing"


def client_name() -> str:
    """This process for a worker: HOST:PROCESS, in ASCII without spaces."""
    return f"{re.sub('[^A-Za-z0-9._-]', '_', socket.gethostname())}:{os.getpid()}"


def _header_in(line: bytes) -> object:
    """Content of the first line of a journal; None if there is none."""
    try:
        return value_of(line)
    except ValueError:
        return None


def _say_tenths(text: str) -> Callable[[int, int], None]:
    """A listener to (done, total) that logs each tenth."""

    def say(done: int, total: int) -> None:
        if 10 * done // total > 10 * (done - 1) // total:
            _log.info(text, done, total)

    return say


def _counts(value: object, where: str) -> tuple[int, int]:
    """Number of samples taken and number expected; raises `ValueError`."""
    done, total = (as_count(one, where, minimum=1) for one in as_list(value, where)[:2])
    return done, total


def _event(line: str) -> dict[str, Any] | None:
    """The event that a line states; None for a line that is none."""
    if not line.startswith("{"):
        return None
    try:
        event = parse_strict(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
