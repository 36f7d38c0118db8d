"""The loop that search and training share: epochs, logging, checkpoints, interruption, exact resume."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path

from lightning_fabric import Fabric
from torch import Tensor

from nas.data.batches.held_out import HeldOutLossError
from nas.data.batches.prepared import Batches
from nas.distributed.fabric import ranks_of
from nas.errors import DataWorkerError, MemoryLimitError, NonFiniteLossError
from nas.files.command_words import setting
from nas.runs.progress import NoProgress, Progress
from nas.runs.trackers import Trackers
from nas.runs.tracking import MetricsLog, NoMetrics
from nas.training.batch_waits import DataWatch
from nas.training.interruption import Interruption, interruptible
from nas.training.loop_state import LoopPlan, LoopState, Row, Samples, Task
from nas.training.out_of_memory import Shortage, fitting_batch, memory_error, release, shortage_of
from nas.training.run_checkpoints import Resumption, RunCheckpoints

log = logging.getLogger("nas")


def fit(
    task: Task,
    plan: LoopPlan,
    dataset: Samples,
    *,
    fabric: Fabric,
    out: Path,
    resume: bool,
    trackers: Trackers | None = None,
    resumption: Resumption | None = None,
) -> None:
    """Run a task to its end, or go on with it.

    Args:
        task: A search or a training.
        plan: Length and rhythm.
        dataset: What the batches are made of.
        fabric: Devices and precision.
        out: Folder of the run.
        resume: Whether to go on from the last checkpoint in it.
        trackers: Get every row of metrics.jsonl, too.
        resumption: What a resume compares and changes; None: nothing.

    Raises:
        UserError: If the checkpoint to resume cannot be taken up, or the inputs have changed.
        KeyboardInterrupt: After Ctrl-C, once a checkpoint is saved; after SIGTERM, `TerminatedError`.
        NonFiniteLossError: Before any weight has moved; the state is saved in checkpoints/nonfinite.pt.
        MemoryLimitError: If memory runs out; in a step of one process, the state before it is saved.
        DataWorkerError: If a process that prepares batches has gone; the state of one process is saved.
    """
    loop = Loop(task, plan, dataset, fabric=fabric, out=out, trackers=trackers or Trackers())
    loop.checkpoints.resumption = resumption
    loop.run(resume=resume)


class Loop:
    """A run of a task, and where it stands.

    Args:
        task: A search or a training.
        plan: Length and rhythm.
        dataset: What the batches are made of.
        fabric: Devices and precision.
        out: Folder of the run.
        trackers: Get every row of metrics.jsonl, too.
    """

    def __init__(self, task: Task, plan: LoopPlan, dataset: Samples, *, fabric: Fabric, out: Path, trackers: Trackers) -> None:
        self.task, self.plan, self.dataset = task, plan, dataset
        self.fabric, self.out, self.trackers = fabric, out, trackers
        self.ranks = ranks_of(fabric)
        self.checkpoints = RunCheckpoints(task, out, self.ranks)
        self.total, self.per_epoch = plan.total_steps(dataset), plan.steps_per_epoch(dataset)
        self.watch = DataWatch(plan.workers, cached=plan.cached)
        self.state = LoopState()
        self.metrics: MetricsLog = NoMetrics()
        self.progress: Progress = NoProgress()
        self.interrupted = Interruption()

    def run(self, *, resume: bool) -> None:
        """All steps that are left; see `fit`."""
        if resume:
            self.state = self.checkpoints.restore()
            self._tell_of_length()
        self.state.planned = self.total
        if self.ranks.are_several:
            self.ranks.require_same(self.task.state())
        if self.ranks.is_first:
            path, also = self.out / "metrics.jsonl", self.trackers.write
            self.metrics = MetricsLog.resume(path, self.state.metrics_offset, also=also) if resume else MetricsLog(path, also=also)
            self.progress = Progress(total=self.total, start=self.state.step)
        self.trackers.begin(self.state.step)
        with self.metrics, self.progress, interruptible() as self.interrupted:
            while self.state.step < self.total:
                try:
                    self._epoch()
                except DataWorkerError as error:
                    raise self._without_worker(error) from None
                except (RuntimeError, MemoryError) as error:  # beside the steps: in loading, evaluating, saving
                    if (shortage := shortage_of(error)) is None:
                        raise
                    raise self._memory_error(shortage, f"after step {self.state.step}") from None

    def _tell_of_length(self) -> None:
        """Say what the schedules do where a run goes on with another length, and that there is nothing to do where it has ended."""
        step, before = self.state.step, self.state.planned
        if not self.ranks.is_first:
            return
        if step >= self.total:
            log.warning("resume: all %d steps are done already, and nothing is left to do; more epochs go on from here", step)
        elif step and before is None:  # versions before did not save it; the optimiser has the last learning rate
            rate, same = self.task.learning_rate(), self.task.scheduled(step - 1, self.total).get("learning rate")
            if same is not None and not math.isclose(rate, same, rel_tol=1e-6):
                log.warning(
                    "resume: the run was planned for another length, and every schedule is from here on that of %d steps: "
                    "learning rate goes from %.3g to %.3g",
                    self.total,
                    rate,
                    self.task.scheduled(step, self.total)["learning rate"],
                )
        elif step and before is not None and before != self.total:
            then, now = self.task.scheduled(min(step, before) - 1, before), self.task.scheduled(step, self.total)
            jumps = [f"{name} goes from {then[name]:.3g} to {now[name]:.3g}" for name in now]
            log.warning(
                "resume: %d steps instead of %d, and every schedule is from here on that of the new length: %s",
                self.total,
                before,
                ", ".join(jumps),
            )

    def _epoch(self) -> None:
        """The rest of the epoch that the next step is in."""
        began_at = self.state.step
        epoch, first = divmod(began_at, self.per_epoch)
        batches = self.plan.batches(self.dataset, epoch=epoch, start_batch=first)
        # Fabric copies from pinned memory without waiting; elsewhere there is nothing to pin for.
        batches.pin_memory = self.fabric.device.type == "cuda"
        started = time.perf_counter()
        self._steps(epoch, batches)
        self.state.gather(self.ranks)
        seconds = time.perf_counter() - started
        if self.ranks.is_first:
            self.watch.tell(seconds)
        averages = {**self.state.flush(), **self.task.epoch_scalars()}
        times = {"seconds_per_step": seconds / max(1, self.state.step - began_at), "data_share": self.watch.share(seconds)}
        self.metrics.write(step=self.state.step, epoch=epoch, split="train", **averages, **times)
        self.progress.end_epoch(epoch, **averages)
        best = self._evaluate(epoch)
        self.checkpoints.save(self.state, self.metrics, best=best)
        self._stop_if_interrupted()

    def _steps(self, epoch: int, batches: Batches) -> None:
        """The steps that are left of an epoch; after each but the last, a checkpoint where it is time, and the end on Ctrl-C."""
        plan, state = self.plan, self.state
        for images, labels in self.watch.batches(batches):
            row = self._step(images, labels)
            self.progress.update(state.step, epoch=epoch, **row)
            if state.step % plan.log_every == 0:
                self.metrics.write(step=state.step, epoch=epoch, split="step", **row)
            if state.step == self.total or state.step % self.per_epoch == 0:
                break
            if plan.checkpoint_every and state.step % plan.checkpoint_every == 0:
                self.checkpoints.save(state, self.metrics)
            self._stop_if_interrupted(save=True)

    def _stop_if_interrupted(self, *, save: bool = False) -> None:
        """End the run after Ctrl-C or SIGTERM, with a checkpoint where there is none of this step, and say how it goes on.

        Raises:
            KeyboardInterrupt: After either.
        """
        if not self.ranks.any(self.interrupted.is_set()):
            return
        if save:
            self.checkpoints.save(self.state, self.metrics)
        if self.ranks.is_first:
            words = setting("resume", self.out)
            log.warning("saved after step %d of %d; to go on, give the same command with %s", self.state.step, self.total, words)
        raise self.interrupted.error()

    def _step(self, images: Tensor, labels: Tensor) -> Row:
        """A step, counted; its scalars.

        Raises:
            NonFiniteLossError: Naming the images.
            MemoryLimitError: Naming a batch that fits.
        """
        try:
            done = self._attempt(images, labels)
        except NonFiniteLossError as error:
            raise self._named(error) from None
        if isinstance(done, Shortage):
            raise self._without_room(done, images, labels)
        row, confusion = done
        self.state.add(row, confusion)
        self.state.step += 1
        return row

    def _attempt(self, images: Tensor, labels: Tensor) -> tuple[Row, Tensor | None] | Shortage:
        """A step, or why there was no room for it: returned, for an error that is raised holds what the step held."""
        try:
            return self._on_device(images, labels)
        except (RuntimeError, MemoryError) as error:
            if (shortage := shortage_of(error)) is None:
                raise
            return shortage

    def _on_device(self, images: Tensor, labels: Tensor) -> tuple[Row, Tensor | None]:
        """The task's step on a batch that is on the CPU."""
        return self.task.step(self.fabric.to_device(images), self.fabric.to_device(labels), self.state.step)

    def _evaluate(self, epoch: int) -> bool:
        """Evaluate if it is time; whether the score is the best so far."""
        every = self.plan.eval_every
        if self.state.step != self.total and not (every > 0 and (epoch + 1) % every == 0):
            return False
        try:
            rows, score = self.task.evaluate(epoch)
        except NonFiniteLossError as error:
            raise self._stopped(f"{error}, after step {self.state.step}") from None
        for split, row in rows:
            self.metrics.write(step=self.state.step, epoch=epoch, split=split, **row)
            log.info("epoch %d %s: %s", epoch + 1, split, ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
        self.trackers.evaluated(self.state.step)
        if math.isnan(score):
            log.warning("epoch %d: no validation pixel has a class, so that there is no mIoU and no best checkpoint", epoch + 1)
        better = score > self.state.best
        self.state.best = max(self.state.best, score)
        return better

    def _named(self, error: NonFiniteLossError) -> NonFiniteLossError:
        """Save what led to a non-finite loss, and say which images did."""
        step = self.state.step
        where = f"batch {', '.join(self.plan.names(self.dataset, step))}"
        if isinstance(error, HeldOutLossError):
            where = f"held-out batch {', '.join(error.images)}"
        return self._stopped(
            f"{error} at step {step} of epoch {step // self.per_epoch + 1} on the {where}; no weight was moved by it"
        )

    def _stopped(self, what: str) -> NonFiniteLossError:
        """Save the state beside the checkpoints that a resume goes on from, and say what to do."""
        path = self.checkpoints.save_nonfinite(self.state)
        rate = f"the learning rate was {self.task.learning_rate():g}"
        return NonFiniteLossError(f"{what}; {rate}; the state is in {path}\n{self.plan.steadying.advice(self.out)}")

    def _without_room(self, shortage: Shortage, images: Tensor, labels: Tensor) -> MemoryLimitError:
        """Save the state before a step for which there was no room, and find a batch for which there is.

        With several processes the others wait in the step: what is saved together cannot be saved now.
        """
        release()
        saved = not shortage.half_moved and not self.ranks.are_several
        if saved:
            self.checkpoints.save(self.state, self.metrics)
        fits = None
        if not self.ranks.are_several:
            fits = fitting_batch(self._on_device, images, labels, passes=self.plan.part.passes)
        return self._memory_error(shortage, f"in step {self.state.step}", saved=saved, fits=fits)

    def _memory_error(self, shortage: Shortage, where: str, *, saved: bool = False, fits: int | None = None) -> MemoryLimitError:
        return memory_error(shortage, where, remedy=self.plan.remedy, out=self.out, saved=saved, fits=fits)

    def _without_worker(self, error: DataWorkerError) -> DataWorkerError:
        """Save the state, which is that between two steps, for a step asks for its batches before it moves anything.

        With several processes the others wait in the step: what is saved together cannot be saved now.
        """
        if not self.ranks.are_several:
            self.checkpoints.save(self.state, self.metrics)
            state = f"saved after step {self.state.step} of {self.total}; to go on"
        elif (self.out / "checkpoints" / "last.pt").is_file():
            state = "to go on from the last checkpoint"
        else:
            return DataWorkerError(f"{error}; there is no checkpoint yet")
        return DataWorkerError(f"{error}; {state}, give the same command with {setting('resume', self.out)}")
