"""The classes of a data set, apart from its files: names and colours, and colours for those who name none."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.data.classes.palette import CAMVID_CLASSES, CAMVID_PALETTE

MAX_CLASSES = 254
"""Most classes of a data set: ids are bytes, and 255 is void."""

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassSet:
    """Names and colours of the classes 0 to K-1.

    Args:
        names: K distinct names.
        palette: The RGB colour [K, 3] in which each class is drawn, read-only.
        file: What states them; None: no file does.
    """

    names: tuple[str, ...]
    palette: NDArray[np.uint8]
    file: Path | None = None


def class_set(names: Sequence[str], colours: Sequence[Colour], file: Path | None = None) -> ClassSet:
    """Classes in the order given, and what states them."""
    palette = np.array(colours, dtype=np.uint8).reshape(len(names), 3)
    palette.setflags(write=False)
    return ClassSet(tuple(names), palette, file)


def numbered_classes(count: int) -> ClassSet:
    """Classes of which nothing but their number is known.

    >>> numbered_classes(2).names
    ('class 0', 'class 1')
    """
    return class_set([f"class {index}" for index in range(count)], distinct_colours(count))


def distinct_colours(count: int, taken: Collection[Colour] = ()) -> list[Colour]:
    """Colours that differ from each other, from black and from those taken.

    The bits of a counter, lowest first, dealt in turn to the highest free bits of red, green and blue: the colour map of
    the PASCAL VOC development kit (Everingham et al., 2010).

    >>> distinct_colours(3)
    [(128, 0, 0), (0, 128, 0), (128, 128, 0)]
    """
    colours: list[Colour] = []
    index = 0
    while len(colours) < count:
        index += 1
        red, green, blue = (sum((index >> (3 * step + channel) & 1) << (7 - step) for step in range(8)) for channel in range(3))
        if (red, green, blue) not in taken:
            colours.append((red, green, blue))
    return colours


CAMVID = ClassSet(CAMVID_CLASSES, CAMVID_PALETTE)
"""CamVid's 11 classes."""
