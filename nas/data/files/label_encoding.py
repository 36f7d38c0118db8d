"""How the label files of a split encode ids, and whether they agree: what one file alone does not show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nas.errors import DataError

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

_BY_COLOUR = "state the classes by colour: in classes.yaml, which reads masks whatever their indices"


@dataclass(frozen=True, slots=True)
class Encoding:
    """What one label file stores.

    Args:
        colours: Palette index in use -> its colour, where indices are ids; an index without an entry is left out.
        permuted: Whether ids are the levels of a palette of greys, and not its indices.
        bits: Whether white pixels of one bit were read as id 1.
        marked: Whether a pixel is stored as 1 or 255, apart from white of one bit.
    """

    colours: Mapping[int, Colour] = field(default_factory=dict)
    permuted: bool = False
    bits: bool = False
    marked: bool = False


def check_encodings(files: Iterable[tuple[Path, Encoding]]) -> None:
    """Make sure that the label files of one or several splits mean the same by what they store.

    Raises:
        DataError: If an index changes its colour from one palette to another, indices are ids in one file and mean nothing in
            another, or white of one bit was read as id 1 beside a file that stores 1 or 255 as such.
    """
    colour_of: dict[int, tuple[Colour, Path]] = {}
    first: dict[str, Path] = {}
    for path, encoding in files:
        for index, colour in encoding.colours.items():
            known, where = colour_of.setdefault(index, (colour, path))
            if known != colour:
                raise DataError(
                    f"{path}: palette index {index} is {list(colour)}, but {list(known)} in {where}, expected one colour an index:"
                    f" a tool has renumbered one of them; restore it, or {_BY_COLOUR}"
                )
        kinds = {"indices": bool(encoding.colours), "levels": encoding.permuted, "bits": encoding.bits, "marked": encoding.marked}
        for kind, is_so in kinds.items():
            if is_so:
                first.setdefault(kind, path)
    if "indices" in first and "levels" in first:
        raise DataError(
            f"{first['levels']}: the palette holds greys alone, whose levels would be the ids, but {first['indices']} has one with"
            f" colours, whose indices are; expected one kind of mask; restore one of them, or {_BY_COLOUR}"
        )
    if "bits" in first and "marked" in first:
        raise DataError(
            f"{first['bits']}: white pixels of 1 bit may be id 1 or 255, as {first['marked']} stores one of these as a number,"
            " expected 1 bit in all masks or in none; convert the first to ids of 8 bits"
        )
