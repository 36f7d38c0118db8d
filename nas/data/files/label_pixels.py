"""What a label file stores for each pixel: a value, and perhaps the colour that a palette gives it, or a colour alone.

A palette of greys alone is a grey image as a lossless optimiser (optipng, oxipng) writes it, whose indices say nothing: its values
are the grey levels. Where any entry of the palette as stored has a colour, the values are the indices.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas.data.files.decode import opened, rgb
from nas.data.files.image_header import ImageHeader, bits_of, header_of, lossy_format, refuse_frames, turned
from nas.errors import DataError

_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L")
"""Pillow's modes of whole numbers of more than 8 bits."""
_ENTRY_BYTES = {"RGB": 3, "BGR": 3, "RGB;L": 3}
"""Layout of a stored palette in Pillow's words -> bytes of an entry; else 4."""


@dataclass(frozen=True, slots=True)
class StoredLabel:
    """The values of a label file.

    Args:
        values: [H, W]: indices where there is a palette with colours, else grey levels.
        header: Size and orientation.
        palette: The palette's colours [n, 3] where the values are indices; else None.
        flags: Whether nothing but black (0) and white (255) can be stored, which may also stand for 0 and 1.
        permuted: Whether the values are levels that stood in a palette of greys at other indices.
        bits: Bits of a pixel of a grey PNG, whose levels 0 to 2^bits - 1 are scaled to 0 to 255; else 8.
    """

    values: NDArray[np.uint8]
    header: ImageHeader
    palette: NDArray[np.uint8] | None = None
    flags: bool = False
    permuted: bool = False
    bits: int = 8


def read_values(path: Path, *, upright: bool) -> StoredLabel:
    """A label file of one value a pixel: grey, a palette, or equal channels, all opaque and with values below 256.

    Args:
        path: The file.
        upright: Turn it as its own EXIF orientation says.

    Raises:
        DataError: If it cannot be read to its end, its compression is lossy, or it holds anything else.
    """
    with opened(path) as picture:
        header = _checked_header(picture, path)
        bits, entries = bits_of(picture), _palette_entries(picture)
        picture.load()
        upright_picture = turned(picture, header.orientation, upright=upright)
        if picture.mode == "P":
            return _through_palette(upright_picture, header, entries, path)
        if bits > 8 and picture.mode not in _DEEP_MODES:
            raise _unfit(path, f"{bits} bits a channel (mode {picture.mode})")
        scaled = bits if picture.format == "PNG" and picture.mode == "L" else 8
        return StoredLabel(_grey(upright_picture, path), header, flags=bits == 1, bits=scaled)


def read_colours(path: Path, *, upright: bool) -> tuple[NDArray[np.uint8], ImageHeader]:
    """The colours [H, W, 3] of a label file, and its header.

    Args:
        path: The file.
        upright: Turn it as its own EXIF orientation says.

    Raises:
        DataError: If it cannot be read to its end, its compression is lossy, it has more than 8 bits a channel, or transparent
            pixels have a colour.
    """
    with opened(path) as picture:
        header = _checked_header(picture, path)
        bits = bits_of(picture)
        if bits > 8 or picture.mode in (*_DEEP_MODES, "F", "CMYK", "LAB", "HSV", "YCbCr"):
            raise DataError(
                f"{path}: the mask has pixels of mode {picture.mode} with {bits} bits a channel, expected RGB colours of 8 bits;"
                " convert it"
            )
        picture.load()
        return rgb(turned(picture, header.orientation, upright=upright), path, alpha=header.alpha), header


def lossy_format_of(path: Path) -> str | None:
    """Name of the format of a file where its values may differ from those that were saved; None: they are the same.

    Raises:
        DataError: If it cannot be read.
    """
    with opened(path) as picture:
        return lossy_format(picture)


def used_values(values: NDArray[np.uint8]) -> list[int]:
    """The distinct values of a label, ascending."""
    used: list[int] = np.flatnonzero(cv2.calcHist([values], [0], None, [256], [0, 256])).tolist()
    return used


def _checked_header(picture: Image.Image, path: Path) -> ImageHeader:
    """The header of a label file whose format keeps every value."""
    refuse_frames(picture, path)
    lossy = lossy_format(picture)
    if lossy is not None:
        raise DataError(
            f"{path}: the mask is stored as {lossy}, which may change values, expected PNG or another lossless format;"
            " export it again from where it was made, as what it held is lost"
        )
    return header_of(picture)


def _through_palette(picture: Image.Image, header: ImageHeader, entries: int, path: Path) -> StoredLabel:
    """Indices, or the levels of a palette of greys."""
    indices = np.asarray(picture)
    palette = np.array(picture.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)[:entries]
    if (palette != palette[:, :1]).any():
        return StoredLabel(indices, header, palette=palette)
    used = used_values(indices)
    if used[-1] >= entries:
        raise _unfit(path, f"index {used[-1]} and a palette of {entries} greys")
    levels = palette[:, 0]
    permuted = bool((levels[used] != np.array(used)).any())
    if permuted and picture.has_transparency_data:
        _refuse_transparent(np.asarray(picture.convert("RGBA"))[..., 3], path)
    return StoredLabel(levels[indices], header, flags=bool(np.isin(levels, (0, 255)).all()), permuted=permuted)


def _grey(picture: Image.Image, path: Path) -> NDArray[np.uint8]:
    """The one value [H, W] of each pixel of a picture without a palette."""
    if picture.mode in _DEEP_MODES:
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 255:
            raise _unfit(path, f"values from {values.min()} to {values.max()} of more than 8 bits")
        return values.astype(np.uint8)
    if picture.mode not in ("1", "L", "LA", "RGB", "RGBA"):
        raise _unfit(path, f"pixels of mode {picture.mode}")
    if picture.has_transparency_data:
        pixels = np.asarray(picture.convert("RGBA"))
        _refuse_transparent(pixels[..., 3], path)
    elif picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))
    else:
        pixels = np.asarray(picture)
    red = pixels[..., 0]
    if (pixels[..., :3] != red[..., None]).any():
        raise _unfit(path, f"colours (mode {picture.mode})", "state the classes by colour: in classes.yaml, or convert it to ids")
    return np.ascontiguousarray(red)


def _refuse_transparent(alpha: NDArray[np.uint8], path: Path) -> None:
    count = int((alpha < 255).sum())
    if count:
        raise _unfit(path, f"{count} transparent pixels", "save it without transparency, with the id that those pixels are to have")


def _palette_entries(picture: Image.Image) -> int:
    """Colours of the palette as stored, before Pillow fills it up to 256."""
    if picture.palette is None:
        return 0
    layout, colours = picture.palette.getdata()
    return len(colours) // _ENTRY_BYTES.get(layout, 4)


def _unfit(path: Path, got: str, fix: str = "convert it") -> DataError:
    """The error for a label file that does not hold one id a pixel."""
    return DataError(f"{path}: the mask has {got}, expected one class id of at most 8 bits a pixel; {fix}")
