"""The jobs of a sweep in processes of their own, which a launcher of Hydra starts: how each ends, what it writes, and Ctrl-C.

A launcher brings back what a job returns, and nothing else: `JobResult` is plain, so that it survives the way.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from nas.cli.marked_lines import WholeLines
from nas.errors import LostProcessError

log = logging.getLogger("nas")

HERE = "basic"
"""The launcher that runs one job after the other in this process."""
ENDING_WITH_COMMAND = ("joblib",)
"""The launchers whose processes are children of the command: nobody waits for them, or stops them, once it was killed."""
INTERRUPTED = 130
"""The exit status after Ctrl-C."""
TERMINATED = 143
"""The exit status after SIGTERM, as a shell states it of a program that does not handle it: what schedulers expect."""

_interrupted = threading.Event()
"""In a process of a launcher: Ctrl-C came; no further job starts here."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """End of a job.

    Args:
        job: Number of the job and its overrides under --multirun; empty otherwise.
        status: Its exit status.
        lines: Its summary.
        fault: What to say on stderr; empty: nothing.
    """

    job: str
    status: int = 0
    lines: tuple[str, ...] = ()
    fault: str = ""


@contextlib.contextmanager
def patient() -> Iterator[None]:
    """Wait for the jobs of other processes after the first Ctrl-C, as they save; a second one interrupts at once.

    A terminal sends Ctrl-C to all processes. Those that a launcher starts here begin with the signal blocked, so none of them is
    ended by it while it starts or waits for a job; `stoppable` lets it through.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = threading.Event()
    over = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            signal.default_int_handler(number, frame)
        pressed.set()
        log.warning("waiting for the jobs to stop; press Ctrl-C again to stop at once")

    def take_signals() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        over.wait()

    previous = signal.signal(signal.SIGINT, on_signal)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    taker = threading.Thread(target=take_signals, name="interrupts", daemon=True)
    taker.start()
    try:
        yield
    finally:
        over.set()
        taker.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C interrupt a job in a process of a launcher, and remember it for the jobs that come after.

    Raises:
        KeyboardInterrupt: If it came, before the job or in it.
    """
    signal.signal(signal.SIGINT, _remember)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if _interrupted.is_set():
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        _interrupted.set()
        raise
    finally:
        signal.signal(signal.SIGINT, _remember)


def _remember(number: int, frame: FrameType | None) -> None:
    del number, frame
    _interrupted.set()


@contextlib.contextmanager
def marked_output(prefix: str) -> Iterator[None]:
    """Put a prefix before each line on stdout and stderr, log lines too, and write each line in one piece."""
    streams = sys.stdout, sys.stderr
    for stream in streams:
        stream.flush()
    out, err = (WholeLines(stream.fileno(), prefix) for stream in streams)
    instead = {streams[0]: out, streams[1]: err}
    handlers = [one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler) and one.stream in instead]
    for handler in handlers:
        handler.setStream(instead[handler.stream])
    sys.stdout, sys.stderr = out, err
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for handler in handlers:
            handler.setStream(streams[handler.stream is err])
        out.close()
        err.close()


def lost_job(error: Exception) -> LostProcessError | None:
    """The message where a launcher found that the process of a job has gone; None: it is another error."""
    if not _is_of_pool(error) and not _is_of_submitit(error):
        return None
    reason = str(error).strip().splitlines()
    return LostProcessError(
        f"a process of the sweep ended without a result ({reason[0] if reason else type(error).__name__}); "
        "the folders of its jobs show how far each one came, and resume=FOLDER goes on with one"
    )


def _is_of_pool(error: Exception) -> bool:
    """Whether a pool of processes broke; one that was never loaded has not, and most commands start none."""
    if "concurrent.futures.process" not in sys.modules:
        return False
    from concurrent.futures.process import BrokenProcessPool

    return isinstance(error, BrokenProcessPool)


def _is_of_submitit(error: Exception) -> bool:
    if "submitit" not in sys.modules:
        return False
    from submitit.core.utils import UncompletedJobError

    return isinstance(error, UncompletedJobError)
