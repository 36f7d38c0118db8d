"""Image and label files as arrays; a broken file is a `DataError` that names it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from nas.errors import DataError

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""Errors of Pillow for files that are truncated, corrupt or no images at all."""
_ENDS = {b"\x89PNG": b"IEND\xae\x42\x60\x82", b"\xff\xd8\xff": b"\xff\xd9"}
"""First bytes of a kind of file -> its last bytes."""
_DEEP_MODES = ("I", "F")
"""Prefixes of Pillow's modes for pixels of more than 8 bits, which it would clip."""
_LABEL_MODES = ("L", "P")
"""Pillow's names for one channel of 8 bits: grey values, or indices into a palette."""


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image file, from its header.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def read_image(path: Path, *, upright: bool = False) -> NDArray[np.uint8]:
    """An image file as [H, W, 3] (RGB).

    Args:
        path: The file.
        upright: Turn it as its EXIF orientation says; else pixels are as stored, as label files have them.

    Raises:
        DataError: If it cannot be read to its end.
    """
    try:
        with Image.open(path) as picture:
            mode = picture.mode
            if upright:
                ImageOps.exif_transpose(picture, in_place=True)
            pixels = np.asarray(picture.convert("RGB"))
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    if mode.startswith(_DEEP_MODES):
        raise DataError(f"{path}: the image has pixels of mode {mode}, expected 8 bits a channel; convert it")
    return pixels


def check_whole(path: Path) -> None:
    """Make sure that an image file is whole, for PNG and JPEG by its first and last bytes alone.

    That takes a fraction of a millisecond and finds copies and downloads that broke off. Whatever ends otherwise is decoded.

    Raises:
        DataError: If it is not.
    """
    try:
        with path.open("rb") as file:
            end = next((_ENDS[start] for start in _ENDS if file.peek(len(start)).startswith(start)), None)
            if end is not None and file.seek(0, os.SEEK_END) >= len(end):
                file.seek(-len(end), os.SEEK_END)
                if file.read() == end:
                    return
    except OSError as error:
        raise _unreadable(path, error) from error
    read_image(path)


def read_label(path: Path) -> NDArray[np.uint8]:
    """A label file of one 8-bit channel as [H, W], values as stored.

    Raises:
        DataError: If it cannot be read to its end, or holds anything but one channel of 8 bits.
    """
    try:
        with Image.open(path) as picture:
            mode = picture.mode
            values = np.asarray(picture)
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    if mode not in _LABEL_MODES:
        raise DataError(f"{path}: the label has pixels of mode {mode}, expected one 8-bit channel of class ids; convert it")
    return values


def _unreadable(path: Path, error: Exception) -> DataError:
    """The error for a file that Pillow cannot read, with its reason in one line."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: no such file; restore it")
    reason = "no image that Pillow knows" if isinstance(error, UnidentifiedImageError) else str(error).splitlines()[0]
    return DataError(f"{path}: unreadable or truncated ({reason}), expected a whole image file; copy or download it again")
