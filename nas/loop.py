"""The loop that search and training share: epochs, logging, checkpoints, interruption, exact resume."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nas import checkpoint
from nas.data.held_out import HeldOutLossError
from nas.data.loader import WHOLE, Batches, BatchPart, epoch_order, steps_per_epoch, train_loader
from nas.data_share import DataWatch
from nas.errors import MemoryLimitError, NonFiniteLossError
from nas.fabric import check_shares, make_fabric, ranks_of
from nas.metrics import mean_iou
from nas.out_of_memory import Remedy, Shortage, fitting_batch, memory_error, release, shortage_of
from nas.quiet import QuietMetrics, QuietProgress
from nas.ranks import ALONE, Ranks
from nas.trackers import Trackers
from nas.tracking import MetricsLog, Progress

__all__ = ["LoopPlan", "LoopState", "Row", "Samples", "Task", "check_shares", "clip_gradients", "fit", "make_fabric", "ranks_of"]

log = logging.getLogger("nas")

Row = dict[str, float]


class Samples(Protocol):
    """What the loop asks of a data set; the rest is between the data set and the plan's loader."""

    def __len__(self) -> int:
        """Number of samples."""

    def name(self, index: int) -> str:
        """Name of a sample."""


class Task(Protocol):
    """What the loop drives: a search or a training."""

    def step(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor | None]:
        """One optimisation step -> scalars of the step, and the confusion matrix of labelled pixels; raises NonFiniteLossError."""

    def evaluate(self, epoch: int) -> tuple[list[tuple[str, Row]], float]:
        """(split, scalars) for each evaluation, and the score by which the best checkpoint is kept."""

    def epoch_scalars(self) -> Row:
        """Scalars that are worth stating once an epoch."""

    def state(self) -> dict[str, Any]:
        """Everything that an exact resume needs; tensors and plain Python."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPlan:
    """Length and rhythm of a loop, and what makes the batches of an epoch; `part` is what this process loads of each."""

    epochs: int
    max_steps: int | None
    batch_size: int
    crop: tuple[int, int]
    seed: int
    workers: int
    cached: bool | None = None
    eval_every: int
    checkpoint_every: int
    log_every: int
    part: BatchPart = WHOLE
    remedy: Remedy = Remedy()
    loader: Callable[..., Batches] = train_loader

    def total_steps(self, dataset: Samples) -> int:
        """Steps of the whole run."""
        steps = self.epochs * steps_per_epoch(len(dataset), self.batch_size)
        return steps if self.max_steps is None else min(steps, self.max_steps)


@dataclass(slots=True)
class LoopState:
    """Where a loop stands, beside the task's own state."""

    step: int = 0
    best: float = float("-inf")
    metrics_offset: int = 0
    totals: Row = field(default_factory=dict)
    counted: int = 0
    confusion: Tensor | None = None

    def add(self, row: Row, confusion: Tensor | None) -> None:
        """Count a step into the averages of its epoch; the confusion matrix stays on its device."""
        self.totals = {key: self.totals.get(key, 0.0) + value for key, value in row.items()}
        self.counted += 1
        if confusion is not None:
            self.confusion = confusion if self.confusion is None else self.confusion.to(confusion.device) + confusion

    def gather(self, ranks: Ranks) -> None:
        """Bring the confusion matrices of all processes together in the first one, where a checkpoint finds them."""
        if self.confusion is not None and ranks.are_several:
            total = ranks.sum(self.confusion.to(ranks.device))
            self.confusion = total if ranks.is_first else torch.zeros_like(total)

    def flush(self) -> Row:
        """Averages of the epoch, which then starts anew."""
        row = {key: value / self.counted for key, value in self.totals.items()}
        if self.confusion is not None:
            row["miou"] = float(mean_iou(self.confusion.cpu()))
        self.totals, self.counted, self.confusion = {}, 0, None
        return row


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients down to a norm of at most `max_norm`; 0 leaves them as they are.

    Returns:
        The norm before, [], on its device; whoever copies it to the host checks that it is finite.
    """
    return nn.utils.clip_grad_norm_(parameters, max_norm or float("inf"))


def fit(  # noqa: PLR0913
    task: Task,
    plan: LoopPlan,
    dataset: Samples,
    *,
    fabric: Fabric,
    out: Path,
    resume: bool,
    trackers: Trackers | None = None,
) -> None:
    """Run a task to its end, or go on with it; `trackers` are told what metrics.jsonl is told.

    Raises:
        KeyboardInterrupt: After Ctrl-C, once a checkpoint is saved.
        NonFiniteLossError: Before any weight has moved; the state is saved in checkpoints/nonfinite.pt.
        MemoryLimitError: If memory runs out; in a step of one process, the state before it is saved.
    """
    ranks = ranks_of(fabric)
    state = _restore(task, out, ranks) if resume else LoopState()
    if ranks.are_several:
        ranks.require_same(task.state())
    total = plan.total_steps(dataset)
    trackers = trackers or Trackers()
    metrics: MetricsLog = QuietMetrics()
    teller: Progress = QuietProgress()
    if ranks.is_first:
        path, also = out / "metrics.jsonl", trackers.write
        metrics = MetricsLog.resume(path, state.metrics_offset, also=also) if resume else MetricsLog(path, also=also)
        teller = Progress(total=total, start=state.step)
    trackers.begin(state.step)
    watch = DataWatch(plan.workers, cached=plan.cached)
    with metrics, teller as progress, _interruptible() as interrupted:
        while state.step < total:
            try:
                _epoch(
                    task,
                    plan,
                    dataset,
                    state,
                    fabric=fabric,
                    out=out,
                    metrics=metrics,
                    trackers=trackers,
                    progress=progress,
                    interrupted=interrupted,
                    watch=watch,
                )
            except (RuntimeError, MemoryError) as error:  # beside the steps: in loading, evaluating, saving
                if (shortage := shortage_of(error)) is None:
                    raise
                where = f"after step {state.step}"
                raise memory_error(shortage, where, remedy=plan.remedy, out=out, saved=False, fits=None) from None


def _epoch(  # noqa: PLR0913
    task: Task,
    plan: LoopPlan,
    dataset: Samples,
    state: LoopState,
    *,
    fabric: Fabric,
    out: Path,
    metrics: MetricsLog,
    trackers: Trackers,
    progress: Progress,
    interrupted: threading.Event,
    watch: DataWatch,
) -> None:
    """The rest of the epoch that `state.step` is in."""
    ranks = ranks_of(fabric)
    total, per_epoch = plan.total_steps(dataset), steps_per_epoch(len(dataset), plan.batch_size)
    epoch, first = divmod(state.step, per_epoch)
    batches = plan.loader(
        dataset,
        batch_size=plan.batch_size,
        crop=plan.crop,
        seed=plan.seed,
        epoch=epoch,
        start_batch=first,
        workers=plan.workers,
        part=plan.part,
    )
    # Fabric copies from pinned memory without waiting; elsewhere there is nothing to pin for.
    batches.pin_memory = fabric.device.type == "cuda"
    started, began_at = time.perf_counter(), state.step
    for images, labels in watch.batches(batches):
        try:
            done = _step(task, fabric, images, labels, state.step)
        except NonFiniteLossError as error:
            raise _named_batch(error, task, plan, dataset, state, out, ranks) from None
        if isinstance(done, Shortage):
            raise _out_of_memory(done, task, plan, state, metrics, out, ranks, fabric=fabric, batch=(images, labels))
        row, confusion = done
        state.add(row, confusion)
        state.step += 1
        progress.update(state.step, epoch=epoch, **row)
        if state.step % plan.log_every == 0:
            metrics.write(step=state.step, epoch=epoch, split="step", **row)
        if state.step == total or state.step % per_epoch == 0:
            break
        if plan.checkpoint_every and state.step % plan.checkpoint_every == 0:
            _save(task, state, metrics, out, ranks)
        if ranks.any(interrupted.is_set()):
            _save(task, state, metrics, out, ranks)
            raise KeyboardInterrupt
    state.gather(ranks)
    seconds = time.perf_counter() - started
    if ranks.is_first:
        watch.tell(seconds)
    averages = {**state.flush(), **task.epoch_scalars()}
    times = {"seconds_per_step": seconds / max(1, state.step - began_at), "data_share": watch.share(seconds)}
    metrics.write(step=state.step, epoch=epoch, split="train", **averages, **times)
    progress.end_epoch(epoch, **averages)
    best = _evaluate(task, plan, state, epoch=epoch, last=state.step == total, metrics=metrics, trackers=trackers)
    _save(task, state, metrics, out, ranks, best=best)
    if ranks.any(interrupted.is_set()):
        raise KeyboardInterrupt


def _step(task: Task, fabric: Fabric, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor | None] | Shortage:
    """A step on a batch, or why there was no room for it: returned, for an error that is raised holds what the step held."""
    try:
        return task.step(fabric.to_device(images), fabric.to_device(labels), step)
    except (RuntimeError, MemoryError) as error:
        if (shortage := shortage_of(error)) is None:
            raise
        return shortage


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


def _evaluate(
    task: Task, plan: LoopPlan, state: LoopState, *, epoch: int, last: bool, metrics: MetricsLog, trackers: Trackers
) -> bool:
    """Evaluate if it is time; whether the score is the best so far."""
    due = last or (plan.eval_every > 0 and (epoch + 1) % plan.eval_every == 0)
    if not due:
        return False
    rows, score = task.evaluate(epoch)
    for split, row in rows:
        metrics.write(step=state.step, epoch=epoch, split=split, **row)
        log.info("epoch %d %s: %s", epoch + 1, split, ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    trackers.evaluated(state.step)
    better = score > state.best
    state.best = max(state.best, score)
    return better


def _save(task: Task, state: LoopState, metrics: MetricsLog, out: Path, ranks: Ranks, *, best: bool = False) -> None:
    """Write a checkpoint, once all processes were found to have the same state."""
    state.gather(ranks)
    saved = task.state()
    ranks.require_same(saved)
    state.metrics_offset = metrics.offset()
    if ranks.is_first:
        checkpoint.save_last(out / "checkpoints", {**saved, "loop": _plain(state)}, best=best)


def _plain(state: LoopState) -> dict[str, Any]:
    return {
        "step": state.step,
        "best": state.best,
        "metrics_offset": state.metrics_offset,
        "totals": state.totals,
        "counted": state.counted,
        "confusion": state.confusion,
    }


def _restore(task: Task, out: Path, ranks: Ranks = ALONE) -> LoopState:
    saved = checkpoint.load_checkpoint(out / "checkpoints" / "last.pt")
    task.load_state(saved)
    state = LoopState(**saved["loop"])
    if state.confusion is not None and not ranks.is_first:
        state.confusion = torch.zeros_like(state.confusion)
    return state


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
