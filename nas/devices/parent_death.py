"""A child process that ends with its parent, also where that is killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from nas.files.atomic import is_running

_SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


def end_with_parent(parent: int | None = None) -> None:
    """Let the system kill this process when the thread that started it ends. Linux knows this; elsewhere nothing happens.

    Args:
        parent: Number of the process that started this one, where it is known: if that has ended before now, this one ends here.
    """
    if not sys.platform.startswith("linux"):
        return
    now = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != now or (parent is not None and not is_running(parent)):
        os.kill(os.getpid(), signal.SIGKILL)
