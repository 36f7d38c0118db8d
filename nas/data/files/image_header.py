"""What the header of an image file states beyond what Pillow hands on: depth, frames, orientation, compression."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError

from nas.data.files.png_chunks import orientation_follows
from nas.errors import DataError

BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""Errors of Pillow for files that are truncated, corrupt or no images at all."""
_BITS_PER_SAMPLE, _COMPRESSION, _SUBFILE = 258, 259, 254
"""Tags of TIFF 6.0."""
_REDUCED_OR_MASK = 1 | 4
"""Bits of TIFF's NewSubfileType: a smaller copy of another page, or its transparency."""
_LOSSLESS_TIFF = frozenset({1, 2, 3, 4, 5, 8, 32771, 32773, 32946, 34925, 50000})
"""Compressions of TIFF that keep every value: none, fax, LZW, deflate, packed bits, LZMA, Zstandard."""
_LOSSLESS = frozenset({"PNG", "BMP", "DIB", "GIF", "PPM", "TGA", "PCX"})
"""Pillow's names of formats that keep every value, whatever their settings."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Orientation -> what turns the pixels as stored upright (Exif 2.32, tag 0x0112; 1 is upright)."""
_TURNED_BACK = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
"""Orientation -> the inverse, where it is another one."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Header of an image file.

    Args:
        stored: Height and width of the pixels as stored.
        orientation: The EXIF tag Orientation, 1 to 8; 1 where there is none.
        alpha: Whether pixels may be transparent.
    """

    stored: tuple[int, int]
    orientation: int
    alpha: bool

    @property
    def sideways(self) -> bool:
        """Whether turning it upright swaps height and width."""
        return self.orientation >= 5

    def size(self, *, upright: bool) -> tuple[int, int]:
        """Height and width, turned upright or as stored."""
        return self.stored[::-1] if upright and self.sideways else self.stored


def header_of(picture: Image.Image) -> ImageHeader:
    """The header of a file that Pillow has opened and not yet decoded."""
    orientation = _orientation(picture)
    height, width = picture.height, picture.width
    if picture.format == "TIFF" and _tags(picture).get(ExifTags.Base.Orientation) in range(5, 9):  # Pillow has swapped them
        height, width = width, height
    return ImageHeader((height, width), orientation, "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info)


def turned(picture: Image.Image, orientation: int, *, upright: bool) -> Image.Image:
    """A decoded picture turned upright, or as it is stored: Pillow turns TIFF files on its own and leaves the others."""
    if picture.format == "TIFF":
        back = _TURNED_BACK.get(orientation, TURNS.get(orientation))
        return picture if upright or back is None else picture.transpose(back)
    return picture.transpose(TURNS[orientation]) if upright and orientation in TURNS else picture


def bits_of(picture: Image.Image) -> int:
    """Bits of one value of a pixel, in formats of which Pillow keeps only 8 without scaling them.

    Args:
        picture: The opened file; its place in the file is kept.
    """
    if picture.format == "PNG":
        return _bytes_at(picture, 24, 1)[0]
    if picture.format == "TIFF":
        return int(max(_tags(picture).get(_BITS_PER_SAMPLE, (1,))))
    return 1 if picture.mode == "1" else 8


def refuse_frames(picture: Image.Image, path: Path) -> None:
    """Make sure that a file holds one image.

    Pictures that phones put behind the photo (MPO) and smaller copies in a TIFF file do not count.

    Raises:
        DataError: If it is animated or has several pages, of which all but the first would be left out.
    """
    count = 1 if picture.format == "MPO" else _frames(picture)
    if count > 1:
        raise DataError(f"{path}: got {count} frames or pages in a {picture.format} file, expected one image; save each as a file")


def lossy_format(picture: Image.Image) -> str | None:
    """Name of the format where its values may differ from those that were saved; None: they are the same."""
    if picture.format == "TIFF":
        compression = _tags(picture).get(_COMPRESSION, 1)
        return None if compression in _LOSSLESS_TIFF else f"TIFF with {picture.info.get('compression', compression)} compression"
    if picture.format == "WEBP":
        return None if _is_lossless_webp(picture) else "lossy WebP"
    if picture.format == "MPO":
        return "JPEG"
    if picture.format == "PPM" and picture.tile[0].codec_name != "raw":  # type: ignore[attr-defined]
        return "PPM whose largest value is not 255"
    return None if picture.format in _LOSSLESS else picture.format


def unreadable(path: Path, error: Exception | str) -> DataError:
    """The error for a file that Pillow cannot read, with its reason in one line."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: no such file; restore it")
    if isinstance(error, PermissionError):
        return DataError(f"{path}: no right to read it; give it by chmod, or run as who has it")
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return DataError(f"{path}: too many files are open to read it; allow more by ulimit -n 4096 before the command")
    reason = "no image that Pillow knows" if isinstance(error, UnidentifiedImageError) else str(error).partition("\n")[0]
    return DataError(f"{path}: unreadable or truncated ({reason}), expected a whole image file; copy or download it again")


def _frames(picture: Image.Image) -> int:
    """Number of frames, or of pages of a TIFF file that are images of their own.

    Raises:
        OSError: If a page is broken, for which Pillow has many errors.
    """
    try:
        count = int(getattr(picture, "n_frames", 1))
        if count == 1 or picture.format != "TIFF":
            return count
        pages = []
        for page in range(count):
            picture.seek(page)
            pages.append(_tags(picture).get(_SUBFILE, 0) & _REDUCED_OR_MASK)
        picture.seek(0)
    except (TypeError, KeyError, IndexError, struct.error) as error:
        raise OSError(f"a page of it is broken: {error}") from error
    return 1 + pages[1:].count(0)


def _orientation(picture: Image.Image) -> int:
    """The tag; a block of EXIF data that cannot be read states none, as for any viewer."""
    try:
        if picture.format == "PNG" and not orientation_follows(_file(picture)):
            value = Image.Image.getexif(picture).get(ExifTags.Base.Orientation)  # PNG's own would decode the pixels
        else:
            value = picture.getexif().get(ExifTags.Base.Orientation)
    except (ValueError, SyntaxError, KeyError, TypeError, struct.error):
        return 1
    return value if type(value) is int and value in TURNS else 1


def _is_lossless_webp(picture: Image.Image) -> bool:
    """Whether the pixels of a WebP file are in a chunk VP8L (RFC 9649)."""
    at = 12
    while len(head := _bytes_at(picture, at, 8)) == 8:
        if head[:4] in (b"VP8L", b"VP8 "):
            return head[:4] == b"VP8L"
        length = int.from_bytes(head[4:], "little")
        at += 8 + length + length % 2
    return False


def _bytes_at(picture: Image.Image, at: int, count: int) -> bytes:
    """Some bytes of the file; its place is kept."""
    file = _file(picture)
    place = file.tell()
    file.seek(at)
    found: bytes = file.read(count)
    file.seek(place)
    return found


def _file(picture: Image.Image) -> Any:  # noqa: ANN401 - Pillow states no type for it on the base class
    return picture.fp  # type: ignore[attr-defined]


def _tags(picture: Image.Image) -> Any:  # noqa: ANN401 - Pillow's directory of a TIFF page
    return picture.tag_v2  # type: ignore[attr-defined]
