"""The task of the loop, its length, and its position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nas.data.batches.loader import WHOLE, BatchPart, epoch_order, steps_per_epoch, train_loader
from nas.data.batches.prepared import Batches
from nas.distributed.ranks import Ranks
from nas.files.shortening import QUOTED, shorten
from nas.files.strict_json import as_count
from nas.metrics import mean_iou
from nas.runs.state_checks import as_mapping, check_tensor
from nas.training.non_finite import Steadying
from nas.training.out_of_memory import Remedy

Row = dict[str, float]


class Samples(Protocol):
    """The interface of a data set to the loop; the rest is between the data set and the plan's loader."""

    def __len__(self) -> int:
        """Number of samples."""

    def name(self, index: int) -> str:
        """Name of a sample."""


class Task(Protocol):
    """The task of the loop: a search or a training."""

    def step(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor | None]:
        """One optimisation step -> scalars of the step, and the confusion matrix of labelled pixels; raises NonFiniteLossError."""

    def evaluate(self, epoch: int) -> tuple[list[tuple[str, Row]], float]:
        """(split, scalars) for each evaluation, and the score by which the best checkpoint is kept."""

    def epoch_scalars(self) -> Row:
        """Scalars that are worth stating once an epoch."""

    def scheduled(self, step: int, total: int) -> Row:
        """By what people call it, the value of every schedule at a step of a run of `total` steps."""

    def learning_rate(self) -> float:
        """The learning rate of the weights in the last step."""

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
    steadying: Steadying = Steadying()
    loader: Callable[..., Batches] = train_loader

    def steps_per_epoch(self, dataset: Samples) -> int:
        """Steps of an epoch."""
        return steps_per_epoch(len(dataset), self.batch_size)

    def total_steps(self, dataset: Samples) -> int:
        """Steps of the whole run."""
        steps = self.epochs * self.steps_per_epoch(dataset)
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def batches(self, dataset: Samples, *, epoch: int, start_batch: int = 0) -> Batches:
        """The part of an epoch's batches that this process loads, from one of them on."""
        return self.loader(
            dataset,
            batch_size=self.batch_size,
            crop=self.crop,
            seed=self.seed,
            epoch=epoch,
            start_batch=start_batch,
            workers=self.workers,
            part=self.part,
        )

    def names(self, dataset: Samples, step: int) -> list[str]:
        """Names of the samples in the batch of a step."""
        epoch, batch = divmod(step, self.steps_per_epoch(dataset))
        order = np.resize(epoch_order(len(dataset), seed=self.seed, epoch=epoch), (batch + 1) * self.batch_size)
        return [dataset.name(int(i)) for i in order[batch * self.batch_size :][: self.batch_size]]


@dataclass(slots=True)
class LoopState:
    """Position of a loop, beside the task's own state; `planned` are the steps that the schedules were made for, None: unknown."""

    step: int = 0
    best: float = float("-inf")
    metrics_offset: int = 0
    totals: Row = field(default_factory=dict)
    counted: int = 0
    confusion: Tensor | None = None
    planned: int | None = None

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
        """Averages of the epoch; the next epoch begins without any."""
        row = {key: value / self.counted for key, value in self.totals.items()}
        if self.confusion is not None:
            row["miou"] = float(mean_iou(self.confusion.cpu()))
        self.totals, self.counted, self.confusion = {}, 0, None
        return row

    @classmethod
    def of(cls, saved: object, *, planned: object) -> LoopState:
        """The position that a checkpoint states.

        Raises:
            ValueError: If a part is missing or is none of a position.
        """
        names = list(cls().plain())
        given = as_mapping(saved, "loop", names)
        if len(given) > len(names):
            raise ValueError(f"loop: got {shorten(list(given), limit=QUOTED)}, expected {', '.join(names)}")
        for name in ("step", "metrics_offset", "counted"):
            as_count(given[name], f"loop.{name}", minimum=0)
        if not isinstance(given["best"], float):
            raise ValueError(f"loop.best: got {shorten(given['best'])}, expected a number")
        for name, value in as_mapping(given["totals"], "loop.totals").items():
            if not isinstance(name, str) or not isinstance(value, float | int):
                raise ValueError(f"loop.totals: got {shorten(name)}: {shorten(value)}, expected sums by name")
        confusion = given["confusion"]
        if confusion is not None:
            if not isinstance(confusion, Tensor) or confusion.dim() != 2:
                raise ValueError(f"loop.confusion: got {shorten(confusion)}, expected a matrix")
            check_tensor(confusion, [len(confusion)] * 2, confusion.dtype, "loop.confusion")
        return cls(**given, planned=None if planned is None else as_count(planned, "planned_steps", minimum=0))

    def plain(self) -> dict[str, Any]:
        """Its state, as plain data for a checkpoint, but for `planned`: this is what versions before knew."""
        return {
            "step": self.step,
            "best": self.best,
            "metrics_offset": self.metrics_offset,
            "totals": self.totals,
            "counted": self.counted,
            "confusion": self.confusion,
        }
