"""Run a program to its end, never longer than a limit, and leave nothing of it behind."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Sequence

from nas.worker.interface import WorkerError


def run_logged(command: Sequence[str], *, log: Path, limit_s: float) -> int:
    """Run a program in a process group of its own, without input; standard output and errors go to a file, as they come.

    Whatever ends the wait before the program does (the limit, Ctrl-C, any other exception) kills its process group.

    Args:
        command: Program and arguments.
        log: File for what it prints; overwritten.
        limit_s: Most seconds that it may take.

    Returns:
        Its exit status; below 0: minus the number of the signal that ended it.

    Raises:
        WorkerError: If it cannot be started or takes longer.
    """
    try:
        stream = log.open("wb")
    except OSError as error:
        raise WorkerError(f"{log}: cannot be written ({error.strerror}); expected a folder with room") from None
    with stream:
        try:
            process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            raise WorkerError(
                f"{command[0]}: cannot be started ({error.strerror}); expected an executable program of this machine's kind"
            ) from None
    try:
        return process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise WorkerError(f"{command[0]}: got no end within {limit_s:g} s and was killed; its output: {log}") from None
    finally:
        if process.returncode is None:
            _kill_group(process)


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended by itself in between
    process.wait()
