import pickle

import numpy as np
import pytest
from PIL import Image

from nas.data.dataset import IGNORE_INDEX
from nas.data.files.label_code import ColourCode, IdCode
from nas.errors import DataError
from tests.label_encodings import png_of, save_optimised, save_palette
from tests.label_trees import blocks

IDS = IdCode(classes={0: 1, 7: 0, 200: 253, 255: 255}, expected="0, 7, 200, 255", fix="mend it")
COLOURS = {(0, 0, 0): 2, (255, 255, 255): 0, (0, 0, 255): 1, (255, 0, 0): 255, (1, 2, 3): 253}
RGB = ColourCode(classes=COLOURS, fix="mend it")


def write(path, pixels, mode=None):
    image = Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    (image if mode is None else image.convert(mode)).save(path)
    return path


def test_ids_follow_the_table(tmp_path):
    stored = np.random.default_rng(0).choice([0, 7, 200, 255], (20, 30))
    found = IDS.read(write(tmp_path / "a.png", stored)).classes
    np.testing.assert_array_equal(found, np.vectorize(IDS.classes.get)(stored))
    assert found.dtype == np.uint8


def test_colours_follow_the_table(tmp_path):
    known = np.array(list(COLOURS))
    choice = np.random.default_rng(0).integers(0, len(known), (20, 30))
    found = RGB.read(write(tmp_path / "a.png", known[choice])).classes
    np.testing.assert_array_equal(found, np.array(list(COLOURS.values()))[choice])
    assert found.dtype == np.uint8


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_colours_may_be_stored_as_grey_palette_or_with_alpha(tmp_path, mode):
    pixels = np.zeros((6, 8, 3)) + np.where(np.arange(8) > 3, 255, 0)[None, :, None]
    np.testing.assert_array_equal(RGB.read(write(tmp_path / "a.png", pixels, mode)).classes, np.where(pixels[..., 0] > 0, 0, 2))


def test_unknown_ids_are_listed_with_their_pixels(tmp_path):
    stored = np.zeros((4, 5))
    stored[0] = [1, 1, 2, 3, 0]
    with pytest.raises(DataError, match=r"a\.png: unknown label id 1, 2, 3 \(4 pixels\), expected 0, 7, 200, 255; mend it$"):
        IDS.read(write(tmp_path / "a.png", stored))


def test_unknown_colours_are_listed_with_their_pixels(tmp_path):
    pixels = np.zeros((4, 5, 3))
    pixels[0, :2] = [9, 8, 7]
    pixels[1, 0] = [255, 255, 254]
    message = (
        r"a\.png: unknown label colour \[9, 8, 7\], \[255, 255, 254\] \(3 pixels\), expected one of the 5 known ones; mend it$"
    )
    with pytest.raises(DataError, match=message):
        RGB.read(write(tmp_path / "a.png", pixels))


def test_many_unknown_colours_are_cut_short(tmp_path):
    noise = np.random.default_rng(0).integers(10, 200, (8, 8, 3))
    with pytest.raises(DataError, match="and 59 more"):
        RGB.read(write(tmp_path / "a.png", noise))


def test_colours_where_ids_are_expected_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"colours \(mode RGB\), expected one class id"):
        IDS.read(write(tmp_path / "a.png", np.zeros((4, 5, 3)) + [0, 0, 7]))


@pytest.mark.parametrize("code", [IDS, RGB])
def test_codes_are_values_that_can_be_pickled(code):
    assert pickle.loads(pickle.dumps(code)) == code


def one_bit(path, classes):
    Image.fromarray(blocks(0, [0, 255])).convert("1").save(path)
    return IdCode(classes=classes, expected="what is known", fix="mend it").read(path)


@pytest.mark.parametrize(
    ("classes", "white"),
    [
        ({0: 0, 255: 1}, 1),
        ({0: 0, 1: 1}, 1),
        ({0: 0, 1: 1, 255: 255}, 1),
        ({0: 255, 1: 0, 255: 255}, 0),
        ({0: 0, 1: 255, 255: 1}, 1),
        ({0: 0, 1: 1, 2: 2, 255: 255}, 255),
        ({0: 0, 1: 255, 255: 255}, 255),
    ],
)
def test_white_of_one_bit_is_the_id_that_the_classes_know(tmp_path, classes, white):
    found = one_bit(tmp_path / "a.png", classes).classes
    np.testing.assert_array_equal(found, np.where(blocks(0, [0, 255]) > 0, white, classes[0]))


def test_white_of_one_bit_is_refused_where_it_may_be_either_of_two_classes(tmp_path):
    with pytest.raises(
        DataError, match=r"a\.png: the mask has 1 bit a pixel, whose white may be id 1 or id 255, and both are classes"
    ):
        one_bit(tmp_path / "a.png", {0: 0, 1: 1, 255: 2})


def test_white_of_one_bit_is_refused_where_it_is_no_id(tmp_path):
    with pytest.raises(DataError, match=r"unknown label id 255 \(\d+ pixels, white of 1 bit\)"):
        one_bit(tmp_path / "a.png", {0: 0, 1: 1, 2: 2})


def test_unknown_ids_say_where_they_come_from(tmp_path):
    save_optimised(tmp_path / "a.png", blocks(0, [0, 7, 9]))
    with pytest.raises(DataError, match=r"unknown label id 9 \(\d+ pixels, levels of its palette of greys\)"):
        IDS.read(tmp_path / "a.png")
    save_palette(tmp_path / "a.png", blocks(0, [0, 1]), [(0, 0, 0), (128, 0, 0)])
    with pytest.raises(DataError, match=r"unknown label id 1 \(\d+ pixels, indices of its palette\)"):
        IDS.read(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("bits", "levels", "ids", "words"),
    [
        (2, [0, 3], {0: 0, 3: 1, 255: IGNORE_INDEX}, "2 bits a pixel, so its ids may be 0, 3 or 0, 255"),
        (4, [0, 5, 10], {0: 0, 5: 1, 10: 2, 85: 3, 170: 4}, "4 bits a pixel, so its ids may be 0, 5, 10 or 0, 85, 170"),
        (2, [1, 2], {0: 0, 1: 1, 2: 2}, r"unknown label id 85, 170 \(2 pixels, levels of 2 bits as PNG scales them\)"),
    ],
)
def test_a_file_of_few_bits_whose_levels_may_be_ids_is_refused(tmp_path, bits, levels, ids, words):
    path = png_of(tmp_path / "a.png", np.array([levels], dtype=np.uint8), bits=bits, colour_type=0)
    with pytest.raises(DataError, match=words):
        IdCode(classes=ids, expected="some", fix="mend it").read(path)


def test_few_bits_that_an_optimiser_needs_are_levels(tmp_path):
    path = png_of(tmp_path / "a.png", np.array([[0, 1, 2]], dtype=np.uint8), bits=4, colour_type=0)
    classes = {0: 0, 1: 1, 2: 2, 17: 3, 34: 4}
    assert IdCode(classes=classes, expected="some", fix="mend it").read(path).classes.tolist() == [[0, 3, 4]]
