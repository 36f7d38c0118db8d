"""Open files that worker processes need, and how many the system allows."""

from __future__ import annotations

import resource
from pathlib import Path

from nas.errors import ConfigError

A_WORKER = 8
"""Open files of this process for each worker: four of its pipes, and two for each of the two batches that it prepares ahead."""
BESIDE = 16
"""Open files beside those: batches in use, sockets, and what a worker opens while it reads an image. [measured: one worker needs 14
in all, four need 32]"""


def check_handles(workers: int, *, loaders: int = 1) -> None:
    """Refuse more workers than there are open files for; PyTorch would wait for ever for batches that cannot be handed over.

    Args:
        workers: Worker processes of a loader.
        loaders: Loaders at work at the same time.

    Raises:
        ConfigError: Saying how many workers fit, and how more do.
    """
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if not workers or allowed == resource.RLIM_INFINITY:
        return
    used = _in_use()
    needed = used + (workers * A_WORKER + BESIDE) * loaders
    if needed <= allowed:
        return
    fits = max(0, ((allowed - used) // loaders - BESIDE) // A_WORKER)
    raise ConfigError(
        f"data.workers: got {workers}, which need {needed} open files, expected at most the {allowed} that are allowed; "
        f"{more_handles(needed)}, or give data.workers={fits}"
    )


def more_handles(needed: int | None = None) -> str:
    """What to do about too few open files, of which so many are needed; None: more than are allowed."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * allowed if needed is None else needed
    bounded = most != resource.RLIM_INFINITY
    if bounded and max(needed, allowed + 1) > most:
        return f"more than the hard limit of {most} (ulimit -Hn) takes another shell or an administrator"
    wanted = max(1024, 1 << (needed - 1).bit_length())
    return f"allow more by ulimit -n {min(wanted, most) if bounded else wanted} before the command"


def _in_use() -> int:
    """Open files of this process."""
    return len(list(Path("/dev/fd").iterdir())) if Path("/dev/fd").is_dir() else 0
