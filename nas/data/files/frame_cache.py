"""Decoded images in memory, filled while they are asked for, shared with worker processes."""

from __future__ import annotations

import mmap
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nas.data.dataset import Frame
from nas.devices.memory import available_bytes
from nas.errors import DataError

MOST = 0.5
"""Share of the available memory that the images of a split may take [ours]."""


class FrameCache:
    """Images and labels of one split as uint8, in memory that forked worker processes share.

    Workers live for one epoch only; what they decode must outlive them, hence shared memory. It is anonymous, so
    the size of /dev/shm does not matter, and takes up room only once it is written to. Two processes may fill the same
    place at the same time: they write the same bytes. Where processes do not fork, each starts with an empty cache.

    Args:
        count: Number of images.
        size: Height and width of all of them in pixels.

    Raises:
        DataError: If they would take more than `MOST` of the memory that is available, or there is not that much.
    """

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        import torch

        height, width = size
        self._shape = (count, size)
        needed, available = 4 * count * height * width, available_bytes(torch.device("cpu"))
        stated = f"data.cache: {count} images of {height}x{width} need {needed / 2**30:.1f} GiB of memory"
        if available is not None and needed > MOST * available:
            raise DataError(
                f"{stated}, expected at most half of the {available / 2**30:.1f} GiB that are available;"
                " set data.cache=false or a smaller data.size"
            )
        try:
            self._images = _shared((count, height, width, 3))
            self._labels = _shared((count, height, width))
            self._filled = _shared((count,))
        except OSError as error:
            raise DataError(f"{stated}: {error.strerror}; set data.cache=false or a smaller data.size") from error

    def __reduce__(self) -> tuple[type[FrameCache], tuple[int, tuple[int, int]]]:
        """Pickle the shape alone: a spawned process gets an empty cache."""
        return (FrameCache, self._shape)

    def get(self, index: int, read: Callable[[int], Frame]) -> Frame:
        """The frame at the index, read-only; `read` is called for it if it has not been read before."""
        if not self._filled[index]:
            self._images[index], self._labels[index] = read(index)
            self._filled[index] = 1
        image, label = self._images[index], self._labels[index]
        image.setflags(write=False)
        label.setflags(write=False)
        return image, label


def _shared(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Zeros in anonymous memory that child processes share."""
    count = int(np.prod(shape))
    return np.frombuffer(mmap.mmap(-1, max(count, 1)), dtype=np.uint8, count=count).reshape(shape)
