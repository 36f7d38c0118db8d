"""Trainings of many networks on the same batches: each is what `nas train` makes of it, and scenes are drawn once for all."""

from __future__ import annotations

from collections.abc import Sequence
from time import process_time

import torch

from nas.config.jobs import TrainJob
from nas.config.settings import TrainerSettings
from nas.distributed.fabric import make_fabric
from nas.space.design import Design
from nas.training.train_setup import Split, make_task, train_splits
from search_spaces import all_spaces


def train_together(designs: Sequence[Design], job: TrainJob) -> list[tuple[float, float]]:
    """Validation mIoU of each network after the training that a job describes, and the CPU seconds of its steps and its evaluation.

    Args:
        designs: The networks.
        job: The settings; its genotype is not read.
    """
    torch.set_num_threads(1)
    train_set, val_set = _splits(job)
    fabric = make_fabric(TrainerSettings(accelerator="cpu"), scales_gradients=True)
    tasks = [make_task(job, design, all_spaces(), train_set=train_set, val_set=val_set, fabric=fabric) for design in designs]
    plan, seconds = tasks[0].plan, [0.0] * len(tasks)
    steps = plan.steps_per_epoch(train_set)
    for step in range(plan.total_steps(train_set)):
        epoch, batch = divmod(step, steps)
        if batch == 0:
            batches = iter(plan.batches(train_set, epoch=epoch))
        images, labels = next(batches)
        for number, task in enumerate(tasks):
            start = process_time()
            task.step(images, labels, step)
            seconds[number] += process_time() - start
    scores = []
    for number, task in enumerate(tasks):
        start = process_time()
        scores.append(task.evaluate(job.train.epochs - 1)[1])
        seconds[number] += process_time() - start
    return list(zip(scores, seconds, strict=True))


_KEPT: dict[str, tuple[Split, Split]] = {}
"""The splits of the last job, with the scenes that they have drawn."""


def _splits(job: TrainJob) -> tuple[Split, Split]:
    """The splits of a job, those of the last one if it reads the same data."""
    key = repr(job.data)
    if key not in _KEPT:
        _KEPT.clear()
        _KEPT[key] = train_splits(job)
    return _KEPT[key]
