"""Batches of worker processes: errors as without workers, workers that go, what they cannot hand over, and how they end."""

import errno
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import get_worker_info

from nas.data.batches import prepared
from nas.data.batches.prepared import Batches
from nas.errors import ConfigError, DataError, DataWorkerError
from tests.small_jobs import CHECKOUT

BATCHES = [[0, 1], [2, 3], [4, 5], [6, 7]]


class Samples:
    """Numbers; `act` may do something before one is given."""

    def __init__(self, act=lambda index: None):
        self.act = act

    def __getitem__(self, index):
        self.act(index)
        return torch.full((3, 2, 2), float(index)), torch.tensor(index)


def at_three(error):
    def act(index):
        if index == 3:
            raise error

    return Samples(act)


def in_worker_at_three(do):
    def act(index):
        if index == 3 and get_worker_info() is not None:
            do()

    return Samples(act)


def raised(samples, workers):
    with pytest.raises(Exception) as caught:  # noqa: PT011  which one is what is compared
        list(Batches(samples, BATCHES, workers))
    return caught.value


class TwoArgumentsError(Exception):
    """Cannot be pickled."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


@pytest.mark.parametrize(
    "error",
    [
        DataError("/data/3.png: unreadable or truncated (broken data stream), expected a whole image file; copy it again"),
        FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/data/3.png"),
        OSError(errno.EIO, os.strerror(errno.EIO), "/data/3.png"),
        OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/data/3.png"),
        MemoryError("Unable to allocate 3.00 GiB for an array"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:125] DefaultCPUAllocator: can't allocate memory"),
        KeyError("void"),
    ],
    ids=lambda error: f"{type(error).__name__}-{getattr(error, 'errno', None)}",
)
def test_an_error_in_a_worker_is_the_one_without_workers(error):
    alone, there = (raised(at_three(error), workers) for workers in (0, 2))
    assert type(there) is type(alone) is type(error)
    assert str(there) == str(alone)
    assert getattr(there, "filename", None) == getattr(alone, "filename", None)


def test_an_error_that_nobody_foresaw_says_where_in_the_worker_it_arose():
    (note,) = raised(at_three(KeyError("void")), 1).__notes__
    assert "in act" in note
    assert "TwoArgumentsError: a b" in str(raised(at_three(TwoArgumentsError("a", "b")), 1))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PyTorch's handler writes on Linux")
def test_a_worker_that_is_ended_by_a_signal_is_one_line_and_nothing_beside(capfd):
    error = raised(in_worker_at_three(lambda: os.kill(os.getpid(), signal.SIGBUS)), 2)
    assert isinstance(error, DataWorkerError)
    assert "was ended by SIGBUS, as where shared memory is full; make /dev/shm larger" in str(error)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (-signal.SIGKILL, "ended by SIGKILL, as the system does where memory runs out; give fewer data.workers"),
        (-signal.SIGXCPU, "ended by SIGXCPU; give fewer data.workers, or 0"),
        (3, "ended with status 3; give fewer data.workers, or 0"),
        (errno.EMFILE, r"too few open files are allowed to hand over batches \(Too many open files\); .*ulimit"),
        (errno.ENOSPC, r"no shared memory is left to hand over batches \(No space left on device\); make /dev/shm larger"),
    ],
)
def test_what_became_of_a_worker_is_said_with_what_to_do(status, expected):
    gone = multiprocessing.get_context("fork").Process(target=end_with, args=(status,))
    gone.start()
    with pytest.raises(DataWorkerError, match=expected):
        prepared._next(iter_raising(EOFError()), [gone])


def end_with(status):
    if status < 0:
        os.kill(os.getpid(), -status)
    os._exit(status)


def iter_raising(error):
    yield from ()
    raise error


@pytest.mark.parametrize(
    "words",
    [
        "unable to open shared memory object </torch_1_2> in read-write mode: Too many open files (24)",
        "received 0 items of ancdata",
    ],
)
def test_pytorch_words_for_too_few_open_files_become_a_line(words):
    with pytest.raises(DataWorkerError, match="too few open files are allowed"):
        prepared._next(iter_raising(RuntimeError(words)), [])
    with pytest.raises(ZeroDivisionError):
        prepared._next(iter_raising(ZeroDivisionError()), [])


def test_too_few_open_files_in_the_middle_end_in_a_line_and_not_in_waiting(monkeypatch):
    monkeypatch.setattr(prepared, "check_handles", lambda workers: None)
    list(Batches(Samples(), BATCHES, 1))  # opens what stays open
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(path.name) for path in Path("/dev/fd").iterdir()}
    free = [number for number in range(1000) if number not in used]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[12], before[1]))
    try:
        with pytest.raises(DataWorkerError, match="data.workers: .*(open files|ended with status)"):
            list(Batches(Samples(), BATCHES, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert multiprocessing.active_children() == []


class Unsent:
    """A batch for which the system has no open file left when it is handed over."""

    def __reduce__(self):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.timeout(60)
def test_a_batch_that_cannot_be_handed_over_is_a_line_and_not_waited_for(monkeypatch):
    monkeypatch.setattr(prepared, "default_collate", lambda samples: (Unsent(), Unsent()))
    with pytest.raises(DataWorkerError, match="too few open files are allowed to hand over batches"):
        list(Batches(Samples(), BATCHES, 1))
    assert multiprocessing.active_children() == []


def test_workers_that_cannot_be_started_are_a_line(monkeypatch, capfd):
    fork, started = os.fork, []

    def fork_once():
        if started:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        started.append(True)
        return fork()

    monkeypatch.setattr(os, "fork", fork_once)
    with pytest.raises(DataWorkerError, match=r"data.workers: 2 processes cannot be started \(Resource temporarily unavailable\)"):
        list(Batches(Samples(), BATCHES, 2))
    assert multiprocessing.active_children() == []
    assert capfd.readouterr() == ("", "")


def test_more_workers_than_there_are_open_files_for_are_refused_before_they_start(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (20, 20))
    with pytest.raises(ConfigError, match="data.workers: got 1, which need .*give data.workers=0"):
        next(iter(Batches(Samples(), BATCHES, 1)))
    assert multiprocessing.active_children() == []


def test_no_worker_is_left_once_an_error_came_or_an_iterator_is_closed():
    error = raised(at_three(DataError("broken")), 2)
    assert multiprocessing.active_children() == []
    del error
    batches = iter(Batches(Samples(), BATCHES, 2))
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert multiprocessing.active_children() == []


def test_signals_wait_while_workers_start_and_sigchld_stays_as_it_was():
    with prepared._signals_held():
        assert {signal.SIGINT, signal.SIGTERM} <= signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert not {signal.SIGINT, signal.SIGTERM} & signal.pthread_sigmask(signal.SIG_BLOCK, ())
    before = signal.getsignal(signal.SIGCHLD)
    list(Batches(Samples(), BATCHES, 1))
    assert signal.getsignal(signal.SIGCHLD) is before


def loading():
    """A process that has begun to load with two workers, and waits for a line."""
    return subprocess.Popen(
        [sys.executable, "-c", LOADING],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


LOADING = """
import multiprocessing
from nas.data import SyntheticConfig, build_dataset
from nas.data.batches.loader import eval_loader
data = build_dataset(SyntheticConfig(size=[24, 32], val=40), "val")
batches = iter(eval_loader(data, batch_size=1, workers=2))
next(batches)
print(*[worker.pid for worker in multiprocessing.active_children()], flush=True)
input()
"""


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is of Linux")
def test_workers_leave_a_first_sigterm_to_the_main_process_and_end_when_it_is_killed():
    process = loading()
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    time.sleep(0.5)
    assert all(map(_alive, workers))
    process.kill()
    process.wait()
    killed = time.monotonic()
    while any(map(_alive, workers)):
        assert time.monotonic() - killed < 3  # PyTorch's own watch looks every five seconds
        time.sleep(0.02)


def test_a_process_ends_at_once_though_something_still_holds_its_batches():
    process = loading()
    process.stdout.readline()
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(timeout=20) == 0  # workers pass a first SIGTERM over, which is all that multiprocessing sends
