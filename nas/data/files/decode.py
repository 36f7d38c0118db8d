"""Image files as arrays; a broken file, or one that RGB of 8 bits cannot hold, is a `DataError` that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas.data.files.image_header import BROKEN, ImageHeader, bits_of, header_of, refuse_frames, turned, unreadable
from nas.data.files.png_chunks import SIGNATURE, damage
from nas.errors import DataError
from nas.files.regular_file import open_regular

_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_COLOURS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr")
"""Pillow's modes whose colours are those that RGB shows; others, such as CMYK, need their own profile for that."""
_DEEP_MODES = ("I", "F")
"""Prefixes of Pillow's modes for pixels of more than 8 bits, which it would clip."""


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A file opened by Pillow; what fails while it is read is a `DataError` that names it.

    Pillow is given an open file. From a path it maps uncompressed TIFF files into memory, and garbles those that it turns (13.0).
    """
    try:
        with open_regular(path) as file, Image.open(file) as picture:
            yield picture
    except DataError:
        raise
    except BROKEN as error:
        raise unreadable(path, error) from error


def image_header(path: Path) -> ImageHeader:
    """Size and orientation of an image file, from its header.

    Raises:
        DataError: If it cannot be read, or holds more than 8 bits a channel, several images, or other colours than RGB and grey.
    """
    with opened(path) as picture:
        _refuse_deep(picture, path)
        refuse_frames(picture, path)
        if picture.mode not in _COLOURS:
            raise DataError(
                f"{path}: got an image with {picture.mode} colours, expected RGB or grey, as others depend on a profile; convert it"
            )
        return header_of(picture)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image file turned upright, from its header, whatever its colours.

    Raises:
        DataError: If it cannot be read, or holds more than 8 bits a channel.
    """
    with opened(path) as picture:
        _refuse_deep(picture, path)
        return header_of(picture).size(upright=True)


def read_image(path: Path, *, upright: bool = True) -> NDArray[np.uint8]:
    """An image file as [H, W, 3] (RGB).

    Args:
        path: The file.
        upright: Turn it as its EXIF orientation says; else pixels are as stored.

    Raises:
        DataError: If it cannot be read to its end, holds more than 8 bits a channel or several images, or its transparent pixels
            have a colour that no viewer shows.
    """
    with opened(path) as picture:
        _refuse_deep(picture, path)
        refuse_frames(picture, path)
        header = header_of(picture)
        picture.load()
        return rgb(turned(picture, header.orientation, upright=upright), path, alpha=header.alpha)


def check_image(path: Path) -> ImageHeader:
    """The header of an image that is whole.

    A PNG is whole if the checksums of its chunks are right (about 0.5 ms a MB), a JPEG if its first and last bytes are: it has no
    checksums. Whatever ends otherwise, and whatever may be transparent, is decoded.

    Raises:
        DataError: If it is not, or cannot be shown as RGB of 8 bits without loss.
    """
    header = image_header(path)
    if header.alpha or not is_whole(path):
        read_image(path)
    return header


def is_whole(path: Path) -> bool:
    """Whether the file is known to be whole; False: it is not known.

    Raises:
        DataError: If it is a PNG that is not.
    """
    try:
        with open_regular(path) as file:
            if file.read(len(SIGNATURE)) == SIGNATURE:
                wrong = damage(file)
                if wrong is not None:
                    raise unreadable(path, wrong)
                return True
            file.seek(0)
            if file.read(len(_JPEG_START)) != _JPEG_START:
                return False
            file.seek(-len(_JPEG_END), 2)
            return file.read() == _JPEG_END
    except OSError as error:
        raise unreadable(path, error) from error


def rgb(picture: Image.Image, path: Path, *, alpha: bool) -> NDArray[np.uint8]:
    """The colours [H, W, 3] of a decoded picture.

    Raises:
        DataError: If a transparent pixel has any other colour than black, which erased regions keep and no viewer shows.
    """
    if not alpha:
        return np.asarray(picture.convert("RGB"))
    pixels = np.asarray(picture.convert("RGBA"))
    colours, hidden = pixels[..., :3], pixels[..., 3] == 0
    coloured = int((hidden & colours.any(axis=-1)).sum())
    if coloured:
        raise DataError(
            f"{path}: {coloured} pixels are transparent and have a colour that no viewer shows, expected opaque pixels;"
            " save it without transparency, on the background that it is meant to have"
        )
    return np.ascontiguousarray(colours)


def _refuse_deep(picture: Image.Image, path: Path) -> None:
    bits = 16 if picture.mode.startswith(_DEEP_MODES) else bits_of(picture)
    if bits > 8:
        raise DataError(
            f"{path}: the image has {bits} bits a channel (mode {picture.mode}), expected 8, as the file does not state their"
            " range; scale its values to 0-255 and save it again"
        )
