"""Processes that search: they end with the command, however that ends."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import FrameType

from nas.devices.parent_death import end_with_parent


@contextmanager
def search_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes for work that is worth nothing unless it is finished; the first ones start when work is handed in.

    Where something fails, what waits is dropped, and what runs comes to its end. After Ctrl-C or SIGTERM, or where a process has
    gone, all of them are killed.

    Args:
        processes: How many.

    Raises:
        KeyboardInterrupt: After Ctrl-C or SIGTERM.
    """
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_start, initargs=(os.getpid(),))
    try:
        with _interrupted_by_sigterm():
            try:
                yield pool
            finally:
                if not isinstance(sys.exc_info()[1], KeyboardInterrupt | BrokenProcessPool):
                    pool.shutdown(cancel_futures=True)
    finally:
        for child in set(multiprocessing.active_children()) - before:
            child.kill()
        pool.shutdown(cancel_futures=True)


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Let processes that are started here never get SIGINT, which a terminal sends to all: this one ends them; here it waits."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _start(parent: int) -> None:
    """Begin a process of the pool."""
    end_with_parent(parent)
    logging.getLogger("nas").setLevel(logging.ERROR)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
