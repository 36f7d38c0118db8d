"""A data set: pairs of an image and a label map, all of one size, by index."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.data.files.passed_over import NOTHING, PassedOver
from nas.data.scan_facts import ScanFacts
from nas.errors import DataError

IGNORE_INDEX = 255
"""Label of pixels that count neither in training nor in evaluation."""
SPLITS = ("train", "val", "test")
"""The splits of every data set."""

Frame = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Image [H, W, 3] (RGB) and label [H, W] (class id or `IGNORE_INDEX`)."""


class SegmentationDataset(ABC):
    """One split of a data set.

    A final subclass sets `classes` (the name of each class id), `palette` [K, 3] (the RGB colour in which each class is
    drawn) and `split` (one of `SPLITS`). It may set `no_truth` (why the labels of the split are not to be measured against),
    `full_resolution` (whether the data set's own protocol counts at the size of the label files, whatever `size` is),
    `passed_over` (what lies among its files and is not used), and for messages `classes_file` (what states its classes) and
    `ids` (class id or `IGNORE_INDEX` of each stored id, where label files hold ids). With label files it sets `stored_classes`
    (class id or `IGNORE_INDEX` of each stored id or colour), which a resume compares.
    """

    classes: tuple[str, ...]
    palette: NDArray[np.uint8]
    split: str
    no_truth: str | None = None
    full_resolution: bool = False
    passed_over: PassedOver = NOTHING
    classes_file: Path | None = None
    ids: Mapping[int, int] | None = None
    stored_classes: Mapping[int, int] | Mapping[tuple[int, int, int], int] | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Number of images; at least one."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of every image and label as `load` returns them."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Name of an image, without a folder or suffix; no two images of a split share one."""

    @abstractmethod
    def load(self, index: int) -> Frame:
        """Image [H, W, 3] and label [H, W]; to be read, not written to.

        Raises:
            DataError: If a file is missing or broken.
            IndexError: If the index is not in [0, len).
        """

    def truth(self, index: int) -> NDArray[np.uint8]:
        """Label [H, W] at the size in which it is stored; here, where nothing is stored, as `load` returns it.

        Raises:
            DataError: If a file is missing or broken.
            IndexError: If the index is not in [0, len).
        """
        return self.load(index)[1]

    @abstractmethod
    def scan(self) -> ScanFacts:
        """Check the whole split in a few seconds, before the first step.

        Each file is read once, by several threads; what is to be known about all of them is taken from that reading.

        Returns:
            What the files hold. Whether a split can be trained on or measured against is not decided here.

        Raises:
            DataError: If something is wrong; the message names the file and the fix.
        """


def check_split(split: str) -> str:
    """The split, if it is one of `SPLITS`.

    Raises:
        DataError: If it is not.
    """
    if split not in SPLITS:
        raise DataError(f"split: got {split!r}, expected one of {', '.join(SPLITS)}")
    return split


def check_index(index: int, count: int) -> None:
    """Refuse an index outside [0, count).

    Raises:
        IndexError: If the index is outside.
    """
    if not 0 <= index < count:
        raise IndexError(f"image {index}: expected an index from 0 to {count - 1}")
