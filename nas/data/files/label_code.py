"""Codes of label files: a class is an id in one channel, or an RGB colour.

A code is a value: a table from what is stored to the class id or void. Whatever the table lacks is refused by name.

White pixels of one bit may stand for 255 (their level) or for 1 (their bit). Where the ids of all classes are 0 and 1 and 255 is
no class, they are 1. Else they are 255: lossless optimisers write a mask of 0 and 255 in one bit. Where both are classes, the file
is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.classes.class_set import Colour
from nas.data.dataset import IGNORE_INDEX
from nas.data.files.image_header import ImageHeader
from nas.data.files.label_encoding import Encoding
from nas.data.files.label_pixels import StoredLabel, read_colours, read_values, used_values
from nas.errors import DataError

_UNKNOWN = 254
"""Stands for what a table lacks while a file is read: class ids end at 253, and 255 is void."""
_SHOWN = 5
"""Unknown values that a message lists."""


@dataclass(frozen=True, slots=True)
class ReadLabel:
    """A label file as it was read.

    Args:
        classes: Class ids or void [H, W].
        header: Size as stored and orientation of the file.
        stored: The values of a file of ids; None for one of colours.
        bits: Whether white pixels of one bit were read as id 1.
    """

    classes: NDArray[np.uint8]
    header: ImageHeader
    stored: StoredLabel | None = None
    bits: bool = False

    def encoding(self) -> Encoding:
        """How the file stores ids, to be compared with the other files of a split."""
        if self.stored is None:
            return Encoding()
        used = used_values(self.stored.values)
        palette = [] if self.stored.palette is None else self.stored.palette.tolist()
        colours = {index: (palette[index][0], palette[index][1], palette[index][2]) for index in used if index < len(palette)}
        return Encoding(colours, self.stored.permuted, self.bits, not self.stored.flags and not {1, 255}.isdisjoint(used))


@dataclass(frozen=True, slots=True, kw_only=True)
class IdCode:
    """One channel of ids.

    Args:
        classes: Stored id -> class id or void.
        expected: The known ids, in words.
        fix: What to do about an unknown one.
    """

    classes: Mapping[int, int]
    expected: str
    fix: str

    def read(self, path: Path, *, upright: bool = True) -> ReadLabel:
        """The classes of a label file.

        Args:
            path: The file.
            upright: Turn it as its own EXIF orientation says.

        Raises:
            DataError: If it cannot be read, or holds an unknown id.
        """
        stored = read_values(path, upright=upright)
        values = stored.values
        if stored.bits in (2, 4):
            self._refuse_unscaled(stored, path)
        bits = stored.flags and bool(values.any()) and self._white_is_one(path)
        if bits:
            values = np.minimum(values, 1)
        table = np.full(256, _UNKNOWN, dtype=np.uint8)
        table[list(self.classes.keys())] = list(self.classes.values())
        classes = np.empty_like(values)
        cv2.LUT(values, table, classes)
        strange = classes == _UNKNOWN
        if strange.any():
            ids = ", ".join(map(str, np.unique(values[strange]).tolist()[:_SHOWN]))
            pixels = f"{int(strange.sum())} pixels{_origin(stored)}"
            raise DataError(f"{path}: unknown label id {ids} ({pixels}), expected {self.expected}; {self.fix}")
        return ReadLabel(classes, stored.header, stored, bits)

    def _refuse_unscaled(self, stored: StoredLabel, path: Path) -> None:
        """Refuse a PNG of 2 or 4 bits whose levels may be ids as they are stored, and not as PNG scales them.

        A lossless optimiser takes the fewest bits that hold all levels, so a file that takes more of them is not from one.

        Raises:
            DataError: If fewer bits would do, and both readings give known ids.
        """
        step = 255 // (2**stored.bits - 1)
        scaled = used_values(stored.values)
        plain = [value // step for value in scaled]
        fewer = all(value % (255 // (2 ** (stored.bits // 2) - 1)) == 0 for value in scaled)
        if fewer and scaled != plain and self.classes.keys() >= {*scaled, *plain}:
            ids = " or ".join(", ".join(map(str, values)) for values in (plain, scaled))
            raise DataError(
                f"{path}: the mask has {stored.bits} bits a pixel, so its ids may be {ids}; convert it to ids of 8 bits"
            )

    def _white_is_one(self, path: Path) -> bool:
        """Whether white pixels of one bit are id 1; else they are 255.

        Raises:
            DataError: If both are classes.
        """
        one, white = self.classes.get(1, IGNORE_INDEX), self.classes.get(255, IGNORE_INDEX)
        if IGNORE_INDEX not in (one, white) and one != white:
            raise DataError(
                f"{path}: the mask has 1 bit a pixel, whose white may be id 1 or id 255, and both are classes;"
                " convert it to ids of 8 bits"
            )
        trained = {stored for stored, class_id in self.classes.items() if class_id != IGNORE_INDEX}
        return one != IGNORE_INDEX and trained <= {0, 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourCode:
    """RGB colours.

    Args:
        classes: Stored colour -> class id or void.
        fix: What to do about an unknown one.
    """

    classes: Mapping[Colour, int]
    fix: str

    def read(self, path: Path, *, upright: bool = True) -> ReadLabel:
        """The classes of a label file.

        Args:
            path: The file.
            upright: Turn it as its own EXIF orientation says.

        Raises:
            DataError: If it cannot be read, or holds an unknown colour.
        """
        colours, header = read_colours(path, upright=upright)
        pixels = colours.astype(np.uint32)
        stored = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
        known = np.array(sorted(red << 16 | green << 8 | blue for red, green, blue in self.classes), dtype=np.uint32)
        ids = np.array([self.classes[_colour(number)] for number in known.tolist()], dtype=np.uint8)
        place = np.searchsorted(known, stored).clip(max=len(known) - 1)
        strange = known[place] != stored
        if strange.any():
            unknown, counts = np.unique(stored[strange], return_counts=True)
            shown = ", ".join(str(list(_colour(number))) for number in unknown[:_SHOWN].tolist())
            more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            raise DataError(
                f"{path}: unknown label colour {shown}{more} ({int(counts.sum())} pixels),"
                f" expected one of the {len(known)} known ones; {self.fix}"
            )
        return ReadLabel(ids[place], header)


LabelCode = IdCode | ColourCode
"""Code of a data set's label files."""


def _origin(stored: StoredLabel) -> str:
    """Where the ids of a file come from, where that is not plain."""
    if stored.palette is not None:
        return ", indices of its palette"
    if stored.flags:
        return ", white of 1 bit"
    if stored.bits < 8:
        return f", levels of {stored.bits} bits as PNG scales them"
    return ", levels of its palette of greys" if stored.permuted else ""


def _colour(number: int) -> Colour:
    """Red, green and blue of 0xRRGGBB."""
    return number >> 16, number >> 8 & 255, number & 255
