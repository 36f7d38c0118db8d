import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from nas.data.files.label_pixels import read_colours, read_values, used_values
from nas.errors import DataError
from tests.label_encodings import png_of, save_optimised, save_palette, save_turned
from tests.label_trees import blocks, noise, save

IDS = blocks(0, [0, 1, 2, 3, 4, 5, 6, 8, 9, 11])
COLOURS = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 128)]


def values(path):
    return read_values(path, upright=True).values


def fault(path, read=values):
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: the mask ")
    assert "\n" not in message
    return message


def colours(path):
    return read_colours(path, upright=True)[0]


def test_a_palette_of_greys_is_a_grey_mask(tmp_path):
    path = save_optimised(tmp_path / "a.png", IDS)
    assert not np.array_equal(np.asarray(Image.open(path)), IDS)
    found = read_values(path, upright=True)
    np.testing.assert_array_equal(found.values, IDS)
    assert found.permuted
    assert found.palette is None


def test_levels_that_stand_at_their_own_indices_are_not_permuted(tmp_path):
    found = read_values(save_palette(tmp_path / "a.png", IDS, [[level] * 3 for level in range(12)]), upright=True)
    np.testing.assert_array_equal(found.values, IDS)
    assert not found.permuted


def test_indices_are_ids_where_the_palette_has_a_colour_though_only_greys_are_used(tmp_path):
    indices = blocks(0, [0, 3])
    found = read_values(save_palette(tmp_path / "a.png", indices, COLOURS), upright=True)
    np.testing.assert_array_equal(found.values, indices)
    assert found.palette.tolist() == [list(colour) for colour in COLOURS]


def test_an_index_without_an_entry_is_an_id_beside_colours_and_refused_beside_greys(tmp_path):
    indices = blocks(0, [0, 1, 255])
    found = read_values(save_palette(tmp_path / "a.png", indices, [*COLOURS, *[(9, 9, 9)] * 17]), upright=True)
    np.testing.assert_array_equal(found.values, indices)
    save_palette(tmp_path / "a.png", indices, [(level, level, level) for level in range(21)])
    assert "index 255 and a palette of 21 greys" in fault(tmp_path / "a.png")


def save_as(path, ids, how):
    """The same ids in another way that says nothing else."""
    opaque = np.full_like(ids, 255)
    if how == "16 bits":
        Image.fromarray(ids.astype(np.uint16)).save(path.with_suffix(".png"))
    elif how == "16 bits in TIFF":
        cv2.imwrite(str(path.with_suffix(".tif")), ids.astype(np.uint16))
    elif how == "4 bits":
        png_of(path.with_suffix(".png"), ids // 17, bits=4, colour_type=0)
    elif how == "lossless WebP":
        Image.fromarray(ids).convert("RGB").save(path.with_suffix(".webp"), lossless=True)
    else:
        layers = {"LA": [ids, opaque], "RGB": [ids] * 3, "RGBA": [ids, ids, ids, opaque]}[how]
        save(path.with_suffix(".png"), np.dstack(layers))
    return next(path.parent.iterdir())


@pytest.mark.parametrize("how", ["16 bits", "16 bits in TIFF", "4 bits", "lossless WebP", "LA", "RGB", "RGBA"])
def test_ids_are_read_whatever_holds_them(tmp_path, how):
    ids = blocks(0, [0, 17, 85, 255])
    np.testing.assert_array_equal(values(save_as(tmp_path / "a", ids, how)), ids)


def test_one_bit_is_black_and_white(tmp_path):
    ids = blocks(0, [0, 255])
    Image.fromarray(ids).convert("1").save(tmp_path / "a.png")
    save_palette(tmp_path / "b.png", ids // 255, [(0, 0, 0), (255, 255, 255)])
    for name in ("a.png", "b.png"):
        found = read_values(tmp_path / name, upright=True)
        np.testing.assert_array_equal(found.values, ids)
        assert found.flags
    save(tmp_path / "c.png", ids)
    assert not read_values(tmp_path / "c.png", upright=True).flags


def test_what_is_not_one_id_a_pixel_is_refused_by_its_name(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(IDS.astype(np.uint16) * 100).save(path)
    assert "values from 0 to 1100 of more than 8 bits" in fault(path)
    save(path, noise(0))
    assert "colours (mode RGB), expected one class id" in fault(path)
    png_of(path, np.dstack([IDS] * 3).astype(np.uint16), bits=16, colour_type=2)
    assert "16 bits a channel (mode RGB)" in fault(path)
    png_of(path, np.dstack([IDS] * 2).astype(np.uint16), bits=16, colour_type=4)
    assert "16 bits a channel (mode RGBA)" in fault(path)
    Image.fromarray(IDS.astype(np.float32)).save(tmp_path / "a.tif")
    assert "32 bits a channel (mode F)" in fault(tmp_path / "a.tif")


def test_transparent_pixels_of_a_mask_of_ids_are_refused(tmp_path):
    alpha = np.full_like(IDS, 255)
    alpha[0, :5] = 0
    save(tmp_path / "a.png", np.dstack([IDS, alpha]))
    assert "5 transparent pixels" in fault(tmp_path / "a.png")
    Image.fromarray(IDS).save(tmp_path / "b.png", transparency=11)
    assert f"{int((IDS == 11).sum())} transparent pixels" in fault(tmp_path / "b.png")
    save_palette(tmp_path / "c.png", np.arange(12).reshape(3, 4) % 2, [(8, 8, 8), (0, 0, 0)], transparency=b"\xff\0")
    assert "6 transparent pixels" in fault(tmp_path / "c.png")


def test_transparency_of_a_palette_with_colours_says_nothing_about_indices(tmp_path):
    indices = blocks(0, [0, 1, 3])
    path = save_palette(tmp_path / "a.png", indices, COLOURS, transparency=b"\0\xff\xff\x80")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(values(path), indices)


@pytest.mark.parametrize(
    ("form", "settings", "name"),
    [
        ("JPEG", {}, "JPEG"),
        ("WEBP", {}, "lossy WebP"),
        ("TIFF", {"compression": "jpeg"}, "TIFF with jpeg compression"),
        ("JPEG2000", {}, "JPEG2000"),
    ],
)
@pytest.mark.parametrize("read", [values, colours])
def test_lossy_masks_are_refused_by_their_content(tmp_path, form, settings, name, read):
    path = tmp_path / "a.png"
    Image.fromarray(noise(0, (16, 16))).save(path, form, **settings)
    assert f"is stored as {name}, which may change values" in fault(path, read)


def test_greymaps_with_a_range_of_their_own_would_be_scaled(tmp_path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 3 1 11 \x00\x01\x0b")
    assert "is stored as PPM whose largest value is not 255" in fault(path)
    path.write_bytes(b"P5 3 1 255 \x00\x01\x0b")
    assert values(path).tolist() == [[0, 1, 11]]


def test_colours_are_those_of_the_palette_whatever_its_transparency(tmp_path):
    indices = blocks(0, [0, 1, 2, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = save_palette(tmp_path / "a.png", indices, COLOURS, transparency=b"\0\xff\xff\x80")
        np.testing.assert_array_equal(colours(path), np.array(COLOURS)[indices])
    save_palette(path, indices, COLOURS, transparency=b"\xff\0\xff\xff")
    with pytest.raises(DataError, match="pixels are transparent and have a colour that no viewer shows"):
        colours(path)


def test_deep_colours_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), noise(0).astype(np.uint16) * 256)
    assert "mode RGB with 16 bits a channel" in fault(tmp_path / "a.png", colours)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_tag_of_its_own_turns_a_label(tmp_path, orientation):
    for suffix in ("png", "tif"):
        path = save_turned(tmp_path / f"a.{suffix}", IDS, orientation)
        found = read_values(path, upright=True)
        np.testing.assert_array_equal(found.values, IDS)
        assert found.header.orientation == orientation
        assert read_values(path, upright=False).values.shape == found.header.stored


def test_used_values_are_sorted():
    assert used_values(np.array([[9, 0], [255, 9]], np.uint8)) == [0, 9, 255]
