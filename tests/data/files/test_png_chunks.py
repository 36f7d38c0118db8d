import io
import struct

import numpy as np
import pytest
from PIL import Image

from nas.data.files.png_chunks import damage, orientation_follows
from tests.label_encodings import png_of

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7)).astype(np.uint8)
ORIENTED = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


@pytest.fixture
def png():
    whole = io.BytesIO()
    Image.fromarray(PIXELS).save(whole, "PNG", compress_level=1)
    return whole.getvalue()


def test_a_whole_file_has_no_damage_whatever_follows_it(png):
    assert damage(io.BytesIO(png)) is None
    assert damage(io.BytesIO(png + b"appended by a camera")) is None


def test_every_changed_byte_is_found(png):
    for at in range(8, len(png)):
        changed = bytearray(png)
        changed[at] ^= 1
        assert damage(io.BytesIO(changed)) is not None, at


def test_every_end_that_is_missing_is_found(png):
    for size in range(8, len(png)):
        assert damage(io.BytesIO(png[:size])) is not None, size


@pytest.mark.parametrize(
    ("chunk", "follows"),
    [
        ((b"eXIf", ORIENTED), True),
        ((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='6'/>"), True),
        ((b"zTXt", b"Raw profile type exif\0\0"), True),
        ((b"tEXt", b"date:create\x002020-01-01T00:00:00"), False),
    ],
)
def test_an_orientation_behind_the_pixels_is_noticed(tmp_path, chunk, follows):
    path = png_of(tmp_path / "a.png", PIXELS, bits=8, colour_type=0, after=[chunk])
    with path.open("rb") as file:
        file.seek(5)
        assert orientation_follows(file) is follows
        assert file.tell() == 5


def test_a_file_that_breaks_off_or_lies_about_lengths_has_no_orientation_behind(png):
    for size in range(8, len(png), 5):
        assert not orientation_follows(io.BytesIO(png[:size]))
    assert not orientation_follows(io.BytesIO(png[:8] + struct.pack(">I", 2**32 - 1) + b"IDAT"))
