"""Command lines run by processes that fork one for each: imports and settings are paid for once, and each is alone.

A process loads everything, and for each command line forks one that composes its settings and then waits. That one forks again for
each folder in which the command is wanted. `PoisedCommands` is used by tests; run as a module, this file is the first process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

CHECKOUT = Path(__file__).resolve().parent.parent
PRELOADED = (
    "torch",
    "onnx",
    "PIL.PngImagePlugin",
    "PIL.JpegImagePlugin",
    "scipy.optimize",
    "matplotlib.backends.backend_agg",
    "nas.cli.hydra_app",
    "nas.cli.verbs",
    "nas.reports.plots",
    *(
        f"nas.stages.{name}"
        for name in ("derive", "evaluate", "export", "predict", "profiling", "profile_import", "profile_validate")
    ),
    *(f"nas.stages.{name}" for name in ("report", "search", "show", "train")),
)
"""What commands load; a module that is not there is left to them."""
SHOWN = 1_000_000
"""Most bytes of each stream that are kept."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Args:
        status: Its exit status; minus the number of the signal that killed it.
        out: What it wrote on stdout.
        err: What it wrote on stderr.
        seconds: Wall time.
        cpu: Processor time, in seconds.
        memory: Most resident memory, in bytes.
    """

    status: int
    out: str
    err: str
    seconds: float
    cpu: float
    memory: int


class PoisedCommands:
    """Runs commands of `nas`, one at a time, each in a process of its own.

    Args:
        home: Folder for what commands keep by themselves.
        seconds: Processor time after which a command is killed; in wall time, ten times as much.
        memory: Address space of a command beyond that of the forking process, in bytes.
    """

    def __init__(self, home: Path, *, seconds: int, memory: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
        environment["PYTHONPATH"] = str(CHECKOUT)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.poised_commands", str(seconds), str(memory)],
            cwd=home,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> PoisedCommands:
        """Nothing to do: the process starts with the object."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the processes."""
        del kind, error, trace
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def run(self, folder: Path, *argv: str) -> Ended:
        """Run a command line in a folder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(folder), argv]) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


@dataclass(frozen=True, slots=True)
class _Limits:
    seconds: int
    memory: int


def _serve(limits: _Limits) -> None:
    """Read commands from stdin and answer each on stdout, until stdin is closed."""
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # a collection in each child would copy every page
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    waiting: dict[tuple[str, ...], tuple[TextIO, TextIO]] = {}
    for line in sys.stdin:
        folder, words = json.loads(line)
        argv = tuple(words)
        if argv not in waiting:
            waiting[argv] = _start(argv, folder, limits, [end for pair in waiting.values() for end in pair])
        asked, answered = waiting[argv]
        asked.write(folder + "\n")
        asked.flush()
        answers.write(answered.readline())
        answers.flush()
    for asked, _ in waiting.values():
        asked.close()
    for _ in waiting:
        os.wait()


def _start(argv: Sequence[str], folder: str, limits: _Limits, others: Sequence[TextIO]) -> tuple[TextIO, TextIO]:
    """Fork a process for a command line; what it is asked and its answers."""
    asked, asking = os.pipe()
    answered, answering = os.pipe()
    if os.fork() == 0:
        for end in others:
            os.close(end.fileno())
        os.close(asking)
        os.close(answered)
        _wait(argv, folder, limits, os.fdopen(asked), os.fdopen(answering, "w"))
    os.close(asked)
    os.close(answering)
    return os.fdopen(asking, "w"), os.fdopen(answered)


def _wait(argv: Sequence[str], folder: str, limits: _Limits, asked: TextIO, answers: TextIO) -> None:
    """Run a command line up to where its job is known; from there on, in a process for each folder. Never returns."""
    from nas.cli import main
    from nas.cli.command_line import _Work

    begin, forking = _Work.do, os.getpid()

    def do(self: _Work, job: Any, name: str) -> Any:
        _Work.do = begin  # type: ignore[method-assign]
        gc.freeze()
        for line in asked:
            streams = [os.memfd_create(name) for name in ("out", "err")]
            start = time.monotonic()
            own = os.fork()
            if own == 0:
                _limit(line[:-1], streams, limits)
                return begin(self, job, name)
            answers.write(json.dumps(_ended(own, streams, start)) + "\n")
            answers.flush()
        os._exit(0)

    _Work.do = do  # type: ignore[method-assign]
    status = 70
    try:
        os.chdir(folder)
        status = main(argv)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001  as the interpreter would end
        traceback.print_exc()
        status = 1
    finally:
        if os.getpid() == forking:
            answers.write(json.dumps({**_ended_here(status), "err": f"{argv} has no job"}) + "\n")
            answers.flush()
        os._exit(status)


def _limit(folder: str, streams: Sequence[int], limits: _Limits) -> None:
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
    had = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (had + limits.memory, had + limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds + 1))
    faulthandler.enable()
    faulthandler.dump_traceback_later(10 * limits.seconds, exit=True)


def _ended(process: int, streams: Sequence[int], start: float) -> dict[str, object]:
    _, raw, used = os.wait4(process, 0)
    took = time.monotonic() - start
    texts = []
    for stream in streams:
        texts.append(os.pread(stream, SHOWN, 0).decode("utf-8", "surrogateescape"))
        os.close(stream)
    return {
        "status": os.waitstatus_to_exitcode(raw),
        "out": texts[0],
        "err": texts[1],
        "seconds": round(took, 3),
        "cpu": round(used.ru_utime + used.ru_stime, 3),
        "memory": used.ru_maxrss * 1024,
    }


def _ended_here(status: int) -> dict[str, object]:
    return {"status": status, "out": "", "err": "", "seconds": 0.0, "cpu": 0.0, "memory": 0}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _serve(_Limits(int(sys.argv[1]), int(sys.argv[2])))
