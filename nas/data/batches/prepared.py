"""Batches prepared in this process or by worker processes; whatever fails in a worker fails here, as it would without workers."""

from __future__ import annotations

import copy
import errno
import multiprocessing
import multiprocessing.queues
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from types import FrameType
from typing import Any, NoReturn, cast

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torch.utils.data.dataloader import default_collate

from nas.data.batches.file_handles import check_handles, more_handles
from nas.devices.parent_death import end_with_parent
from nas.errors import DataWorkerError, UserError

Batch = tuple[Tensor, Tensor]
"""Images float32 [N, 3, H, W] and labels, int64 [N, H, W] or [N]."""

_WITH_A_NUMBER = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM)
"""Faults of the system that PyTorch states in words; as the exit status of a worker they say why it ended itself."""
_OTHER = 1
"""Exit status of a worker for anything else."""
_HELD = (signal.SIGINT, signal.SIGTERM)
"""Signals that mean something else to a worker than to the main process."""
_MORE_SHARED_MEMORY = "make /dev/shm larger (of a container by --shm-size), or give fewer data.workers or smaller batches"
_ENDS_WITHIN_S = 1.0
"""Seconds that a worker has to end once its connection broke."""


class Batches:
    """The batches of given samples, in order; `len()` is their number.

    Args:
        samples: The samples by index.
        batches: Indices of each batch.
        workers: Processes that prepare them; 0: this one does.
    """

    def __init__(self, samples: Dataset[Batch], batches: Sequence[Sequence[int]], workers: int) -> None:
        self.samples, self.batches, self.workers = samples, batches, workers
        self.pin_memory = False
        """Whether batches come in pinned memory, from which a GPU copies without waiting."""

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        """The batches; workers run until the last of them, or until the iterator is closed.

        Raises:
            ConfigError: If workers need more open files than are allowed.
            DataWorkerError: If a worker has gone, or cannot hand over a batch.
        """
        # A generator of its own keeps the loader from drawing on PyTorch's global one.
        loader: DataLoader[Batch | _Failure] = DataLoader(
            _WholeBatches(self.samples, self.batches),
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self.workers,
            worker_init_fn=_start_worker,
            generator=torch.Generator().manual_seed(0),
            pin_memory=self.pin_memory,
        )
        if not self.workers:
            yield from cast("DataLoader[Batch]", loader)
            return
        check_handles(self.workers)
        prepared, workers = _started(loader)
        # At the end of this process, too: multiprocessing would send SIGTERM once, which a worker passes over, and wait.
        ending = Finalize(prepared, _end, args=(workers,), exitpriority=10)
        try:
            for _ in self.batches:
                batch = _next(prepared, workers)
                if isinstance(batch, _Failure):
                    raise batch.error  # here: a frame of a call would hold the iterator, and its workers would have to be killed
                yield batch
        finally:
            del prepared  # lets workers end by themselves, unless an error still holds it
            ending()


@dataclass(frozen=True, slots=True)
class _Failure:
    """What a worker hands over instead of a batch."""

    error: Exception


@dataclass(frozen=True, slots=True)
class _WholeBatches(Dataset[Batch | _Failure]):
    """Batches by number; in a worker, the error that prevents one is handed over as it is."""

    samples: Dataset[Batch]
    batches: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Batch | _Failure:
        if get_worker_info() is None:
            return self._batch(number)
        try:
            return self._batch(number)
        except Exception as error:  # noqa: BLE001  whatever it is, it is raised again
            return _Failure(_travelling(error))

    def _batch(self, number: int) -> Batch:
        images, labels = default_collate([self.samples[index] for index in self.batches[number]])
        return images, labels


def _as_it_is(batch: Any) -> Any:  # noqa: ANN401  declared so by PyTorch
    return batch


def _travelling(error: Exception) -> Exception:
    """The error in a form that passes between processes; one that nobody foresaw says where it arose."""
    if not isinstance(error, UserError | OSError | MemoryError):
        error.add_note(f"in a process of data.workers:\n{''.join(traceback.format_exception(error))}")
    try:
        pickle.dumps(error)
        copy.copy(error)  # made as the other process makes it again
    except Exception:  # noqa: BLE001  an exception may have arguments of any kind
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def _started(loader: DataLoader[Batch | _Failure]) -> tuple[Iterator[Batch | _Failure], list[BaseProcess]]:
    """The batches of a loader, and its workers.

    Raises:
        DataWorkerError: If they cannot be started.
    """
    before = multiprocessing.active_children()
    hook = sys.unraisablehook
    try:
        with _signals_held():
            prepared: Iterator[Batch | _Failure] = iter(loader)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        sys.unraisablehook = lambda _: None  # PyTorch's iterator, which is about to go, fails on what it has not started
    else:
        return prepared, [one for one in multiprocessing.active_children() if one not in before]
    sys.unraisablehook = hook
    _end([one for one in multiprocessing.active_children() if one not in before])
    raise DataWorkerError(
        f"data.workers: {loader.num_workers} processes cannot be started ({reason}); give fewer data.workers, or 0"
    )


def _next(prepared: Iterator[Batch | _Failure], workers: Sequence[BaseProcess]) -> Batch | _Failure:
    """The next batch, or why there is none.

    Raises:
        DataWorkerError: If a worker has gone, or cannot hand it over.
    """
    try:
        batch = next(prepared)
    except (RuntimeError, OSError, EOFError) as error:
        if (lost := _lost(workers)) is None and (lost := _shortage(error)) is None:
            raise
        raise DataWorkerError(lost) from None
    if isinstance(batch, _Failure):
        if not isinstance(batch.error, UserError) and (lost := _shortage(batch.error)) is not None:
            raise DataWorkerError(lost)
    return batch


def _lost(workers: Sequence[BaseProcess]) -> str | None:
    """What became of a worker that has gone; None: all are there."""
    until = time.monotonic() + _ENDS_WITHIN_S
    while all(one.is_alive() for one in workers):
        if time.monotonic() > until:
            return None
        time.sleep(0.02)
    gone = next(one for one in workers if not one.is_alive())
    if gone.exitcode in _WITH_A_NUMBER:
        return _advice(gone.exitcode, os.strerror(gone.exitcode))
    return _end_of(gone.exitcode, f"process {gone.pid} of {len(workers)} that prepare batches")


def _end_of(status: int | None, who: str) -> str:
    """What a status says, 0 or less being that of a signal."""
    if status is None or status >= 0:
        return f"data.workers: {who} ended with status {status}; give fewer data.workers, or 0"
    name = signal.Signals(-status).name
    if -status == signal.SIGBUS:
        return f"data.workers: {who} was ended by {name}, as where shared memory is full; {_MORE_SHARED_MEMORY}"
    if -status == signal.SIGKILL:
        return (
            f"data.workers: {who} was ended by {name}, as the system does where memory runs out; give fewer data.workers, smaller "
            "batches, or more memory"
        )
    return f"data.workers: {who} was ended by {name}; give fewer data.workers, or 0"


def _shortage(error: Exception) -> str | None:
    """What handing over a batch lacked; None: the error is about something else."""
    if isinstance(error, OSError) and error.filename is not None:
        return None  # it is about that file
    number = _number_of(error)
    if number in (errno.EMFILE, errno.ENFILE) or "received 0 items of ancdata" in str(error):
        return _advice(errno.EMFILE, os.strerror(errno.EMFILE))
    is_shared = "shared memory" in str(error) or "shm" in str(error)
    return _advice(number, os.strerror(number)) if is_shared and number in (errno.ENOSPC, errno.ENOMEM) else None


def _advice(number: int, reason: str) -> str:
    if number in (errno.EMFILE, errno.ENFILE):
        return f"data.workers: too few open files are allowed to hand over batches ({reason}); {more_handles()}"
    return f"data.workers: no shared memory is left to hand over batches ({reason}); {_MORE_SHARED_MEMORY}"


def _number_of(error: Exception) -> int:
    """The system's number of an error; `_OTHER` where it has none."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    # PyTorch says it in words: "unable to open shared memory object </torch_1_2> in read-write mode: Too many open files (24)"
    return next((number for number in _WITH_A_NUMBER if os.strerror(number) in str(error)), _OTHER)


def _end(workers: Sequence[BaseProcess]) -> None:
    """End workers that have not ended by themselves; they hold nothing that could be lost."""
    for one in workers:
        if one.is_alive():
            one.kill()
            one.join()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Start workers that get no signal before they know what to do with it, and leave SIGCHLD as it is.

    PyTorch's handler of SIGCHLD would raise the end of a worker wherever this process then is, in the middle of a step or of
    writing a file. Without it, whoever asks for the next batch finds out, within five seconds.
    """
    held = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGCHLD) is not before:
            signal.signal(signal.SIGCHLD, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _pass_over_once(number: int, frame: FrameType | None) -> None:
    """Leave a SIGTERM that a scheduler sends to all processes to the main one; a second one is its own, for a worker that hangs."""
    del frame
    signal.signal(number, signal.SIG_DFL)


def _start_worker(_: int) -> None:
    """One thread a worker; Ctrl-C and SIGTERM are for the main process, which ends its workers itself, also when it is killed.

    A worker that cannot hand over a batch ends with a status that says why. Threads of multiprocessing hand it over, which would
    print a traceback and drop the batch, and the main process would wait for it for ever.
    """
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _pass_over_once)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
    for number in (signal.SIGBUS, signal.SIGSEGV, signal.SIGFPE):
        signal.signal(number, signal.SIG_DFL)  # PyTorch's handlers print a line of their own
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_cannot_hand_over)  # type: ignore[attr-defined]
    sys.excepthook = lambda kind, error, trace: _cannot_hand_over(error, (kind, trace))
    cv2.setNumThreads(0)


def _cannot_hand_over(error: BaseException, what: object) -> NoReturn:
    """End this worker; the status is the number of the error."""
    del what
    os._exit(_number_of(error) if isinstance(error, Exception) else _OTHER)
