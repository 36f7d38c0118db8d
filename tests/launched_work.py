"""What a launcher of sweeps is given in the tests: a module, so that the processes of the launcher find it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from nas.cli.command_line import _Work
from nas.cli.sweeps import JobResult


@dataclass(frozen=True)
class Telling:
    """Says in which process it ran, and what that has in `MARK`."""

    def do(self, job, name):
        del job
        return JobResult(name, lines=(str(os.getpid()), os.environ.get("MARK", "none")))

    def failed(self, error, name):
        return _Work("show", ()).failed(error, name)


@dataclass(frozen=True)
class Faulty(Telling):
    """Its job on the tables is a bug."""

    def do(self, job, name):
        if job.list == "tables":
            raise ZeroDivisionError(name)
        return JobResult(name)


@dataclass(frozen=True)
class Dying(Telling):
    """Is killed."""

    def do(self, job, name):
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Lasting(Telling):
    """States its process in a file named after the job's list, and goes on."""

    def do(self, job, name):
        Path(f"{job.list}.pid").write_text(str(os.getpid()))
        time.sleep(60)
        return JobResult(name)
