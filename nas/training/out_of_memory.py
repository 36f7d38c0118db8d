"""A step that needs more memory than there is: what counts as that, what is saved, and which batch would fit.

The weights move after all gradients of a step are there, so a shortage before that leaves weights, architecture and optimisers as
they were, and the state is saved. The running statistics of batch norms may have counted part of the failed batch by then; no step
reads them. A shortage while an optimiser moves leaves some weights moved: nothing is saved, the last checkpoint is what there is.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nas.config.settings import TrainerSettings
from nas.errors import MemoryLimitError, NonFiniteLossError, ResumableError

_SIGNS = (
    "DefaultCPUAllocator",
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "std::bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Parts of PyTorch's messages where memory ran out; other errors of memory have a class of their own."""
_ONEDNN = ("could not create a primitive", "could not execute a primitive", "could not create a memory object")
"""All that oneDNN says, whose convolutions take scratch memory; with more words after it, it means something else."""


class HalfMovedError(RuntimeError):
    """Memory ran out while an optimiser moved the weights."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """Memory ran out.

    Args:
        reason: What the allocator said, in one line.
        half_moved: Whether some weights may have moved and others not.
    """

    reason: str
    half_moved: bool = False


@dataclass(frozen=True, slots=True)
class Remedy:
    """The settings by which a run needs less memory.

    Args:
        section: That of batch_size: `search` or `train`.
        override: What needs less memory for the same result, and may change on resume; None: nothing that is not set already.
    """

    section: str = "search"
    override: str | None = None


def remedy_of(section: str, trainer: TrainerSettings) -> Remedy:
    """Settings that a run can still change."""
    compiled = trainer.compile != "none"  # compiled passes cannot be computed again
    return Remedy(section, None if compiled or trainer.checkpointing == "all" else "trainer.checkpointing=all")


def shortage_of(error: BaseException) -> Shortage | None:
    """The statement of an error about memory; None: it is about something else.

    >>> shortage_of(RuntimeError("[enforce fail at alloc_cpu.cpp:125] DefaultCPUAllocator: can't allocate memory")).reason
    "[enforce fail at alloc_cpu.cpp:125] DefaultCPUAllocator: can't allocate memory"
    >>> shortage_of(RuntimeError("shapes do not match")) is None
    True
    """
    if isinstance(error, HalfMovedError):
        return Shortage(str(error), half_moved=True)
    if isinstance(error, ResumableError):
        return None  # it has been dealt with
    text = str(error)
    has_class = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if not has_class and not (isinstance(error, RuntimeError) and (text in _ONEDNN or any(sign in text for sign in _SIGNS))):
        return None
    return Shortage((text.splitlines() or [type(error).__name__])[0])


@contextmanager
def moving() -> Iterator[None]:
    """Block in which the weights move: memory that runs out in it leaves them half moved.

    Raises:
        HalfMovedError: If it does.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if (shortage := shortage_of(error)) is None:
            raise
        raise HalfMovedError(shortage.reason) from None


def release() -> None:
    """Give back what the failed step held, once nobody refers to its error."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def fitting_batch(step: Callable[[Tensor, Tensor], object], images: Tensor, labels: Tensor, *, passes: int = 1) -> int | None:
    """Half the images of a pass, a quarter and so on: the first number of them with which a whole step runs.

    Args:
        step: A step on images [N, 3, H, W] and labels [N, H, W]. It moves the weights: whoever asks is about to end.
        images: The batch that did not fit.
        labels: Its labels.
        passes: Passes through the network that the images of a step are taken in.

    Returns:
        Images a pass; None: not even one runs.
    """
    size = len(images) // passes // 2
    while size:
        try:
            step(images[: size * passes], labels[: size * passes])
        except NonFiniteLossError:
            return size  # it came as far as the loss and its gradient
        except (RuntimeError, MemoryError, ValueError) as error:
            # One image is too few for a batch norm after a global pooling, which is a ValueError.
            if shortage_of(error) is None and not (isinstance(error, ValueError) and size == 1):
                raise
        else:
            return size
        release()
        size //= 2
    return None


def memory_error(shortage: Shortage, where: str, *, remedy: Remedy, out: Path, saved: bool, fits: int | None) -> MemoryLimitError:
    """The error that a run ends with.

    Args:
        shortage: What happened.
        where: What the run was at.
        remedy: What can be changed.
        out: Folder of the run.
        saved: Whether the state of before the step was saved.
        fits: Images a batch that were found to fit; None: none was found.
    """
    checkpoint = out / "checkpoints" / "last.pt"
    state = f"the state before it is saved in {checkpoint}" if saved else f"go on from the last checkpoint, {checkpoint}"
    if not saved and not checkpoint.is_file():
        state = "there is no checkpoint yet"
    again = []
    if remedy.override is not None:
        goes_on = f"resume={out} " if checkpoint.is_file() else ""
        again.append(f"give {goes_on}{remedy.override}, which needs less")
    if fits is not None:
        again.append(f"start from scratch with {remedy.section}.batch_size={fits}, with which a step has just run here")
    else:
        again.append(f"start from scratch with a smaller {remedy.section}.batch_size or {remedy.section}.crop")
    if checkpoint.is_file():
        again.append(f"give resume={out} where there is more memory")
    plan = "; nas search with plan=true says what fits" if remedy.section == "search" else ""
    return MemoryLimitError(f"out of memory {where} ({shortage.reason}); {state}\n{', or '.join(again)}{plan}")
