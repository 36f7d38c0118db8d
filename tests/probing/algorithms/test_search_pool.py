"""Processes of the pool: what runs comes to its end, unless nobody waits for it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from nas.probing.algorithms.search_pool import search_pool, without_ctrl_c


def note_and_wait(path: Path, seconds: float) -> int:
    path.write_text(str(os.getpid()))
    time.sleep(seconds)
    path.with_suffix(".done").write_text("")
    return os.getpid()


def fail(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)
    raise ValueError("failed")


def end_at_once(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def signals_blocked() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, set()))


@pytest.mark.slow
def test_after_a_failure_what_runs_ends_and_what_waits_is_dropped(tmp_path: Path):
    running, waiting = tmp_path / "running", tmp_path / "waiting"
    with pytest.raises(ValueError, match="failed"), search_pool(2) as pool:  # noqa: PT012
        with without_ctrl_c():
            pool.submit(note_and_wait, running, 1.0)
            failing = pool.submit(fail, running)
            for number in range(8):
                pool.submit(note_and_wait, waiting.with_name(f"waiting{number}"), 5.0)
        failing.result()
    assert running.with_suffix(".done").exists()
    assert len(list(tmp_path.glob("waiting?"))) < 8  # a queue of two may have been handed out
    assert multiprocessing.active_children() == []


@pytest.mark.slow
@pytest.mark.parametrize("end", [KeyboardInterrupt, "sigterm", "lost"])
def test_nobody_is_left_after_a_signal_or_a_lost_process(tmp_path: Path, end: object):
    running = tmp_path / "running"
    expected = BrokenProcessPool if end == "lost" else KeyboardInterrupt
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(expected), search_pool(2) as pool:  # noqa: PT012
        with without_ctrl_c():
            waited_for = pool.submit(note_and_wait, running, 100.0)
            if end == "lost":
                pool.submit(end_at_once, running)
        while not running.exists():
            time.sleep(0.01)
        if end == "sigterm":
            os.kill(os.getpid(), signal.SIGTERM)
        elif end is KeyboardInterrupt:
            raise KeyboardInterrupt
        waited_for.result()
    assert multiprocessing.active_children() == []
    assert not running.with_suffix(".done").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_processes_get_no_ctrl_c_and_this_one_does():
    with search_pool(1) as pool:
        with without_ctrl_c():
            blocked = pool.submit(signals_blocked)
        assert blocked.result() == {signal.SIGINT}
    assert signals_blocked() == set()
