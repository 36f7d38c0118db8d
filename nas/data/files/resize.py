"""Resizing of images and label maps, both aligned at the centres of pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def resize_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image [H, W, 3] at another size (height, width): area averages where both sides shrink, else bilinear."""
    if image.shape[:2] == size:
        return image
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size[::-1], interpolation=method), dtype=np.uint8)


def resize_label(label: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A label map [H, W] at another size (height, width).

    Target pixel i takes the source pixel that holds its centre, `(i + 1/2) H / H'`.
    """
    if label.shape == size:
        return label
    rows, columns = (_nearest(source, target) for source, target in zip(label.shape, size, strict=True))
    return label.take(columns, axis=1).take(rows, axis=0)  # one axis after the other is ten times as fast as both at once


def _nearest(source: int, target: int) -> NDArray[np.int64]:
    """Index of the source pixel for each target pixel, in integers: floor((2 i + 1) source / (2 target))."""
    return (2 * np.arange(target, dtype=np.int64) + 1) * source // (2 * target)
