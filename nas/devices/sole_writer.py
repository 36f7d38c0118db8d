"""One writer at a time: a lock that says who holds it, and that the system gives back when the process ends, however it ends.

The lock is `flock` on an open file, so a lock of a dead process needs no guess about process numbers: the next one gets it. The
file beside it says who holds the lock, for the message; it goes with the lock, and stays only after a kill.

Limits. On a disk of this machine the lock holds between all processes and containers of it. On NFS (mounted without `nolock` and
`local_lock`), CIFS, CephFS, GPFS and Lustre with `flock` it holds between machines. Elsewhere in a network it may hold on one
machine alone: that is said, and a holder of another machine counts as there until its file is deleted. Where the system knows no
locks at all, that is said too, and the file alone is looked at: two processes that start at the same moment are then not kept
apart. The lock keeps out other processes of `nas`, and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from nas.devices.shared_disk import uncertain_locks
from nas.errors import ConfigError
from nas.files.shortening import shorten

SETTLE_S = 1.0
"""Seconds in which the children of a killed process end, which hold its lock until then."""
LOOK_S = 0.02
"""Seconds between two attempts."""
MOST_BYTES = 4096
"""Bytes of a lock's file that are read."""
_TAKEN = (errno.EACCES, errno.EAGAIN)
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)

log = logging.getLogger("nas")


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock.

    Args:
        pid: Its process.
        host: The machine.
        since: When it began: ISO 8601 with the offset from UTC.
        verb: What it does.
    """

    pid: int
    host: str
    since: str
    verb: str

    @classmethod
    def this(cls, verb: str) -> Holder:
        """This process, now."""
        return cls(os.getpid(), socket.gethostname(), datetime.now(UTC).isoformat(timespec="seconds"), verb)

    def __str__(self) -> str:
        """For a message."""
        verb, host, since = (shorten(text)[1:-1] for text in (self.verb, self.host, self.since))
        return f"nas {verb} (process {self.pid} on {host}, since {since})"


@contextmanager
def sole_writer(lock: Path, verb: str, *, of: str, remedy: str, wait_s: float = SETTLE_S) -> Iterator[None]:
    """Hold a lock.

    Args:
        lock: Its file, in a folder that is there. It is gone when the lock is given back.
        verb: What the holder does.
        of: What is locked, for the message, e.g. `out: the folder a`.
        remedy: What to do beside waiting, for the message.
        wait_s: Seconds to wait for it.

    Raises:
        ConfigError: If another process holds it, saying which, or it cannot be written.
    """
    end = time.monotonic() + wait_s
    while True:
        try:
            descriptor = _attempt(lock, of)
            break
        except _TakenError as taken:
            if time.monotonic() >= end or taken.is_final:
                held = taken.holder or "another process"
                raise ConfigError(f"{of} is being written by {held}; wait for its end, or {remedy}{taken.hint}") from None
        time.sleep(LOOK_S)
    try:
        _state(descriptor, lock, Holder.this(verb), of)
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may have gone, or be read-only by now
            if _is_at(descriptor, lock):
                lock.unlink()
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # also for forked children, which share the descriptor
        os.close(descriptor)


class _TakenError(Exception):
    """Somebody holds the lock; waiting does not help if it is final."""

    def __init__(self, holder: Holder | None, *, hint: str = "") -> None:
        super().__init__()
        self.holder, self.hint, self.is_final = holder, hint, bool(hint)


def _attempt(lock: Path, of: str) -> int:
    """The descriptor of the lock's file, which this process has locked; raises `_TakenError`."""
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise ConfigError(f"{of}: {lock.name} cannot be written there ({error.strerror}); give another out=") from error
        try:
            has_locks = _locked(descriptor)
            if _is_at(descriptor, lock):
                _refuse_unseen(descriptor, lock, has_locks=has_locks)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the holder gave it back, and its file has gone, between opening and locking


def _locked(descriptor: int) -> bool:
    """Lock a file; False where the system knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            raise _TakenError(_holder(descriptor)) from None
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _refuse_unseen(descriptor: int, lock: Path, *, has_locks: bool) -> None:
    """Refuse a holder that the lock itself does not show, and say where locks are not to be relied on."""
    uncertain = "a file system without locks" if not has_locks else uncertain_locks(lock.parent)
    holder = _holder(descriptor)
    if uncertain is None:
        if holder is not None:
            log.info("%s: taken over from %s, which has ended", lock, holder)
        return
    log.warning("%s lies on %s: nothing keeps a process of another machine from writing there, too", lock.parent, uncertain)
    if holder is None:
        return
    if holder.host != socket.gethostname():
        raise _TakenError(holder, hint=f"; if that process has ended, delete {lock}")
    if not has_locks and holder.pid != os.getpid() and Path(f"/proc/{holder.pid}").exists():
        raise _TakenError(holder)


def _is_at(descriptor: int, lock: Path) -> bool:
    """Whether the open file is the one of that name."""
    try:
        there = lock.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def _holder(descriptor: int) -> Holder | None:
    """Who the file names; None if it names nobody, as in the moment before the holder writes."""
    try:
        raw = json.loads(os.pread(descriptor, MOST_BYTES, 0))
        holder = Holder(**raw)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    texts = (holder.host, holder.since, holder.verb)
    return holder if type(holder.pid) is int and all(isinstance(text, str) for text in texts) else None


def _state(descriptor: int, lock: Path, holder: Holder, of: str) -> None:
    """Write who holds the lock."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(holder)).encode() + b"\n", 0)
    except OSError as error:
        raise ConfigError(
            f"{of}: {lock.name} cannot be written there ({error.strerror}); make room, or give another out="
        ) from error
