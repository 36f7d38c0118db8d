"""Label files as tools write them: what lossless optimisers, editors and cameras make of one map of ids."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def save_palette(path: Path, indices: np.ndarray, colours: Sequence[Sequence[int]], **settings: object) -> Path:
    """A palette PNG whose stored palette holds these colours and no more."""
    picture = Image.fromarray(indices.astype(np.uint8))
    picture.putpalette([part for colour in colours for part in colour])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **settings)
    return path


def save_optimised(path: Path, ids: np.ndarray) -> Path:
    """Ids as optipng and oxipng write them: as indices into a palette of those greys that occur, the most frequent ones last."""
    greys, indices, counts = np.unique(ids, return_inverse=True, return_counts=True)
    order = np.argsort(counts, kind="stable")
    return save_palette(path, np.argsort(order)[indices.reshape(ids.shape)], [[grey] * 3 for grey in greys[order].tolist()])


def save_turned(path: Path, upright: np.ndarray, orientation: int, **settings: object) -> Path:
    """Pixels stored so that the EXIF tag Orientation turns them into the given ones."""
    undone = {2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.swapaxes(0, 1)}
    undone |= {6: np.rot90, 7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: lambda a: np.rot90(a, -1)}
    stored = np.ascontiguousarray(undone[orientation](upright)) if orientation != 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stored).save(path, exif=exif.tobytes(), **settings)
    return path


def png_of(path: Path, pixels: np.ndarray, *, bits: int, colour_type: int, after: Sequence[tuple[bytes, bytes]] = ()) -> Path:
    """A PNG of packed or deep pixels, which Pillow does not write.

    Args:
        path: The file.
        pixels: Values as stored [H, W] or [H, W, C].
        bits: 1, 2, 4, 8 or 16 a value.
        colour_type: 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA.
        after: Chunks behind the pixels.
    """
    height, width = pixels.shape[:2]
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in pixels]
    else:
        planes = np.unpackbits(pixels.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
        rows = [np.packbits(row.ravel()).tobytes() for row in planes]
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", head), (b"IDAT", body), *after, (b"IEND", b"")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks))
    return path


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
