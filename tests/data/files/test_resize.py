import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nas.data.files.resize import resize_image, resize_label

SIDE = st.integers(1, 40)


@given(SIDE, SIDE, SIDE, SIDE)
@settings(max_examples=40, deadline=None)
def test_label_pixels_are_those_at_the_centres(height, width, new_height, new_width):
    label = np.random.default_rng(0).integers(0, 256, (height, width)).astype(np.uint8)
    out = resize_label(label, (new_height, new_width))
    for row in range(new_height):
        for column in range(new_width):
            source = (int((row + 0.5) * height / new_height), int((column + 0.5) * width / new_width))
            assert out[row, column] == label[source]


@pytest.mark.parametrize("size", [(24, 32), (36, 8), (4, 3)])
def test_label_agrees_with_pillow_where_image_does(size):
    label = np.random.default_rng(1).integers(0, 12, (12, 16)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(label).resize(size[::-1], Image.Resampling.NEAREST))
    np.testing.assert_array_equal(resize_label(label, size), expected)


def test_image_shrinks_by_averages():
    image = np.random.default_rng(2).integers(0, 256, (12, 18, 3)).astype(np.uint8)
    np.testing.assert_allclose(resize_image(image, (4, 6)), image.reshape(4, 3, 6, 3, 3).mean((1, 3)), atol=0.51)


def test_image_grows_bilinearly():
    image = np.random.default_rng(3).integers(0, 256, (6, 7, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((14, 12), Image.Resampling.BILINEAR)).astype(int)
    np.testing.assert_allclose(resize_image(image, (12, 14)).astype(int), expected, atol=1)


def test_image_and_label_stay_on_each_other():
    """An edge at pixel 10 of 20 lies at the middle of any even width, in both."""
    label = np.repeat((np.arange(20) >= 10).astype(np.uint8)[None], 20, axis=0)
    image = np.repeat(label[..., None] * 200, 3, axis=2).astype(np.uint8)
    for width in (8, 10, 30, 40):
        bright = resize_image(image, (20, width))[..., 0] > 100
        np.testing.assert_array_equal(bright, resize_label(label, (20, width)) == 1)


def test_same_size_is_the_same_array():
    image = np.zeros((3, 4, 3), np.uint8)
    assert resize_image(image, (3, 4)) is image
    assert resize_label(image[..., 0], (3, 4)).base is image
