"""The loop that search and training share: epochs, logging, checkpoints, interruption, exact resume."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path

from lightning_fabric import Fabric
from torch import Tensor, nn

from nas.data.batches.loader import steps_per_epoch
from nas.distributed.fabric import check_shares, make_fabric, ranks_of
from nas.errors import NonFiniteLossError
from nas.runs.progress import NoProgress, Progress
from nas.runs.trackers import Trackers
from nas.runs.tracking import MetricsLog, NoMetrics
from nas.training.batch_waits import DataWatch
from nas.training.loop_state import LoopPlan, LoopState, Row, Samples, Task, _restore, _save
from nas.training.out_of_memory import Shortage, memory_error, shortage_of
from nas.training.stops import _interruptible, _named_batch, _out_of_memory, log

__all__ = ["LoopPlan", "LoopState", "Row", "Samples", "Task", "check_shares", "clip_gradients", "fit", "make_fabric", "ranks_of"]


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
    metrics: MetricsLog = NoMetrics()
    teller: Progress = NoProgress()
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
