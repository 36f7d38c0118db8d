"""Batches: which samples, in which order, prepared by worker processes or not, always the same.

What a training batch holds is a pure function of (seed, epoch, number of the batch). So an epoch can begin in the
middle, and the number of workers does not matter.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nas.data.dataset import SegmentationDataset
from nas.data.transforms import evaluation, sample_rng, training

Batches = DataLoader[tuple[Tensor, Tensor]]
"""Iterates over images float32 [N, 3, H, W] and labels int64 [N, H, W]; `len()` is the number of batches."""


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


def train_loader(
    dataset: SegmentationDataset,
    *,
    batch_size: int,
    crop: Sequence[int] | None,
    seed: int,
    epoch: int,
    start_batch: int = 0,
    workers: int = 0,
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
    """
    steps = steps_per_epoch(len(dataset), batch_size)
    if not 0 <= start_batch <= steps:
        raise ValueError(f"start_batch: got {start_batch}, expected 0 to {steps}, the batches of an epoch")
    order = np.resize(epoch_order(len(dataset), seed=seed, epoch=epoch), steps * batch_size)
    batches: list[list[int]] = order.reshape(steps, batch_size)[start_batch:].tolist()
    samples = _TrainingSamples(dataset, tuple(dataset.size if crop is None else crop), seed, epoch)
    return batch_loader(samples, batches, workers)


def eval_loader(dataset: SegmentationDataset, *, batch_size: int, workers: int = 0) -> Batches:
    """All images in order, not augmented; the last batch may be smaller."""
    indices = list(range(len(dataset)))
    batches = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    return batch_loader(_EvaluationSamples(dataset), batches, workers)


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


def batch_loader(samples: Dataset[tuple[Tensor, Tensor]], batches: list[list[int]], workers: int) -> Batches:
    """A loader of the given batches; a generator of its own keeps it from drawing on PyTorch's global one."""
    return DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=workers,
        worker_init_fn=_start_worker,
        generator=torch.Generator().manual_seed(0),
    )


def _start_worker(_: int) -> None:
    """One thread a worker, and Ctrl-C is for the main process, which ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
