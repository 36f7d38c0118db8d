"""One worker at a time in a folder."""

import contextlib
import errno
import os
import signal
import time
from typing import Iterator, Optional, Tuple

from nas.worker.interface import WorkerError

GIVE_UP_S = 15.0
"""How long a worker that was told to stop may take."""


@contextlib.contextmanager
def sole_worker(folder: str, job_id: str, *, take_over: bool) -> Iterator[None]:
    """Hold the lock of a folder; the system gives it back when the process ends, however it ends.

    Args:
        folder: The worker's folder.
        job_id: Identifies the job.
        take_over: Whether a worker that is still at the same job is stopped, as one that a broken connection left behind; a worker
            at another job is left alone.

    Raises:
        WorkerError: If another worker is there and goes on.
    """
    import fcntl

    path = os.path.join(folder, "lock")
    with open(path, "a+", encoding="ascii") as file:
        deadline = time.monotonic() + GIVE_UP_S
        asked: Optional[int] = None
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise WorkerError(f"{path}: cannot be locked ({error.strerror})") from error
            process, job = _holder(path)
            if process is None or not take_over or job != job_id or time.monotonic() > deadline:
                who = f"process {process}" if process else "another process"
                raise WorkerError(f"{folder}: {who} is measuring there; wait for its end, or stop it")
            if asked != process:
                _stop(process)
                asked = process
            time.sleep(0.05)
        try:
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), f"{os.getpid()} {job_id}\n".encode("ascii"))
        except OSError as error:
            raise WorkerError(f"{path}: cannot be written ({error.strerror}); make room in {folder}") from error
        yield


def _holder(path: str) -> Tuple[Optional[int], str]:
    """Process and job of the worker that holds the lock, as it wrote them."""
    with open(path, encoding="ascii") as file:
        words = file.read().split()
    return (int(words[0]), words[1]) if len(words) == 2 and words[0].isdigit() else (None, "")


def _stop(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(process, signal.SIGTERM)
