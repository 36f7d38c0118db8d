"""CamVid: driving frames with dense labels of 11 classes (Brostow et al., 2009), in the split of the SegNet copy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.data.camvid_files import FramePair, find_pairs
from nas.data.dataset import IGNORE_INDEX, Frame, SegmentationDataset, check_index, check_split
from nas.data.decode import image_size, read_image, read_label
from nas.data.frame_cache import FrameCache
from nas.data.palette import CAMVID_CLASSES, CAMVID_PALETTE
from nas.data.resize import resize_image, resize_label
from nas.data.scan import scan_frames
from nas.errors import ConfigError, DataError

VOID_ID = 11
"""Id of unlabelled pixels in the files; `IGNORE_INDEX` is taken for the same."""


@dataclass(kw_only=True, slots=True)
class CamVidConfig:
    """CamVid on disk."""

    name: str = "camvid"
    """Name of the data set."""
    root: str = "???"
    """Folder that holds train/ and trainannot/ (val, test likewise), or train.txt, val.txt and test.txt."""
    size: list[int] | None = None
    """[height, width] that images and labels are resized to on loading; null: as they are (360x480)."""
    every: int = 1
    """Use every n-th image of each split, in the order of their names."""
    cache: bool = True
    """Keep decoded and resized images in memory (4 bytes a pixel)."""
    workers: int = 0
    """Worker processes that prepare batches; 0: none."""

    def __post_init__(self) -> None:
        """Check the values."""
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ConfigError(f"data.size: got {self.size}, expected [HEIGHT,WIDTH] in pixels, both at least 1, or null")
        for key, value, least in (("every", self.every, 1), ("workers", self.workers, 0)):
            if value < least:
                raise ConfigError(f"data.{key}: got {value}, expected at least {least}")


class CamVidDataset(SegmentationDataset):
    """One split of CamVid.

    Args:
        config: Where it lies and how it is loaded.
        split: train, val or test.

    Raises:
        DataError: If it does not lie there, or an image lacks its label.
    """

    def __init__(self, config: CamVidConfig, split: str) -> None:
        self.split = check_split(split)
        self.classes = CAMVID_CLASSES
        self.palette = CAMVID_PALETTE
        self._pairs = find_pairs(Path(config.root).expanduser(), split)[:: config.every]
        self._resize = config.size is not None
        self._size = image_size(self._pairs[0].image) if config.size is None else (config.size[0], config.size[1])
        self._cache = FrameCache(len(self._pairs), self._size) if config.cache else None

    def __len__(self) -> int:
        """Number of images in use."""
        return len(self._pairs)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self._size

    def name(self, index: int) -> str:
        """The file's name without its suffix."""
        check_index(index, len(self))
        return self._pairs[index].image.stem

    def load(self, index: int) -> Frame:
        """The frame, read or remembered."""
        check_index(index, len(self))
        return self._read(index) if self._cache is None else self._cache.get(index, self._read)

    def scan(self) -> None:
        """Read every file of the split; with the cache on, that is all the reading there will be."""
        scan_frames(self.load, len(self))

    def _read(self, index: int) -> Frame:
        pair = self._pairs[index]
        image, label = read_image(pair.image), read_label(pair.label)
        self._check_shapes(pair, image, label)
        label = _without_void(pair.label, label)
        return resize_image(image, self._size), resize_label(label, self._size)

    def _check_shapes(self, pair: FramePair, image: NDArray[np.uint8], label: NDArray[np.uint8]) -> None:
        if image.shape[:2] != label.shape:
            raise DataError(
                f"{pair.label}: the label is {_text(label.shape)}, its image {pair.image.name} is {_text(image.shape)},"
                " expected the same height x width; restore both from one copy of CamVid"
            )
        if not self._resize and image.shape[:2] != self._size:
            raise DataError(
                f"{pair.image}: got {_text(image.shape)}, expected {_text(self._size)} like the first image;"
                f" set data.size=[{self._size[0]},{self._size[1]}] to resize all"
            )


def _without_void(path: Path, label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The label map with void as `IGNORE_INDEX`.

    Raises:
        DataError: If it holds an id that is neither a class nor void.
    """
    counts = np.bincount(label.ravel(), minlength=256)
    unknown = [int(value) for value in np.flatnonzero(counts) if value > VOID_ID and value != IGNORE_INDEX]
    if unknown:
        raise DataError(
            f"{path}: unknown label id {', '.join(map(str, unknown[:5]))} ({int(counts[unknown].sum())} pixels),"
            f" expected 0-10, {VOID_ID} or {IGNORE_INDEX} (void); use the label maps of the SegNet copy of CamVid"
        )
    return np.where(label == VOID_ID, np.uint8(IGNORE_INDEX), label)


def _text(shape: tuple[int, ...]) -> str:
    """Height and width in words."""
    return f"{shape[0]}x{shape[1]}"
