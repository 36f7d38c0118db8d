"""Batches: which samples, in which order, prepared by worker processes or not, always the same.

What a training batch holds is a pure function of (seed, epoch, number of the batch). So an epoch can begin in the
middle, and the number of workers does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from nas.data.batches.prepared import Batches
from nas.data.batches.transforms import evaluation, sample_rng, training
from nas.data.dataset import SegmentationDataset


@dataclass(frozen=True, slots=True)
class BatchPart:
    """One process's part of each batch.

    A batch is run in as many passes as there are gradients to be added up; of the images of each pass a process takes its equal
    share, in order. So what runs in a pass does not depend on how many processes share it.

    Args:
        number: The process, from 0.
        count: Number of processes.
        passes: Passes that a batch is run in.
    """

    number: int = 0
    count: int = 1
    passes: int = 1

    def of(self, batches: NDArray[np.int64]) -> NDArray[np.int64]:
        """The part of batches [steps, size], in the order of its passes: [steps, size / count].

        >>> BatchPart(1, 2, passes=2).of(np.arange(8).reshape(1, 8)).tolist()
        [[2, 3, 6, 7]]
        """
        steps, size = batches.shape
        if size % (self.count * self.passes):
            raise ValueError(f"got batches of {size}, expected a multiple of {self.count} processes times {self.passes} passes")
        shares = batches.reshape(steps, self.passes, self.count, size // (self.count * self.passes))
        return shares[:, :, self.number].reshape(steps, size // self.count)

    def of_list(self, items: list[list[int]]) -> list[list[int]]:
        """Every `count`-th of the items, whole ones: what a process evaluates."""
        return items[self.number :: self.count]


WHOLE = BatchPart()
"""All of it."""


def epoch_order(n: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order [n] of the samples in an epoch: a permutation that depends on seed and epoch alone."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch], spawn_key=(0,))).permutation(n)


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Full batches of an epoch, at least one.

    >>> steps_per_epoch(367, 16), steps_per_epoch(5, 16)
    (22, 1)
    """
    if n < 1 or batch_size < 1:
        raise ValueError(f"got {n} images and batches of {batch_size}, expected at least 1 of each")
    return max(1, n // batch_size)


def train_loader(  # noqa: PLR0913
    dataset: SegmentationDataset,
    *,
    batch_size: int,
    crop: Sequence[int] | None,
    seed: int,
    epoch: int,
    start_batch: int = 0,
    workers: int = 0,
    part: BatchPart = WHOLE,
) -> Batches:
    """The augmented batches of one epoch.

    Only full batches: the rest of the order is left out; a split smaller than a batch is repeated to fill one.

    Args:
        dataset: What to load.
        batch_size: Images a batch.
        crop: Height and width of the crop; None: the size of the data set.
        seed: Seed of order and augmentation.
        epoch: Number of the epoch.
        start_batch: Batches to skip, to go on in the middle of an epoch.
        workers: Worker processes; 0: prepare in this process.
        part: What of each batch is loaded; the order is that of the whole.
    """
    steps = steps_per_epoch(len(dataset), batch_size)
    if not 0 <= start_batch <= steps:
        raise ValueError(f"start_batch: got {start_batch}, expected 0 to {steps}, the batches of an epoch")
    order = np.resize(epoch_order(len(dataset), seed=seed, epoch=epoch), steps * batch_size)
    batches: list[list[int]] = part.of(order.reshape(steps, batch_size)[start_batch:]).tolist()
    samples = _TrainingSamples(dataset, tuple(dataset.size if crop is None else crop), seed, epoch)
    return Batches(samples, batches, workers)


def eval_loader(dataset: SegmentationDataset, *, batch_size: int, workers: int = 0, part: BatchPart = WHOLE) -> Batches:
    """All images in order, not augmented; the last batch may be smaller. A process takes whole batches, those of its `part`."""
    indices = list(range(len(dataset)))
    batches = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    return Batches(_EvaluationSamples(dataset), part.of_list(batches), workers)


@dataclass(frozen=True, slots=True)
class _TrainingSamples(Dataset[tuple[Tensor, Tensor]]):
    """The augmented samples of one epoch."""

    dataset: SegmentationDataset
    crop: tuple[int, ...]
    seed: int
    epoch: int

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = sample_rng(self.seed, self.epoch, index)
        return training(self.dataset.load(index), crop=self.crop, rng=rng)


@dataclass(frozen=True, slots=True)
class _EvaluationSamples(Dataset[tuple[Tensor, Tensor]]):
    """The samples as they are."""

    dataset: SegmentationDataset

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return evaluation(self.dataset.load(index))
