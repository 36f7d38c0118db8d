"""The chunks of PNG files: whether they are as they were written, and what stands behind the pixels.

PNG specification, third edition: section 5.3 (chunk layout) and 5.5 (CRC).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""First bytes of a PNG file."""
_ORIENTED = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
"""Beginnings of text chunks that may state an orientation, beside the chunk eXIf."""
_MOST = 2**31 - 1
"""Largest length of a chunk."""


def damage(file: BinaryIO) -> str | None:
    """What is wrong with the chunks of a PNG file, by their checksums; None: nothing.

    About 0.5 ms for each MB; nothing is decoded. Bytes after the last chunk do not count.

    Args:
        file: The file, at its beginning.
    """
    file.seek(len(SIGNATURE))
    while True:
        head = file.read(8)
        length, kind = int.from_bytes(head[:4]), head[4:]
        if len(head) < 8 or length > _MOST:
            return "the file ends before its last chunk" if len(head) < 8 else "a chunk has no valid length"
        body, checksum = file.read(length), file.read(4)
        if len(body) < length or len(checksum) < 4:
            return "the file ends before its last chunk"
        if zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(checksum):
            return f"the checksum of the chunk {kind.decode('ascii', 'replace')!r} is wrong"
        if kind == b"IEND":
            return None


def orientation_follows(file: BinaryIO) -> bool:
    """Whether a chunk after the pixels may state an orientation, which Pillow reads with the pixels alone.

    Args:
        file: The file, at any place, where it is left again.
    """
    place = file.tell()
    try:
        return any(pixels_came and _may_orient(kind, start) for kind, start, pixels_came in _heads(file))
    finally:
        file.seek(place)


def _may_orient(kind: bytes, start: bytes) -> bool:
    return kind == b"eXIf" or (kind in (b"tEXt", b"zTXt", b"iTXt") and start.startswith(_ORIENTED))


def _heads(file: BinaryIO) -> Iterator[tuple[bytes, bytes, bool]]:
    """Kind, first bytes, and whether pixels came before, of each chunk as far as the file goes."""
    at, pixels_came = len(SIGNATURE), False
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        yield head[4:], file.read(24) if head[4:] != b"IDAT" else b"", pixels_came
        pixels_came = pixels_came or head[4:] == b"IDAT"
        at += 12 + int.from_bytes(head[:4])
