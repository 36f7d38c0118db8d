"""From uint8 frames to tensors: augmentation for training, normalisation. Every draw comes from the generator given.

An image is uint8 [H, W, 3] (RGB), a label map uint8 [H, W]. Nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.dataset import IGNORE_INDEX, Frame
from nas.data.files.resize import resize_image, resize_label

MEAN: NDArray[np.float32] = np.array([0.485, 0.456, 0.406], dtype=np.float32)
"""Mean of each channel (RGB, 0..1) over ImageNet, the customary constants."""
STD: NDArray[np.float32] = np.array([0.229, 0.224, 0.225], dtype=np.float32)
"""Standard deviation of each channel (RGB, 0..1) over ImageNet."""
_NORMALISED = ((np.arange(256, dtype=np.float32)[:, None] / 255 - MEAN) / STD).T.copy()
"""Value of each channel and level, [3, 256]."""
FILL: NDArray[np.uint8] = np.rint(255 * MEAN).astype(np.uint8)
"""Colour of padding: the mean colour, hence about zero after normalisation."""
SCALES = (0.5, 2.0)
"""Range of the random scale."""


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of everything random about one sample of one epoch."""
    return np.random.default_rng([seed, epoch, index])


def random_flip(image: NDArray[np.uint8], label: NDArray[np.uint8], rng: np.random.Generator) -> Frame:
    """Swap left and right with probability 1/2."""
    return (image[:, ::-1], label[:, ::-1]) if rng.random() < 0.5 else (image, label)


def random_scale(image: NDArray[np.uint8], label: NDArray[np.uint8], rng: np.random.Generator) -> Frame:
    """Resize both sides by one factor, uniform over `SCALES`, to at least one pixel."""
    factor = rng.uniform(*SCALES)
    height, width = label.shape
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return resize_image(np.ascontiguousarray(image), size), resize_label(label, size)


def random_crop(image: NDArray[np.uint8], label: NDArray[np.uint8], rng: np.random.Generator, *, crop: Sequence[int]) -> Frame:
    """Cut a window of fixed size at a uniform place; a smaller image lies at a uniform place in the window.

    Args:
        image: Image [H, W, 3].
        label: Label map [H, W].
        rng: Where the place comes from.
        crop: Height and width of the window.

    Returns:
        Image [*crop, 3], padded with `FILL`, and label map [*crop], padded with `IGNORE_INDEX`.
    """
    window_image = np.empty((crop[0], crop[1], 3), dtype=np.uint8)
    window_image[:] = FILL
    window_label = np.full((crop[0], crop[1]), IGNORE_INDEX, dtype=np.uint8)
    source, target = [], []
    for have, want in zip(label.shape, crop, strict=True):
        slack = have - want
        start = int(rng.integers(min(0, slack), max(0, slack) + 1))
        length = min(have, want)
        source.append(slice(max(0, start), max(0, start) + length))
        target.append(slice(max(0, -start), max(0, -start) + length))
    window_image[target[0], target[1]] = image[source[0], source[1]]
    window_label[target[0], target[1]] = label[source[0], source[1]]
    return window_image, window_label


def padding_share(size: Sequence[int], crop: Sequence[int]) -> float:
    """Share of a crop [h, w] that is padding, the mean over the random scale s of an image [H, W], uniform over `SCALES`.

    `1 - E[min(1, s H / h) min(1, s W / w)]`, the mean by 1000 midpoints; sides are not rounded to pixels.

    >>> round(padding_share((100, 100), (100, 100)), 3), padding_share((100, 100), (50, 50))
    (0.139, 0.0)
    """
    edges = np.linspace(*SCALES, 1001)
    scales = (edges[1:] + edges[:-1]) / 2
    filled = np.minimum(1, scales * size[0] / crop[0]) * np.minimum(1, scales * size[1] / crop[1])
    return float(1 - filled.mean())


def normalised(image: NDArray[np.uint8]) -> Tensor:
    """`(image / 255 - MEAN) / STD` as float32 [3, H, W]; looked up, which gives the same bits in a tenth of the time."""
    normal = np.empty((3, *image.shape[:2]), dtype=np.float32)
    for channel, table, target in zip(cv2.split(image), _NORMALISED, normal, strict=True):
        cv2.LUT(channel, table, dst=target)
    return torch.from_numpy(normal)


def to_tensors(image: NDArray[np.uint8], label: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """The normalised image as float32 [3, H, W], the label map as int64 [H, W]."""
    return normalised(image), torch.from_numpy(label.astype(np.int64))


def training(frame: Frame, *, crop: Sequence[int], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Flip, scale and crop at random, then normalise: float32 [3, *crop] and int64 [*crop]."""
    image, label = random_flip(*frame, rng)
    image, label = random_scale(image, label, rng)
    return to_tensors(*random_crop(image, label, rng, crop=crop))


def evaluation(frame: Frame) -> tuple[Tensor, Tensor]:
    """Normalise only: float32 [3, H, W] and int64 [H, W]."""
    return to_tensors(*frame)
