import math

import numpy as np
import pytest

from nas.data.street.painter import Camera, Painter

CAMERA = Camera(focal_px=100.0, centre_px=50.0, horizon_px=40.0, height_m=1.5, offset_m=0.0, bend=0.0)


def _painter(**changes):
    settings = {"camera": CAMERA, "haze": (255.0, 255.0, 255.0), "visibility_m": 1e9} | changes
    return Painter((80, 100), **settings)


def _square(half, z):
    return [(-half, 1.5 - half, z), (-half, 1.5 + half, z), (half, 1.5 + half, z), (half, 1.5 - half, z)]


def test_projection_is_that_of_a_pinhole():
    camera = Camera(focal_px=100.0, centre_px=50.0, horizon_px=40.0, height_m=1.5, offset_m=0.5, bend=1e-3)
    column, row = camera.project(np.array([2.0, 1.0, 10.0]))
    assert column == pytest.approx(50 + 100 * (2 - 0.5 + 1e-3 * 100) / 10)
    assert row == pytest.approx(40 + 100 * (1.5 - 1.0) / 10)
    assert camera.project(np.array([0.0, 1.5, 7.0]))[1] == pytest.approx(40)


def test_a_square_covers_its_projection_in_colour_and_label():
    painter = _painter()
    painter.polygons(_square(1.0, 10.0), (10.0, 20.0, 30.0), 7)
    inside = painter.canvas[..., 3] == 7
    rows, columns = np.nonzero(inside)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 50, 40, 60)
    assert inside.sum() == 21 * 21
    assert (painter.canvas[inside] == [10, 20, 30, 7]).all()


def test_what_is_painted_later_covers_what_was_before():
    painter = _painter()
    painter.polygons(_square(1.0, 10.0), (10.0, 20.0, 30.0), 7)
    painter.disc((0.0, 1.5, 10.0), (90.0, 90.0, 90.0), 8, radii_m=(0.5, 0.5))
    assert painter.canvas[40, 50].tolist() == [90, 90, 90, 8]
    assert (painter.canvas[..., 3] == 8).sum() == pytest.approx(math.pi * 25, rel=0.25)


def test_haze_fades_colours_with_depth_and_not_labels():
    painter = _painter(visibility_m=50.0)
    painter.polygons(_square(5.0, 50.0), (0.0, 100.0, 255.0), 4)
    fade = 1 - math.exp(-1)
    np.testing.assert_allclose(painter.canvas[40, 50], [255 * fade, 100 + 155 * fade, 255, 4], atol=1)


def test_a_far_line_is_still_one_pixel_wide():
    painter = _painter()
    painter.stroke([(0.0, 0.0, 80.0), (0.0, 9.0, 80.0)], (9.0, 9.0, 9.0), 2, width_m=0.1)
    assert ((painter.canvas[..., 3] == 2).sum(axis=1).max()) == 1


def test_shapes_far_outside_leave_the_picture_alone():
    painter = _painter()
    painter.polygons([(1e7, 0.0, 1.0), (2e7, 0.0, 1.0), (2e7, 9.0, 1.0)], (9.0, 9.0, 9.0), 2)
    assert not painter.canvas.any()
