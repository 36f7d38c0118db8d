"""Pictures of label maps, pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nas.data.classes.palette import CAMVID_CLASSES, CAMVID_PALETTE
from nas.reports.overlay import GAP_PX, MAX_PANEL_PX, MIN_PANEL_PX, WRONG, colour, comparison, errors, overlay, save_png

Array = NDArray[np.uint8]


def scene(height: int = 12, width: int = 16) -> tuple[Array, Array, Array]:
    """Image, truth with void, prediction with errors."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    truth = rng.integers(0, 11, (height, width), dtype=np.uint8)
    prediction = np.where(rng.random((height, width)) < 0.7, truth, (truth + 1) % 11).astype(np.uint8)
    truth[:2] = 255
    return image, truth, prediction


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_colour_looks_every_pixel_up_and_leaves_void_black(dtype: type[np.integer]) -> None:
    _, truth, _ = scene()
    picture = colour(truth.astype(dtype), CAMVID_PALETTE)
    assert picture.dtype == np.uint8
    for row, column in np.ndindex(*truth.shape):
        label = int(truth[row, column])
        want = (0, 0, 0) if label == 255 else tuple(CAMVID_PALETTE[label])
        assert tuple(picture[row, column]) == want


@pytest.mark.parametrize(("dtype", "unknown"), [(np.uint8, 11), (np.uint8, 254), (np.int64, -1), (np.int64, 256)])
def test_colour_refuses_unknown_labels_and_names_them(dtype: type[np.integer], unknown: int) -> None:
    with pytest.raises(ValueError, match=rf"class ids \[{unknown}\], expected 0 to 10"):
        colour(np.array([[0, unknown]], dtype=dtype), CAMVID_PALETTE)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_overlay_blends_image_and_colour_and_leaves_void_as_it_is(alpha: float) -> None:
    image, truth, _ = scene()
    picture = overlay(image, truth, CAMVID_PALETTE, alpha)
    for row, column in np.ndindex(*truth.shape):
        for channel in range(3):
            want = float(image[row, column, channel])
            if truth[row, column] != 255:
                want = (1 - alpha) * want + alpha * float(CAMVID_PALETTE[truth[row, column], channel])
            assert abs(float(picture[row, column, channel]) - want) <= 0.5 + 1e-9


def test_overlay_refuses_other_sizes() -> None:
    image, truth, _ = scene()
    with pytest.raises(ValueError, match="expected \\[H, W, 3\\] and \\[H, W\\]"):
        overlay(image, truth[:-1], CAMVID_PALETTE)


def test_errors_are_red_and_only_where_a_valid_pixel_is_wrong() -> None:
    image, truth, prediction = scene()
    picture = errors(image, truth, prediction).astype(int)
    wrong = (prediction != truth) & (truth != 255)
    saturation = picture.max(axis=2) - picture.min(axis=2)
    assert (saturation[wrong] > 90).all()
    assert (picture[wrong].argmax(axis=1) == 0).all()
    assert (saturation[~wrong] == 0).all()
    right = ~wrong & (truth != 255)
    assert picture[truth == 255].max() < picture[right].min()


def contains(picture: Array, panel: Array, left: int) -> bool:
    """Whether the panel stands in the picture, from the given column on, in some row."""
    height, width, _ = panel.shape
    columns = picture[:, left : left + width]
    return any(np.array_equal(columns[top : top + height], panel) for top in range(picture.shape[0] - height + 1))


def test_comparison_shows_image_truth_prediction_and_errors_in_this_order() -> None:
    image, truth, prediction = scene(40, MIN_PANEL_PX)
    picture = comparison(image, truth, prediction, CAMVID_PALETTE, class_names=CAMVID_CLASSES)
    want = [image, colour(truth, CAMVID_PALETTE), colour(prediction, CAMVID_PALETTE), errors(image, truth, prediction)]
    assert picture.dtype == np.uint8
    assert picture.shape[1] == 4 * (MIN_PANEL_PX + GAP_PX) + GAP_PX
    for index, panel in enumerate(want):
        assert contains(picture, panel, GAP_PX + index * (MIN_PANEL_PX + GAP_PX))


def test_comparison_without_truth_shows_image_prediction_and_overlay() -> None:
    image, _, prediction = scene(40, MIN_PANEL_PX)
    picture = comparison(image, None, prediction, CAMVID_PALETTE)
    want = [image, colour(prediction, CAMVID_PALETTE), overlay(image, prediction, CAMVID_PALETTE)]
    assert picture.shape[1] == 3 * (MIN_PANEL_PX + GAP_PX) + GAP_PX
    for index, panel in enumerate(want):
        assert contains(picture, panel, GAP_PX + index * (MIN_PANEL_PX + GAP_PX))
    assert not (picture == WRONG).all(axis=2).any()


def test_legend_shows_every_class_of_the_palette() -> None:
    image, _, _ = scene(40, MIN_PANEL_PX)
    nothing = np.zeros((40, MIN_PANEL_PX), dtype=np.uint8)
    picture = comparison(image * 0, nothing, nothing, CAMVID_PALETTE, class_names=CAMVID_CLASSES)
    for fill in (*CAMVID_PALETTE, WRONG):
        assert (picture == fill).all(axis=2).sum() >= 100


def test_small_images_are_enlarged_pixel_by_pixel_and_large_ones_reduced() -> None:
    image, truth, prediction = scene(30, 100)
    small = comparison(image, truth, prediction, CAMVID_PALETTE)
    assert contains(small, colour(truth, CAMVID_PALETTE).repeat(4, axis=0).repeat(4, axis=1), 2 * GAP_PX + 400)
    image, truth, prediction = scene(20, 2 * MAX_PANEL_PX + 1)
    large = comparison(image, truth, prediction, CAMVID_PALETTE)
    assert large.shape[1] <= 4 * (MAX_PANEL_PX + GAP_PX) + GAP_PX


def test_comparison_takes_a_truth_of_void_alone() -> None:
    image, truth, prediction = scene(40, MIN_PANEL_PX)
    picture = comparison(image, np.full_like(truth, 255), prediction, CAMVID_PALETTE)
    assert contains(picture, np.zeros_like(image), GAP_PX + MIN_PANEL_PX + GAP_PX)


def test_comparison_refuses_sizes_and_names_that_do_not_fit() -> None:
    image, truth, prediction = scene()
    with pytest.raises(ValueError, match="expected \\[H, W, 3\\]"):
        comparison(image, truth[:, 1:], prediction, CAMVID_PALETTE)
    with pytest.raises(ValueError, match="expected \\[H, W, 3\\]"):
        comparison(image, truth, prediction[1:], CAMVID_PALETTE)
    with pytest.raises(ValueError, match="class_names: got 2, expected 11"):
        comparison(image, truth, prediction, CAMVID_PALETTE, class_names=["a", "b"])


def test_inputs_are_not_written_to() -> None:
    image, truth, prediction = scene()
    for array in (image, truth, prediction):
        array.setflags(write=False)
    comparison(image, truth, prediction, CAMVID_PALETTE)


def test_png_holds_the_picture_exactly(tmp_path: Path) -> None:
    image, _, _ = scene()
    save_png(tmp_path / "folder" / "picture.png", image)
    with Image.open(tmp_path / "folder" / "picture.png") as picture:
        assert picture.format == "PNG"
        assert np.array_equal(np.asarray(picture), image)
