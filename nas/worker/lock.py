"""One worker at a time in a folder."""

import contextlib
import errno
import os
import re
import signal
import time
from io import FileIO
from typing import Iterator, Optional, Tuple

from nas.worker.interface import WorkerError
from nas.worker.whole_file import open_own

MAX_HOLDER_BYTES = 1000
"""What a worker writes into its lock is shorter."""
LOCK_FILE = "lock"
GIVE_UP_S = 15.0
"""Time for a worker to stop when asked."""
NOBODY = "-"
"""Stands for the client of a worker that was started by hand."""
LOOK_S = 0.5
"""Time for which a lock may be held by a process that only looks whether another one is there."""


@contextlib.contextmanager
def sole_worker(folder: str, job_id: str, *, client: str = NOBODY, replaced: Optional[str] = None) -> Iterator[None]:
    """Hold the lock of a folder; the system gives it back when the process ends, however it ends.

    Args:
        folder: The worker's folder.
        job_id: Identifies the job.
        client: Who started this worker, HOST:PROCESS in ASCII without spaces.
        replaced: Who started the worker that is stopped if it is still at the same job, as one that a broken connection left
            behind; any other worker is left alone.

    Raises:
        WorkerError: If another worker is there and goes on.
    """
    import fcntl

    path = os.path.join(folder, LOCK_FILE)
    with _opened(path, os.O_RDWR) as file:
        start = time.monotonic()
        asked: Optional[int] = None
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise WorkerError(f"{path}: cannot be locked ({error.strerror})") from error
            process, job, started_by = _holder(file)
            waited_s = time.monotonic() - start
            may_stop = process is not None and job == job_id and started_by == replaced
            if waited_s > (GIVE_UP_S if may_stop else LOOK_S):
                who = f"process {process}" if process else "another process"
                raise WorkerError(f"{folder}: {who} is measuring there; wait for its end, or stop it")
            if may_stop and asked != process and waited_s > LOOK_S:
                asked = process
                _stop(process)
            time.sleep(0.05)
        try:
            os.ftruncate(file.fileno(), 0)
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            os.write(file.fileno(), f"{os.getpid()} {job_id} {client}\n".encode("ascii"))
        except OSError as error:
            raise WorkerError(f"{path}: cannot be written ({error.strerror}); make room in {folder}") from error
        yield


def busy_with(folder: str) -> Tuple[Optional[str], str]:
    """The job that a worker is at in a folder at this moment, None if none is there; and who started that worker."""
    import fcntl

    path = os.path.join(folder, LOCK_FILE)
    if not os.path.exists(path):
        return None, NOBODY
    with _opened(path, os.O_RDONLY) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _, job, client = _holder(file)
            return job or "a job", client
    return None, NOBODY


def _opened(path: str, flags: int) -> FileIO:
    """The lock's file."""
    try:
        return FileIO(open_own(path, flags), "rb" if flags == os.O_RDONLY else "r+b")
    except OSError as error:
        raise WorkerError(
            f"{path}: cannot be opened ({error.strerror}); copy the folder to a place where this user can write, and run it there"
        ) from error


def _holder(file: FileIO) -> Tuple[Optional[int], str, str]:
    """Process, job and client of the worker that holds the lock, as it wrote them."""
    file.seek(0)
    words = file.read(MAX_HOLDER_BYTES).decode("ascii", "replace").split()
    if len(words) not in (2, 3) or not re.fullmatch("[1-9][0-9]{0,9}", words[0]):
        return None, "", NOBODY
    return int(words[0]), words[1], words[2] if len(words) == 3 else NOBODY


def _stop(process: Optional[int]) -> None:
    """Tell a worker to stop; a number that some other process has by now is left alone."""
    if process is None or not _is_worker(process):
        return
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(process, signal.SIGTERM)


def _is_worker(process: int) -> bool:
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            return b"worker.py" in file.read()
    except OSError:  # it has just ended
        return False
