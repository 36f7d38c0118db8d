import errno
import io
import os
from pathlib import Path

import pytest
from PIL import Image

from nas.data.files.decode import image_header
from nas.data.files.image_header import ImageHeader, lossy_format, unreadable
from nas.errors import DataError
from tests.label_encodings import png_of, save_turned
from tests.label_trees import noise

EXIF_6 = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_and_orientation_are_those_of_the_stored_pixels(tmp_path, suffix, orientation):
    path = save_turned(tmp_path / f"a.{suffix}", noise(0, (4, 6)), orientation)
    stored = (6, 4) if orientation >= 5 else (4, 6)
    header = image_header(path)
    assert header == ImageHeader(stored, orientation, alpha=False)
    assert header.size(upright=True) == (4, 6)
    assert header.size(upright=False) == stored


def test_an_orientation_behind_the_pixels_of_a_png_counts(tmp_path):
    path = png_of(tmp_path / "a.png", noise(0, (4, 6)), bits=8, colour_type=2, after=[(b"eXIf", EXIF_6)])
    assert image_header(path).orientation == 6


@pytest.mark.parametrize(
    "block", [b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0nonsense", b"Exif\0\0" + EXIF_6.replace(b"\x06\0\0", b"\x09\0\0")]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_exif_data_that_state_no_orientation_turn_nothing(tmp_path, block):
    Image.fromarray(noise(0, (4, 6))).save(tmp_path / "a.jpg", exif=block)
    assert image_header(tmp_path / "a.jpg").orientation == 1


def test_several_frames_and_pages_are_refused(tmp_path):
    frames = [Image.fromarray(noise(seed)) for seed in range(3)]
    for name in ("a.png", "a.webp", "a.tif", "a.gif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(DataError, match=rf"{name}: got 3 frames or pages in a \w+ file, expected one image"):
            image_header(tmp_path / name)


def test_a_broken_page_is_said(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(noise(0)).save(path, save_all=True, append_images=[Image.fromarray(noise(1))])
    content = path.read_bytes()
    at = content.rfind(b"\x00\x01\x04\x00\x01\x00\x00\x00")  # the tag ImageWidth of the second page
    path.write_bytes(content[:at] + b"\x00\x7f" + content[at + 2 :])
    with pytest.raises(DataError, match=r"a\.tif: unreadable or truncated \(a page of it is broken: Missing dimensions\)"):
        image_header(path)


def test_smaller_copies_and_what_phones_append_are_no_frames(tmp_path):
    big, small = Image.fromarray(noise(0, (8, 8))), Image.fromarray(noise(1, (4, 4)))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    big.save(tmp_path / "a.tif", save_all=True, append_images=[small])
    big.save(tmp_path / "b.jpg", "MPO", save_all=True, append_images=[small])
    with Image.open(tmp_path / "a.tif") as tif, Image.open(tmp_path / "b.jpg") as jpg:
        assert (tif.n_frames, jpg.format, jpg.n_frames) == (2, "MPO", 2)
    assert image_header(tmp_path / "a.tif").stored == image_header(tmp_path / "b.jpg").stored == (8, 8)


@pytest.mark.parametrize(
    ("form", "settings", "lossy"),
    [
        ("PNG", {}, None),
        ("BMP", {}, None),
        ("GIF", {}, None),
        ("PPM", {}, None),
        ("TIFF", {}, None),
        ("TIFF", {"compression": "tiff_lzw"}, None),
        ("TIFF", {"compression": "tiff_adobe_deflate"}, None),
        ("TIFF", {"compression": "jpeg"}, "TIFF with jpeg compression"),
        ("WEBP", {"lossless": True}, None),
        ("WEBP", {"lossless": True, "exif": EXIF_6}, None),
        ("WEBP", {}, "lossy WebP"),
        ("WEBP", {"exif": EXIF_6, "icc_profile": b"odd"}, "lossy WebP"),
        ("JPEG", {}, "JPEG"),
        ("MPO", {}, "JPEG"),
        ("JPEG2000", {}, "JPEG2000"),
    ],
)
def test_lossy_formats_have_names(form, settings, lossy):
    file = io.BytesIO()
    Image.fromarray(noise(0, (16, 16))).save(file, form, **settings)
    assert lossy_format(Image.open(file)) == lossy


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOENT, "no such file; restore it"),
        (errno.EACCES, "no right to read it; give it by chmod, or run as who has it"),
        (errno.EMFILE, "too many files are open to read it; allow more by ulimit -n 4096 before the command"),
        (errno.EIO, "unreadable or truncated ([Errno 5] Input/output error: 'a.png'), expected a whole image file; copy or"),
    ],
)
def test_what_keeps_a_file_from_being_read_is_told_from_damage(number, expected):
    assert str(unreadable(Path("a.png"), OSError(number, os.strerror(number), "a.png"))).startswith(f"a.png: {expected}")
