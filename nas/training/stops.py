"""How a loop stops before its end: Ctrl-C, a batch that can be named, memory that has run out."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
from lightning_fabric import Fabric
from torch import Tensor

from nas.data.batches.held_out import HeldOutLossError
from nas.data.batches.loader import epoch_order, steps_per_epoch
from nas.distributed.ranks import Ranks
from nas.errors import MemoryLimitError, NonFiniteLossError
from nas.runs import checkpoint
from nas.runs.tracking import MetricsLog
from nas.training.loop_state import LoopPlan, LoopState, Samples, Task, _plain, _save
from nas.training.out_of_memory import Shortage, fitting_batch, memory_error, release

log = logging.getLogger("nas")


def _out_of_memory(  # noqa: PLR0913, PLR0917
    shortage: Shortage,
    task: Task,
    plan: LoopPlan,
    state: LoopState,
    metrics: MetricsLog,
    out: Path,
    ranks: Ranks,
    *,
    fabric: Fabric,
    batch: tuple[Tensor, Tensor],
) -> MemoryLimitError:
    """Save the state before a step for which there was no room, and find a batch for which there is.

    With several processes the others wait in the step: what is saved together cannot be saved now.
    """
    release()
    saved = not shortage.half_moved and not ranks.are_several
    if saved:
        _save(task, state, metrics, out, ranks)
    fits = None
    if not ranks.are_several:
        fits = fitting_batch(
            lambda images, labels: task.step(fabric.to_device(images), fabric.to_device(labels), state.step),
            *batch,
            passes=plan.part.passes,
        )
    return memory_error(shortage, f"in step {state.step}", remedy=plan.remedy, out=out, saved=saved, fits=fits)


def _named_batch(  # noqa: PLR0913, PLR0917
    error: NonFiniteLossError, task: Task, plan: LoopPlan, dataset: Samples, state: LoopState, out: Path, ranks: Ranks
) -> NonFiniteLossError:
    """Save what led to a non-finite loss, and say which images did."""
    path = out / "checkpoints" / "nonfinite.pt"
    state.gather(ranks)
    if ranks.is_first:
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save_checkpoint(path, {**task.state(), "loop": _plain(state)})
    epoch, batch = divmod(state.step, steps_per_epoch(len(dataset), plan.batch_size))
    order = np.resize(epoch_order(len(dataset), seed=plan.seed, epoch=epoch), (batch + 1) * plan.batch_size)
    names = [dataset.name(int(i)) for i in order[batch * plan.batch_size :][: plan.batch_size]]
    where = f"batch {', '.join(names)}"
    if isinstance(error, HeldOutLossError):
        where = f"held-out batch {', '.join(error.images)}"
    return NonFiniteLossError(f"{error} at step {state.step} on the {where}; no weight was moved; state in {path}")


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event that the loop looks at between steps; a second one interrupts at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            signal.default_int_handler(number, frame)
        log.warning("stopping after this step and saving a checkpoint; press Ctrl-C again to stop at once")
        event.set()

    previous = signal.signal(signal.SIGINT, on_signal)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)
