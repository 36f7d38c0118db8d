"""What the scan of a split saw: how many pixels of which class each label holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.files.label_encoding import Encoding

_EXACT_PX = 2**24
"""Pixels up to which the float32 counts of OpenCV are exact."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameFacts:
    """What the scan saw of one image and its label.

    Args:
        pixels: Pixels of each class and, last, void ones [K + 1], of the label as it is stored.
    """

    pixels: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ScanFacts:
    """What the scan saw of a split.

    Args:
        images: Number of images.
        counts: Pixels of each class and, last, void ones, by image [N, K + 1]; None: labels were not counted, for nothing can be
            wrong with them.
        encodings: Label files and how they store ids, to be compared with those of another split.
    """

    images: int
    counts: NDArray[np.int64] | None = None
    encodings: Sequence[tuple[Path, Encoding]] = ()

    @property
    def pixels(self) -> NDArray[np.int64] | None:
        """Pixels of each class [K]; None: not counted."""
        return None if self.counts is None else self.counts[:, :-1].sum(axis=0)

    @property
    def void(self) -> int | None:
        """Void pixels; None: not counted."""
        return None if self.counts is None else int(self.counts[:, -1].sum())

    def part(self, indices: Sequence[int]) -> ScanFacts:
        """The facts of some of the images."""
        return ScanFacts(len(indices), None if self.counts is None else self.counts[list(indices)], self.encodings)


def facts_of(frames: Sequence[FrameFacts], encodings: Sequence[tuple[Path, Encoding]] = ()) -> ScanFacts:
    """The facts of a split from those of its images, in order."""
    return ScanFacts(len(frames), np.stack([frame.pixels for frame in frames]), encodings)


def label_counts(label: NDArray[np.uint8], num_classes: int) -> NDArray[np.int64]:
    """Pixels of each class and, last, void ones [K + 1] of a label map [H, W]; void is whatever is no class id.

    >>> label_counts(np.array([[0, 1, 1], [1, 255, 0]], np.uint8), 3).tolist()
    [2, 3, 0, 1]
    """
    if label.size <= _EXACT_PX:
        counts = cv2.calcHist([label], [0], None, [256], [0, 256]).reshape(256).astype(np.int64)
    else:
        counts = np.bincount(label.ravel(), minlength=256)
    return np.append(counts[:num_classes], counts[num_classes:].sum())
