"""Codes of label files: a class is an id in one channel, or an RGB colour.

A code is a value: a table from what is stored to the class id or void. Whatever the table lacks is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.classes.class_set import Colour
from nas.data.files.decode import read_image, read_label
from nas.errors import DataError

_UNKNOWN = 254
"""Stands for what a table lacks while a file is read: class ids end at 253, and 255 is void."""
_SHOWN = 5
"""Unknown values that a message lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdCode:
    """One 8-bit channel of ids.

    Args:
        classes: Stored id -> class id or void.
        expected: The known ids, in words.
        fix: What to do about an unknown one.
    """

    classes: Mapping[int, int]
    expected: str
    fix: str

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Class ids [H, W] of a label file.

        Raises:
            DataError: If it cannot be read, or holds an unknown id.
        """
        stored = read_label(path)
        table = np.full(256, _UNKNOWN, dtype=np.uint8)
        table[list(self.classes.keys())] = list(self.classes.values())
        classes = np.empty_like(stored)
        cv2.LUT(stored, table, classes)
        strange = classes == _UNKNOWN
        if strange.any():
            ids = ", ".join(map(str, np.unique(stored[strange]).tolist()[:_SHOWN]))
            pixels = int(strange.sum())
            raise DataError(f"{path}: unknown label id {ids} ({pixels} pixels), expected {self.expected}; {self.fix}")
        return classes


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourCode:
    """RGB colours.

    Args:
        classes: Stored colour -> class id or void.
        fix: What to do about an unknown one.
    """

    classes: Mapping[Colour, int]
    fix: str

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Class ids [H, W] of a label file.

        Raises:
            DataError: If it cannot be read, or holds an unknown colour.
        """
        pixels = read_image(path).astype(np.uint32)
        stored = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
        known = np.array(sorted(red << 16 | green << 8 | blue for red, green, blue in self.classes), dtype=np.uint32)
        ids = np.array([self.classes[_colour(number)] for number in known.tolist()], dtype=np.uint8)
        place = np.searchsorted(known, stored).clip(max=len(known) - 1)
        strange = known[place] != stored
        if strange.any():
            unknown, counts = np.unique(stored[strange], return_counts=True)
            colours = ", ".join(str(list(_colour(number))) for number in unknown[:_SHOWN].tolist())
            more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            raise DataError(
                f"{path}: unknown label colour {colours}{more} ({int(counts.sum())} pixels),"
                f" expected one of the {len(known)} known ones; {self.fix}"
            )
        classes: NDArray[np.uint8] = ids[place]
        return classes


LabelCode = IdCode | ColourCode
"""Code of a data set's label files."""


def _colour(number: int) -> Colour:
    """Red, green and blue of 0xRRGGBB."""
    return number >> 16, number >> 8 & 255, number & 255
