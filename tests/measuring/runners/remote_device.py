"""A device that is reached over SSH, whose runtime is an imitation, and the command that measures it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nas.cost import LatencyTable, read_table
from nas.measuring.journal import TableJournal
from nas.measuring.runners.ssh.remote_place import SshPlace
from nas.ops import OpSpec
from nas.space.capabilities import LatencyObjective
from nas.worker.onnx_sessions import SETTLING
from nas.worker.timing_journal import JOURNAL_FILE
from tests.conftest import Outcome
from tests.measuring.runners.sshd import Sshd, alive
from tests.simulated_device import conv

PLAN = tuple(conv(channels) for channels in (1, 2, 3, 4, 5, 6))
ROUNDS = 4
CALLS_OF_SET_UP = SETTLING + 2
RUNTIME = "onnxruntime-fp32-b1-t1"
IMITATION = """\
import os, sys
os.environ["SEGNAS_FAKE"] = {folder!r}
sys.path.insert(0, {folder!r})
"""
LAUNCHER = """
import runpy, sys
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A timing in a journal of either side."""

    key: str
    round_index: int
    ms: float
    calls: int
    is_reference: bool


@dataclass(slots=True)
class Deleted:
    """What was in the files that a run deletes at its end."""

    own: list[Line] = field(default_factory=list)
    remote: list[Line] = field(default_factory=list)
    remote_names: list[str] = field(default_factory=list)


def lines_of(path: Path) -> list[Line]:
    """The whole lines of a journal behind its header."""
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().split("\n")[1:-1]]
    return [Line(row.get("key", row.get("reference")), row["round"], row["ms"], row["calls"], "reference" in row) for row in rows]


class RemoteDevice:
    """A server, the interpreter with the imitation there, and the working folder of the command here.

    Args:
        sshd: The server.
        folder: Of this device's own.
        run_nas: Runs a command line.
        work: The folder that it runs in.
    """

    def __init__(self, sshd: Sshd, folder: Path, run_nas: Callable[..., Outcome], work: Path) -> None:
        self.sshd, self.folder, self._run_nas, self._work = sshd, folder, run_nas, work
        self.lies_in(folder / "remote")
        self.table = work / "latency_tables" / "board" / f"{RUNTIME}.json"
        self.own_journal = self.table.with_name(f"{self.table.name}.journal.jsonl")
        self.calls = folder / "calls"
        for name in ("onnxruntime", "numpy"):
            shutil.copy(Path(__file__).with_name("fake_onnxruntime.py"), folder / f"{name}.py")
        self.python = self.interpreter("python")
        self.deleted = Deleted()
        self.stops = 0

    def lies_in(self, base: Path) -> None:
        """Let the folder there be below another one."""
        self.base = base
        self.files = base / RUNTIME
        self.remote_journal = self.files / JOURNAL_FILE

    def interpreter(self, name: str, *, patch: str = "", imitation: bool = True) -> Path:
        """A program that runs the worker, after lines of Python that change what it sees; the imitation knows no other package."""
        launcher = self.folder / f"{name}.py"
        lines = [IMITATION.format(folder=str(self.folder)) if imitation else "", textwrap.dedent(patch), LAUNCHER]
        launcher.write_text("".join(lines))
        flags = "-I -S" if imitation else "-I"
        return self.program(name, f'exec {shlex.quote(sys.executable)} {flags} {shlex.quote(str(launcher))} "$@"')

    def program(self, name: str, *lines: str) -> Path:
        """A shell script there."""
        path = self.folder / name
        path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        path.chmod(0o755)
        return path

    def arguments(self, **changes: Any) -> list[str]:
        """The command line; keys with two underscores reach into a section, None leaves one out."""
        target = self.sshd.target()
        settings = {
            "runner": "ssh",
            "host": target.text,
            "ssh__key": target.key,
            "ssh__known_hosts": target.known_hosts,
            "ssh__python": self.python,
            "ssh__folder": self.base,
            "runtime": "onnxruntime",
            "device": "board",
            "deploy__input": "[32,32]",
            "rounds": ROUNDS,
            "max_rounds": ROUNDS,
        } | changes
        return ["profile", *(f"{key.replace('__', '.')}={value}" for key, value in settings.items() if value is not None)]

    def profile(self, **changes: Any) -> Outcome:
        """Run the command."""
        return self._run_nas(*self.arguments(**changes))

    def at(self, **actions: int) -> None:
        """Let something happen before a call, counted from now on; see fake_onnxruntime.py."""
        there = self.num_calls
        (self.folder / "at.json").write_text(json.dumps({str(there + call): do.replace("_", " ") for do, call in actions.items()}))

    @property
    def num_calls(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0

    def stopped(self, status: int, *parts: str, **changes: Any) -> Outcome:
        """Run the command, which must be stopped in a measurement, with a status and one line that holds the parts."""
        self.stops += 1
        return self.refused(status, *parts, **changes)

    def refused(self, status: int, *parts: str, **changes: Any) -> Outcome:
        """Run the command, which must end before it measures, with a status and one line that holds the parts."""
        outcome = self.profile(**changes)
        (line,) = outcome.err_lines
        assert line.startswith("nas profile: "), line
        assert line.isprintable()
        assert len(line) < 500
        for part in parts:
            assert part in line
        assert outcome.status == status
        assert "next:" not in outcome.out
        return outcome

    def journals(self) -> list[Line]:
        """The longer one of both, of which the other one must be the beginning."""
        shorter, longer = sorted([lines_of(self.remote_journal), lines_of(self.own_journal)], key=len)
        assert shorter == longer[: len(shorter)]
        return longer

    def finished(self, *before: Sequence[Line], plan: Sequence[OpSpec] = PLAN, **changes: Any) -> LatencyTable:
        """Run the command to its end; nothing that was there before may be lost, nothing may have been taken twice."""
        outcome = self.profile(**changes)
        assert (outcome.status, [line for line in outcome.err_lines if "not stable" not in line]) == (0, [])
        table = read_table(self.table)
        lines = self.deleted.own
        for there in before:
            assert lines[: len(there)] == list(there)
        assert lines == self.deleted.remote
        samples = [(line.key, line.round_index) for line in lines if not line.is_reference]
        keys = {spec.key for spec in plan}
        assert sorted(samples) == sorted((key, index) for key in keys for index in range(ROUNDS))
        assert keys <= set(table.entries)
        assert all(table.entries[key].n == ROUNDS for key in keys)
        self._check_calls(lines)
        assert not self.own_journal.exists()
        assert not self.files.exists()
        return table

    def _check_calls(self, lines: Sequence[Line]) -> None:
        """Each process sets an operation up, then calls it once before each timing; a stop wastes one timing at most."""
        rows = [line.split() for line in self.calls.read_text().splitlines()]
        opened = len({tuple(row) for row in rows}) + len({process for process, _ in rows})  # the reference has its own
        needed = sum(line.calls + 1 for line in lines)
        most_wasted = self.stops * max(line.calls + 1 for line in lines)
        assert needed <= len(rows) <= needed + CALLS_OF_SET_UP * opened + most_wasted

    def workers(self) -> list[int]:
        """The processes that called something and still run."""
        rows = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [pid for pid in Counter(int(row.split()[0]) for row in rows) if alive(pid)]

    def close(self) -> None:
        for pid in self.workers():
            with suppress(ProcessLookupError):  # one that has just ended by itself
                os.kill(pid, signal.SIGKILL)


def make_board(
    sshd: Sshd, tmp_path: Path, run_nas: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> Iterator[RemoteDevice]:
    """A device on a server, with the plan of six operations; what its runs delete at their end is kept."""
    folder = tmp_path / "board"
    folder.mkdir()
    side = RemoteDevice(sshd, folder, run_nas, tmp_path)
    want(monkeypatch, PLAN)
    delete, remove = TableJournal.delete, SshPlace.remove

    def keep_and_delete(journal: TableJournal) -> None:
        side.deleted.own = lines_of(journal.path)
        delete(journal)

    def keep_and_remove(place: SshPlace) -> None:
        if side.remote_journal.exists():
            side.deleted.remote = lines_of(side.remote_journal)
            side.deleted.remote_names = sorted(path.name for path in side.files.iterdir())
        remove(place)

    monkeypatch.setattr(TableJournal, "delete", keep_and_delete)
    monkeypatch.setattr(SshPlace, "remove", keep_and_remove)
    yield side
    side.close()


def want(monkeypatch: pytest.MonkeyPatch, plan: Sequence[OpSpec]) -> None:
    """Let the space need these operations."""
    monkeypatch.setattr(LatencyObjective, "plan", lambda space, deployment: tuple(plan))  # noqa: ARG005
