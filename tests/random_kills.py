"""A command that is killed at random moments and given again until it has come to its end; a second one of it comes in between."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.small_jobs import CHECKOUT

MARK = "NAS_TEST_MARK"
"""Variable of the environment by which all processes of a command are found, also those whose parent has gone."""
LOOK_S = 0.01
END_S = 240.0
"""Seconds that a command may take, on a machine that does other things, too."""
GONE_S = 15.0
"""Seconds in which children of a killed process end: those that read images look for their parent every 5 s."""
_number = count()


@dataclass(frozen=True, kw_only=True)
class Work:
    """A command and what it leaves.

    Args:
        words: The command after `nas`, in a folder of its own.
        writes: File or folder that it writes, relative to that folder.
        check: Refuses what a killed and repeated one has left (first), beside what one left that was never killed (second);
            the two folders are those that the commands ran in.
        inputs: (name of another work, what it has left, its name here): copied before the first start.
        script: A program to run instead of `nas`, in the folder of that name.
        prepare: What is done after the inputs are there.
        again: Whether the same command is refused by what a killed one has left, so that this is deleted.
        several: Whether its other processes are killed, too.
        lock: The file that says which process writes, relative to the folder; None: there is none.
        refusal: What a second one says meanwhile.
        kept: What has to hold after each kill.
    """

    words: Sequence[str]
    writes: str
    check: Callable[[Path, Path], None]
    inputs: Sequence[tuple[str, str, str]] = ()
    script: str | None = None
    prepare: Callable[[Path], None] | None = None
    again: bool = True
    several: bool = False
    lock: str | None = None
    refusal: str = "is being written by nas"
    kept: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class Life:
    """Seconds of a command that nothing stops: until it first writes, and in all."""

    first_write_s: float
    total_s: float


class Running:
    """A command that has been started, with all its processes."""

    def __init__(self, work: Work, folder: Path) -> None:
        self.work, self.folder = work, folder
        self.mark = f"{os.getpid()}-{next(_number)}"
        self.before = contents(folder / work.writes)
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115  closed at the end
        words = ["-m", "nas", *work.words] if work.script is None else ["-I", work.script]
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder if work.script is None else folder / work.writes,
            env={**os.environ, **variables(folder), MARK: self.mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            text=True,
        )

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def has_written(self) -> bool:
        return contents(self.folder / self.work.writes) != self.before

    def has_temporary_file(self) -> bool:
        return any(".tmp" in name and name not in self.before for name in contents(self.folder / self.work.writes))

    def holds_lock(self) -> int | None:
        """Which of its processes holds the lock; None: none does."""
        if self.work.lock is None:
            return None
        try:
            text = (self.folder / self.work.lock).read_text()
            holder = json.loads(text)["pid"] if text.startswith("{") else int(text.split()[0])
        except (OSError, ValueError, IndexError, KeyError):
            return None
        return holder if holder in marked(self.mark) else None

    def wait(self, until: Callable[[], object], limit_s: float = END_S) -> bool:
        """Wait for something or for the end; whether it came."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if until():
                return True
            if self.has_ended():
                return False
            time.sleep(LOOK_S)
        return False

    def sleep(self, seconds: float) -> None:
        self.wait(lambda: False, seconds)

    def end(self) -> tuple[int, str]:
        """Wait for its end; its status and what it said on stderr."""
        status = self.process.wait(END_S)
        self._errors.seek(0)
        return status, self._errors.read()

    def close(self) -> None:
        """Leave no process behind, also where a test fails."""
        for number in marked(self.mark):
            os.kill(number, signal.SIGKILL)
        if not self.has_ended():
            self.process.kill()
            self.process.wait()
        self._errors.close()


def variables(folder: Path) -> dict[str, str]:
    """A cache of the folder's own for the worker, and one for all for the list of fonts, whose making takes seconds."""
    own = {"XDG_CACHE_HOME": str(folder / "cache"), "MPLCONFIGDIR": str(folder.parent / "matplotlib")}
    return {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", **own}


def marked(mark: str) -> list[int]:
    """Processes of a mark that are there and no zombies."""
    found, wanted = [], f"{MARK}={mark}\0".encode()
    for one in Path("/proc").iterdir():
        if not one.name.isdecimal():
            continue
        try:
            if wanted in (one / "environ").read_bytes() + b"\0" and ") Z " not in (one / "stat").read_text():
                found.append(int(one.name))
        except (OSError, UnicodeDecodeError):
            continue
    return found


def contents(path: Path) -> dict[str, tuple[int, int]]:
    """Name -> size and time of change, of a file with what lies beside it under its name, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"*{path.name}*")
    found = {}
    for file in files:
        try:
            state = file.stat()
        except OSError:
            continue
        found[str(file)] = (state.st_size, state.st_mtime_ns)
    return found


@dataclass
class Trials:
    """What has been tried, over works of which some need what others leave."""

    works: dict[str, Work]
    folder: Path
    figures: Counter[str] = field(default_factory=Counter)
    _made: dict[str, tuple[Path, Life]] = field(default_factory=dict)

    def unkilled(self, name: str) -> tuple[Path, Life]:
        """The folder of a command that nothing stops, made once, and how long it took."""
        if name not in self._made:
            folder = self.fresh(name, "whole")
            with running(self.works[name], folder) as one:
                one.wait(one.has_written)
                first = time.monotonic() - one.started
                status, said = one.end()
                assert status == 0, said
                self._made[name] = folder, Life(first, time.monotonic() - one.started)
        return self._made[name]

    def fresh(self, name: str, kind: str) -> Path:
        """A folder with the inputs of a work."""
        folder = self.folder / f"{name}-{kind}"
        folder.mkdir()
        work = self.works[name]
        for of, there, here in work.inputs:
            source = self.unkilled(of)[0] / there
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / here)
        if work.prepare is not None:
            work.prepare(folder)
        return folder

    def kill(self, name: str, kills: int, seed: int) -> None:
        """Kill a work so often, a few times before each end, and compare what is left then."""
        draw = random.Random(f"{name} {seed}")
        whole, life = self.unkilled(name)
        left, trial = kills, 0
        while left > 0:
            assert trial < 4 * kills + 4, f"{name}: {left} of {kills} kills came after the end of the process"
            folder = self.fresh(name, f"{seed}-{trial}")
            left -= _Trial(self, name, folder, draw, life).run(min(left, draw.randrange(1, 6)))
            self.works[name].check(folder, whole)
            left_behind(folder, self.works[name])
            self.figures[f"{name}: ended equal"] += 1
            shutil.rmtree(folder)
            trial += 1


@dataclass
class _Trial:
    """One folder, in which a work is killed and given again until it ends."""

    of: Trials
    name: str
    folder: Path
    draw: random.Random
    life: Life
    started: list[Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.work = self.of.works[self.name]

    def run(self, kills: int) -> int:
        """The number of kills, which are fewer than wanted where the work ended before."""
        with ExitStack() as all_of_them:
            done, kind = 0, ""
            while kind != "end":
                kind = self.draw.choices(("kill", "terminate", "second"), (7, 1, 2 if self.work.lock else 0))[0]
                kind = kind if done < kills else "end"
                one = all_of_them.enter_context(running(self.work, self.folder))
                self.started.append(one)
                if not getattr(self, f"_{kind}")(one):
                    break
                done += kind == "kill"
                self.of.figures[f"{self.name}: {kind}"] += 1
                self._look(one)
            self._must_have_ended_well(one)
        return done

    def _end(self, one: Running) -> bool:
        one.end()
        return False

    def _kill(self, one: Running) -> bool:
        if not self._moment(one):
            return False
        others = [number for number in marked(one.mark) if number != one.process.pid]
        if self.work.several and others and self.draw.random() < 0.5:
            return self._kill_other(one, self.draw.choice(others))
        one.process.kill()
        return one.end()[0] == -signal.SIGKILL

    def _kill_other(self, one: Running, number: int) -> bool:
        """Another process than the first: the first says so in a line, or does without it."""
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            return False
        status, said = one.end()
        self.of.figures[f"{self.name}: another process than the first was killed, status {status}"] += 1
        assert_no_traceback(said)
        return status != 0

    def _terminate(self, one: Running) -> bool:
        """SIGTERM: saved and said where there is something to save, or the default while it starts."""
        if not self._moment(one):
            return False
        one.process.terminate()
        status, said = one.end()
        assert status in (0, 143, -signal.SIGTERM, 130), (status, said)
        assert_no_traceback(said)
        return status != 0

    def _second(self, one: Running) -> bool:
        """While one is stopped which holds the lock, another of it is refused in a line; the first goes on, or is killed."""
        if not one.wait(one.holds_lock):
            return False
        one.sleep(self.draw.uniform(0, max(0.0, self.life.total_s - self.life.first_write_s)))
        holder = one.holds_lock()
        if holder is None:
            return False
        os.kill(holder, signal.SIGSTOP)
        try:
            if one.holds_lock() != holder:
                return False
            with running(self.work, self.folder) as second:
                status, said = second.end()
            assert status == 2, (status, said)
            assert self.work.refusal in said.splitlines()[-1], said
            assert_no_traceback(said)
        finally:
            if self.draw.random() < 0.5:
                one.process.kill()
            os.kill(holder, signal.SIGCONT)
        status, said = one.end()
        assert status in (0, -signal.SIGKILL), (status, said)
        return True

    def _moment(self, one: Running) -> bool:
        """Wait for a random moment; whether the process is still there."""
        kind = self.draw.random()
        if kind < 0.2:
            one.sleep(self.draw.uniform(0, self.life.first_write_s))
        elif kind < 0.4:
            one.wait(one.has_temporary_file)
        elif one.wait(one.has_written):
            one.sleep(self.draw.uniform(0, max(0.05, self.life.total_s - self.life.first_write_s)))
        return not one.has_ended()

    def _look(self, one: Running) -> None:
        """What has to hold after a kill; half of the times the next command comes at once."""
        if self.draw.random() < 0.5:
            must_be_gone(one)
        for path in self.folder.rglob("*.json"):
            if not path.name.startswith("."):
                json.loads(path.read_text())
        if self.work.kept is not None:
            self.work.kept(self.folder)
        if not self.work.again and any(not name.endswith((".lock", ".tmp")) for name in contents(self.folder / self.work.writes)):
            _delete(self.folder / self.work.writes)

    def _must_have_ended_well(self, one: Running) -> None:
        status, said = one.end()
        assert status == 0, (status, said, contents(self.folder / self.work.writes))
        assert_no_traceback(said)
        for each in self.started:
            must_be_gone(each)


@contextmanager
def running(work: Work, folder: Path) -> Iterator[Running]:
    one = Running(work, folder)
    try:
        yield one
    finally:
        one.close()


def must_be_gone(one: Running) -> None:
    """Refuse processes of a command that has ended."""
    end = time.monotonic() + GONE_S
    while (left := marked(one.mark)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left, [Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ") for number in left]


def assert_no_traceback(said: str) -> None:
    assert "Traceback" not in said, said


def left_behind(folder: Path, work: Work) -> None:
    """Refuse temporary files and folders, locks and journals; the worker's folder keeps its own."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    kept = {f"{work.writes}/lock", f"{work.writes}/journal.jsonl"} if work.script else set()
    ends, beginnings = (".tmp", ".part", "lock", "journal.jsonl"), ("tmp", "cache/segnas/")
    odd = [name for name in names if name not in kept and (name.endswith(ends) or name.startswith(beginnings))]
    assert not odd, odd


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
