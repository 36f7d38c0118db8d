"""Batches of whole images with their class: random resized crop and flip for training, resized and cut for validation.

What a training batch holds is a pure function of (seed, epoch, number of the batch), as for segmentation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from nas.data.batches.loader import WHOLE, BatchPart, epoch_order, steps_per_epoch
from nas.data.batches.prepared import Batches
from nas.data.batches.transforms import normalised, sample_rng
from nas.data.files.resize import resize_image
from nas.data.image_folder import ImageFolder

AREA = (0.08, 1.0)
"""Range of the share of the image that a crop covers: Szegedy et al., "Going deeper with convolutions", arXiv:1409.4842."""
ASPECT = (3 / 4, 4 / 3)
"""Range of its width over height (the same)."""
KEPT = 0.875
"""Share of each side that is kept in validation, as is customary: 224 of 256 pixels."""

_TRIES = 10


def train_loader(  # noqa: PLR0913  the arguments of nas.data.batches.loader.train_loader
    dataset: ImageFolder,
    *,
    batch_size: int,
    crop: Sequence[int] | None,
    seed: int,
    epoch: int,
    start_batch: int = 0,
    workers: int = 0,
    part: BatchPart = WHOLE,
) -> Batches:
    """The augmented batches of one epoch: images float32 [N, 3, *crop], class ids int64 [N].

    Args:
        dataset: What to load.
        batch_size: Images a batch; only full batches, a split smaller than one is repeated.
        crop: Height and width; None: the size of the data set.
        seed: Seed of order and augmentation.
        epoch: Number of the epoch.
        start_batch: Batches to skip, to go on in the middle of an epoch.
        workers: Worker processes; 0: prepare in this process.
        part: What of each batch is loaded.
    """
    steps = steps_per_epoch(len(dataset), batch_size)
    order = np.resize(epoch_order(len(dataset), seed=seed, epoch=epoch), steps * batch_size)
    batches: list[list[int]] = part.of(order.reshape(steps, batch_size)[start_batch:]).tolist()
    height, width = dataset.size if crop is None else crop
    return Batches(_TrainingImages(dataset, (height, width), seed, epoch), batches, workers)


def eval_loader(dataset: ImageFolder, *, batch_size: int, workers: int = 0, part: BatchPart = WHOLE) -> Batches:
    """All images in order at the size of the data set; the last batch may be smaller. A process takes the batches of its `part`."""
    indices = list(range(len(dataset)))
    batches = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    return Batches(_ValidationImages(dataset), part.of_list(batches), workers)


def crop_window(height: int, width: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a window of random area, aspect ratio and place.

    Area uniform over `AREA` of the image, aspect log-uniform over `ASPECT`; drawn again while it does not fit, ten times at most,
    then the largest central window with the nearest aspect in range.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        rng: Where everything comes from.
    """
    for _ in range(_TRIES):
        area = height * width * rng.uniform(*AREA)
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        rows, columns = max(1, round(math.sqrt(area / aspect))), max(1, round(math.sqrt(area * aspect)))
        if rows <= height and columns <= width:
            return _window(int(rng.integers(height - rows + 1)), rows), _window(int(rng.integers(width - columns + 1)), columns)
    rows, columns = min(height, round(width / ASPECT[0])), min(width, round(height * ASPECT[1]))
    return _window((height - rows) // 2, rows), _window((width - columns) // 2, columns)


def augmented(image: NDArray[np.uint8], size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random window of an image [H, W, 3], resized to `size` (height, width) and flipped with probability 1/2."""
    rows, columns = crop_window(image.shape[0], image.shape[1], rng)
    result = resize_image(np.ascontiguousarray(image[rows, columns]), size)
    return result[:, ::-1] if rng.random() < 0.5 else result


def centred(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The middle of an image [H, W, 3]: scaled so that it covers size / `KEPT`, then cut to `size` (height, width)."""
    height, width = image.shape[:2]
    factor = max(size[0] / height, size[1] / width) / KEPT
    scaled = resize_image(image, (max(size[0], round(height * factor)), max(size[1], round(width * factor))))
    top, left = ((have - want) // 2 for have, want in zip(scaled.shape, size, strict=False))
    return scaled[top : top + size[0], left : left + size[1]]


@dataclass(frozen=True, slots=True)
class _TrainingImages(Dataset[tuple[Tensor, Tensor]]):
    """The augmented images of one epoch."""

    dataset: ImageFolder
    crop: tuple[int, int]
    seed: int
    epoch: int

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.dataset.load(index)
        return _tensors(augmented(image, self.crop, sample_rng(self.seed, self.epoch, index)), label)


@dataclass(frozen=True, slots=True)
class _ValidationImages(Dataset[tuple[Tensor, Tensor]]):
    """The images as they are validated."""

    dataset: ImageFolder

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.dataset.load(index)
        return _tensors(centred(image, self.dataset.size), label)


def _tensors(image: NDArray[np.uint8], label: int) -> tuple[Tensor, Tensor]:
    """Normalised float32 [3, H, W], and the class id as int64 []."""
    return normalised(image), torch.tensor(label)


def _window(start: int, length: int) -> slice:
    return slice(start, start + length)
