"""One street scene: what stands where, painted from far to near."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.street.buildings import draw_house_style, paint_house
from nas.data.street.cars import paint_car
from nas.data.street.finish import finish
from nas.data.street.ground import paint_ground, paint_sky, paint_skyline
from nas.data.street.painter import Camera, Painter
from nas.data.street.people import paint_bicyclist, paint_pedestrian
from nas.data.street.roadside import paint_bin, paint_fence, paint_hedge, paint_lamp, paint_sign, paint_tree
from nas.data.street.setting import BLOCK_M, FAR_M, FIRST_BLOCK_M, NUM_BLOCKS, Setting, draw_setting

_SUPERSAMPLED_PX = 1 << 20
"""Scenes of at most this many pixels are painted at twice the size, for smooth edges."""


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that stands on the street at depth `z`; `paint` draws it."""

    z: float
    paint: Callable[[], None]


def draw_scene(rng: np.random.Generator, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a street scene.

    What the scene shows does not depend on the size; texture and noise do.

    Args:
        rng: Everything random.
        size: Height and width in pixels.

    Returns:
        Image [H, W, 3] (RGB) and label [H, W]: a class id of CamVid's order, or 255 for void.
    """
    height, width = size
    factor = 2 if height * width <= _SUPERSAMPLED_PX else 1
    canvas = _paint(rng, (factor * height, factor * width))
    painted = cv2.resize(canvas[..., :3], (width, height), interpolation=cv2.INTER_AREA)
    labels = np.ascontiguousarray(canvas[::factor, ::factor, 3])
    return finish(np.asarray(painted, dtype=np.uint8), labels, rng), labels


def _paint(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The scene without texture and light: [H, W, 4], colour and label."""
    setting = draw_setting(rng)
    camera = _draw_camera(rng, setting, size)
    painter = Painter(size, camera=camera, haze=setting.sky[1], visibility_m=float(rng.uniform(120, 400)))
    paint_sky(painter, setting)
    paint_skyline(painter, rng)
    paint_ground(painter, setting, rng)
    things = [
        *_draw_plots(painter, setting, rng),
        *_draw_furniture(painter, setting, rng),
        *_draw_traffic(painter, setting, rng),
    ]
    for thing in sorted(things, key=lambda thing: thing.z, reverse=True):
        thing.paint()
    return painter.canvas


def _draw_camera(rng: np.random.Generator, setting: Setting, size: tuple[int, int]) -> Camera:
    """A camera in its lane; lengths scale with the geometric mean of the sides, so any aspect works."""
    height, width = size
    unit = math.sqrt(0.75 * height * width)
    return Camera(
        focal_px=float(rng.uniform(1.0, 1.3)) * unit,
        centre_px=float(rng.uniform(0.38, 0.62)) * width,
        horizon_px=float(rng.uniform(0.4, 0.54)) * height,
        height_m=float(rng.uniform(1.3, 1.8)),
        offset_m=setting.keep_left * setting.road_half * float(rng.uniform(0.3, 0.5)),
        bend=float(rng.normal(0.0, 6e-4)),
    )


def _draw_plots(painter: Painter, setting: Setting, rng: np.random.Generator) -> list[Thing]:
    """Houses, gardens and gaps along both sides, in rows of one kind.

    A plot counts with its far end, so that it is painted before whatever stands in front of it.
    """
    plots: list[Thing] = []
    for side in (-1, 1):
        kind, style = "houses", draw_house_style(rng)
        for block in range(NUM_BLOCKS):
            if block == 0 or rng.random() < 0.3:
                kind = str(rng.choice(["houses", "garden", "gap"], p=[0.72, 0.21, 0.07]))
                style = draw_house_style(rng)
            near = FIRST_BLOCK_M + block * BLOCK_M
            if kind == "houses":
                plots.append(Thing(near + BLOCK_M, partial(paint_house, painter, setting, style, side=side, near=near)))
            if kind == "garden" or (kind == "houses" and setting.setback > 1):
                plots.append(Thing(near + BLOCK_M - 0.1, partial(_paint_garden, painter, setting, rng, side=side, near=near)))
    return plots


def _paint_garden(painter: Painter, setting: Setting, rng: np.random.Generator, *, side: int, near: float) -> None:
    """Trees where there is room for them, behind a fence or a hedge."""
    if rng.random() < 0.5:
        paint_tree(painter, rng, x=side * (setting.facade + rng.uniform(0.0, 3.0)), z=near + rng.uniform(2.0, BLOCK_M))
    border = side * (setting.frontage + 0.1)
    if rng.random() < 0.65:
        paint_fence(painter, rng, x=border, near=near)
    else:
        paint_hedge(painter, rng, x=border, near=near)


def _draw_furniture(painter: Painter, setting: Setting, rng: np.random.Generator) -> list[Thing]:
    """Lamp posts at even distances, trees, signs and bins along the kerbs."""
    things: list[Thing] = []
    for side in (-1, 1):
        edge = setting.kerb + 0.45
        for z in np.arange(rng.uniform(6, 16), 0.7 * FAR_M, rng.uniform(15, 26)):
            things.append(Thing(z, partial(paint_lamp, painter, rng, x=side * edge, z=z)))
        if rng.random() < 0.4:
            for z in np.arange(rng.uniform(10, 22), 0.7 * FAR_M, rng.uniform(9, 20)):
                things.append(Thing(z, partial(paint_tree, painter, rng, x=side * (edge + 0.2), z=z)))
        for z in rng.uniform(6, 26, rng.integers(1, 4)):
            things.append(Thing(z, partial(paint_sign, painter, rng, x=side * (edge + rng.uniform(-0.2, 0.6)), z=z)))
        if rng.random() < 0.4:
            z = float(rng.uniform(7, 20))
            things.append(Thing(z, partial(paint_bin, painter, rng, x=side * (setting.frontage - 0.5), z=z)))
    return things


def _draw_traffic(painter: Painter, setting: Setting, rng: np.random.Generator) -> list[Thing]:
    """Parked and moving vehicles, people on foot, people on bicycles."""
    things: list[Thing] = []
    lane = 0.5 * setting.road_half
    car = partial(paint_car, painter, setting, rng)
    for side in (-1, 1):
        if rng.random() < 0.6:
            for z in np.arange(rng.uniform(5, 13), rng.uniform(18, 60), rng.uniform(6.0, 9.0)):
                things.append(Thing(z, partial(car, x=side * (setting.road_half - 1.0), z=z)))
        elif rng.random() < 0.8:
            z = float(rng.uniform(6, 28))
            things.append(Thing(z, partial(car, x=side * lane, z=z)))
    for z in rng.uniform(6.5, 22, rng.integers(1, 6)):
        on_road = rng.random() < 0.15
        reach = rng.uniform(-lane, lane) if on_road else rng.choice([-1, 1]) * rng.uniform(setting.kerb + 0.5, setting.frontage)
        things.append(Thing(z, partial(paint_pedestrian, painter, rng, x=reach, z=z)))
    for z in rng.uniform(5.5, 18, rng.integers(1, 4)):
        reach = rng.choice([-1, 1]) * rng.uniform(0.45, 0.92) * setting.road_half
        things.append(Thing(z, partial(paint_bicyclist, painter, rng, x=reach, z=z)))
    return things
