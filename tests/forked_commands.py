"""Command lines in processes of their own, where something is wrong with the disk or the process; forked, and thus quick.

`python -m tests.forked_commands` reads one request a line, forks, and answers with one line. A request has `argv` and `cwd`, and
what is wrong: see `_suffer`.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
SECONDS = 120.0
"""Longest time that a command may take."""
STRANGER = 12345
"""A user without an entry in the list of users."""
_KEEP, _BOTH = 8, 1 << 1 | 1 << 2
"""PR_SET_KEEPCAPS; CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Args:
        status: Its exit status; None: it did not end in time.
        out: Its standard output.
        err: Its standard error.
    """

    status: int | None
    out: str
    err: str


class ForkedCommands:
    """The process that forks; a context manager."""

    def __enter__(self) -> ForkedCommands:
        """Start it."""
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.forked_commands"],
            cwd=CHECKOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()

    def run(self, cwd: Path, *argv: str, **wrong: Any) -> Ended:
        """Run a command line; see `_suffer` for what may be wrong."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps({"argv": argv, "cwd": str(cwd), **wrong}) + "\n")
        self._server.stdin.flush()
        return Ended(**json.loads(self._server.stdout.readline()))


def _serve() -> None:
    import nas.stages.derive
    import nas.stages.evaluate
    import nas.stages.export
    import nas.stages.predict
    import nas.stages.profile_import
    import nas.stages.profiling
    import nas.stages.report
    import nas.stages.search
    import nas.stages.show
    import nas.stages.train  # noqa: F401
    from nas.cli import main  # noqa: F401

    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            pid = os.fork()
            if pid == 0:
                _become_command(request, out.fileno(), err.fileno())
            status = _waited(pid)
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode(errors="replace"))
        answers.write(json.dumps({"status": status, "out": said[0], "err": said[1]}) + "\n")
        answers.flush()


def _waited(pid: int) -> int | None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _become_command(request: Mapping[str, Any], out: int, err: int) -> None:
    """Never returns."""
    status = 99
    try:
        os.setsid()
        sys.stdin.close()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115, PTH123
        os.chdir(request["cwd"])
        sys.argv = ["nas", *request["argv"]]
        _suffer(request)
        from nas.cli.command_line import entry

        entry()
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:  # noqa: BLE001  as the interpreter does at its end
        import traceback

        traceback.print_exc()
        status = 1
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        status = 120 if status == 0 else status  # as the interpreter does at its end
    try:
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass
    os._exit(status)


def _suffer(request: Mapping[str, Any]) -> None:
    """Bring about what is wrong.

    `env`: variables, None: unset. `modes`: permissions hold also for root. `stranger`: a user without an entry. `file_bytes`: a
    file becomes no longer. `removed`: this path goes in mid-run. `failing`: [NUMBER, PATH, HOW MANY]: after so many writes below
    a path the system answers with that error. `stdout`, `stderr`: a file instead, or "closed".
    """
    for name, value in request.get("env", {}).items():
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    if "file_bytes" in request:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_bytes"], resource.RLIM_INFINITY))
    if "removed" in request:
        _remove_in_mid_run(Path(request["removed"]))
    if "failing" in request:
        _fail(*request["failing"])
    if request.get("stranger"):
        ctypes.CDLL(None).prctl(_KEEP, 1, 0, 0, 0)
        os.setgroups([])
        os.setresgid(STRANGER, STRANGER, STRANGER)
        os.setresuid(STRANGER, STRANGER, STRANGER)
        _set_capabilities(_BOTH)
    if request.get("modes"):
        _set_capabilities(0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if (where := request.get(name)) == "closed":
            os.close(number)
            setattr(sys, name, None)  # as the interpreter does at its start
        elif where is not None:
            os.dup2(os.open(where, os.O_WRONLY), number)


def _set_capabilities(kept: int) -> None:
    """Leave a process these capabilities of root."""
    data = ctypes.create_string_buffer(struct.pack("<6I", kept, kept, 0, 0, 0, 0))
    if ctypes.CDLL(None, use_errno=True).capset(struct.pack("<Ii", 0x20080522, 0), data):
        raise OSError(ctypes.get_errno(), "capset")


def _remove_in_mid_run(path: Path) -> None:
    """At the third step of a search or training; where nothing is trained, before the first result is written."""
    from nas.files import atomic
    from nas.supernet.search_task import SearchTask
    from nas.training.train_task import TrainTask

    def remove() -> None:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    for task in (SearchTask, TrainTask):

        def stepped(self: Any, images: Any, labels: Any, number: int, *, step: Any = task.step) -> Any:
            if number == 3:  # noqa: PLR2004
                remove()
            return step(self, images, labels, number)

        task.step = stepped  # type: ignore[assignment]
    if sys.argv[1] in ("search", "train"):
        return
    real, is_gone = atomic.atomic_file, []

    def written(target: Path, **options: Any) -> Any:
        if not is_gone and (target == path or path in target.parents) and ".trial." not in str(target):
            is_gone.append(True)
            remove()
        return real(target, **options)

    atomic.atomic_file = written


def _fail(number: int, below: str, after: int) -> None:
    """Let writes fail from one on."""
    from nas.files import atomic

    real, written = atomic._NamedFile.write, []

    def write(self: Any, content: Any) -> int:
        if str(self.target).startswith(below) and ".trial." not in str(self.target):
            written.append(True)
            if len(written) > after:
                error = OSError(number, os.strerror(number), str(self.target))
                self.failure = error
                raise error
        return real(self, content)

    atomic._NamedFile.write = write  # type: ignore[method-assign]


if __name__ == "__main__":
    _serve()
