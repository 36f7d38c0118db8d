"""Sky, skyline, road with markings, and pavement."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.street.colours import FOLIAGE, MASONRY, Colour, pick, scaled
from nas.data.street.labels import BUILDING, PAVEMENT, ROAD, SKY, TREE
from nas.data.street.painter import Painter
from nas.data.street.setting import FAR_M, Setting

_NEAR_M = 0.8
_DEPTHS = np.geomspace(_NEAR_M, 1.6 * FAR_M, 14)
_MARKING: Colour = (224, 222, 212)


def paint_sky(painter: Painter, setting: Setting) -> None:
    """Fill the canvas with the sky: overhead colour at the top, horizon colour from the horizon down."""
    height = painter.canvas.shape[0]
    share = np.clip(np.arange(height) / max(painter.camera.horizon_px, 1.0), 0.0, 1.0)[:, None]
    overhead, horizon = np.array(setting.sky[0]), np.array(setting.sky[1])
    painter.canvas[..., :3] = np.round(overhead + share * (horizon - overhead)).astype(np.uint8)[:, None]
    painter.canvas[..., 3] = SKY


def paint_skyline(painter: Painter, rng: np.random.Generator) -> None:
    """Distant houses and trees along the horizon."""
    x, depth = -1.6 * FAR_M, 1.05 * FAR_M
    while x < 1.6 * FAR_M:
        width, height = rng.uniform(5, 16), rng.uniform(4, 13)
        if rng.random() < 0.45:
            colour = pick(rng, FOLIAGE)
            centre = (x + width / 2, height * 0.4, depth)
            painter.disc(centre, colour, TREE, radii_m=(0.62 * width, 0.6 * height))
        else:
            painter.polygons(_upright(x, x + width, height, depth), pick(rng, MASONRY), BUILDING)
        x += width * rng.uniform(0.6, 1.0)


def paint_ground(painter: Painter, setting: Setting, rng: np.random.Generator) -> None:
    """Pavement everywhere, the road on it, kerbs and lane markings on top."""
    for start in range(len(_DEPTHS) - 1):
        depths = _DEPTHS[start : start + 2]
        painter.polygons(_strip(-2 * FAR_M, 2 * FAR_M, depths), setting.paving, PAVEMENT)
        painter.polygons(_strip(-setting.kerb, setting.kerb, depths), setting.road, ROAD)
        for side in (-1, 1):
            near, far = sorted((side * setting.kerb, side * (setting.kerb + 0.22)))
            painter.polygons(_strip(near, far, depths), scaled(setting.paving, 1.2), PAVEMENT)
    _paint_slabs(painter, setting)
    _paint_markings(painter, setting, rng)
    if setting.sun > 0:
        _paint_shadows(painter, setting, rng)


def _paint_slabs(painter: Painter, setting: Setting) -> None:
    """Joints across the pavement; they distinguish it from the road where the colours are alike."""
    for side in (-1, 1):
        near, far = sorted((side * (setting.kerb + 0.22), side * setting.frontage))
        joints = [_strip(near, far, np.array([z, z + 0.1])) for z in np.arange(3.0, 26.0, 1.6)]
        painter.polygons(np.stack(joints), scaled(setting.paving, 0.82), PAVEMENT)


def _paint_markings(painter: Painter, setting: Setting, rng: np.random.Generator) -> None:
    """Dashes in the middle, lines along the kerbs, sometimes a crossing; all of them are road."""
    worn = scaled(_MARKING, float(rng.uniform(0.75, 1.0)))
    first, period = rng.uniform(1.5, 5.0), rng.choice([4.0, 6.0])
    dashes = [_strip(-0.09, 0.09, np.array([z, z + 0.5 * period])) for z in np.arange(first, FAR_M, period)]
    painter.polygons(np.stack(dashes), worn, ROAD)
    edge = setting.kerb - 0.35
    if rng.random() < 0.6:
        yellow: Colour = (208, 176, 70) if rng.random() < 0.5 else worn
        for side in (-1, 1):
            near, far = sorted((side * edge, side * (edge + 0.12)))
            for start in range(len(_DEPTHS) - 1):
                painter.polygons(_strip(near, far, _DEPTHS[start : start + 2]), yellow, ROAD)
    if rng.random() < 0.25:
        z = rng.uniform(7, 16)
        bars = [_strip(x, x + 0.5, np.array([z, z + 2.6])) for x in np.arange(-edge, edge - 0.5, 1.0)]
        painter.polygons(np.stack(bars), worn, ROAD)


def _paint_shadows(painter: Painter, setting: Setting, rng: np.random.Generator) -> None:
    """Darken stretches of the ground on the side of the sun; labels stay."""
    mask: NDArray[np.uint8] = np.zeros(painter.canvas.shape[:2], dtype=np.uint8)
    z = 1.0
    while z < FAR_M:
        length = rng.uniform(4, 14)
        if rng.random() < 0.65:
            ends = (setting.facade * rng.uniform(-0.2, 0.5), setting.facade + 30)
            left, right = sorted(setting.sun_side * end for end in ends)
            corners = painter.camera.project(_strip(left, right, np.linspace(z, z + length, 4)))
            cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 255)
        z += length
    shaded = np.rint(painter.canvas[mask > 0] * np.array([0.62, 0.64, 0.7, 1.0]))
    painter.canvas[mask > 0] = shaded.astype(np.uint8)


def _strip(left: float, right: float, depths: NDArray[np.float64] = _DEPTHS) -> NDArray[np.float64]:
    """Corners [2K, 3] of a strip of ground between two lateral positions, followed along K depths."""
    there = [(left, 0.0, z) for z in depths]
    return np.array(there + [(right, 0.0, z) for z in depths[::-1]])


def _upright(left: float, right: float, top: float, depth: float) -> NDArray[np.float64]:
    """Corners [4, 3] of a rectangle that stands on the ground and faces the camera."""
    return np.array([(left, 0, depth), (left, top, depth), (right, top, depth), (right, 0, depth)])
