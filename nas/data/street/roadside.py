"""Trees, fences, hedges, lamp posts, traffic signs and litter bins."""

from __future__ import annotations

import math

import numpy as np

from nas.data.street.colours import FOLIAGE, GREYS, MASONRY, PAINT, Colour, pick, scaled
from nas.data.street.labels import FENCE, POLE, SIGN, TREE, VOID
from nas.data.street.painter import Painter
from nas.data.street.setting import BLOCK_M

_WHITE: Colour = (232, 232, 228)


def paint_tree(painter: Painter, rng: np.random.Generator, *, x: float, z: float) -> None:
    """A tree: a trunk and a crown of overlapping clumps, dark ones behind."""
    leaf = pick(rng, FOLIAGE)
    height, spread = rng.uniform(4.0, 8.0), rng.uniform(1.1, 2.1)
    trunk = [(x, 0, z), (x + rng.normal(0, 0.1), 0.6 * height, z)]
    painter.stroke(trunk, pick(rng, MASONRY[5:6]), TREE, width_m=rng.uniform(0.2, 0.4))
    offsets = rng.normal(0.0, 0.5, (9, 2)).clip(-1, 1)
    radii = rng.uniform(0.45, 0.75, (9, 2)) * spread
    for place, (offset, radius) in enumerate(zip(offsets, radii, strict=True)):
        centre = (x + offset[0] * spread, 0.72 * height + offset[1] * 0.22 * height, z)
        tone = scaled(leaf, 0.7 + 0.07 * place)
        painter.disc(centre, tone, TREE, radii_m=(float(radius[0]), float(radius[1])))


def paint_hedge(painter: Painter, rng: np.random.Generator, *, x: float, near: float) -> None:
    """A hedge along one plot, with an uneven top."""
    height, leaf = rng.uniform(0.9, 1.9), pick(rng, FOLIAGE)
    depths = np.linspace(near, near + BLOCK_M, 8)
    top = [(x, height + rng.normal(0, 0.1), z) for z in depths]
    painter.polygons([(x, 0, near), *top, (x, 0, near + BLOCK_M)], leaf, TREE)
    painter.polygons([(x, 0, near), *[(x, 0.35 * y, z) for _, y, z in top], (x, 0, near + BLOCK_M)], scaled(leaf, 0.75), TREE)


def paint_fence(painter: Painter, rng: np.random.Generator, *, x: float, near: float) -> None:
    """A fence along one plot: boards, or railings whose gaps count as fence."""
    height = rng.uniform(1.0, 2.0)
    boards = rng.random() < 0.6
    colour = pick(rng, MASONRY + FOLIAGE[:2] if boards else GREYS)
    far = near + BLOCK_M
    painter.polygons([(x, 0, near), (x, height, near), (x, height, far), (x, 0, far)], colour, FENCE)
    dark = scaled(colour, 0.72 if boards else 0.5)
    width = 0.08 if boards else 0.16
    bars = [
        [(x, 0, z), (x, height - 0.12, z), (x, height - 0.12, z + width), (x, 0, z + width)]
        for z in np.arange(near, far - width, 0.5)
    ]
    painter.polygons(bars, dark, FENCE)
    painter.polygons([(x, height - 0.1, near), (x, height, near), (x, height, far), (x, height - 0.1, far)], dark, FENCE)


def paint_lamp(painter: Painter, rng: np.random.Generator, *, x: float, z: float) -> None:
    """A lamp post whose arm reaches over the road."""
    colour, height = pick(rng, GREYS), rng.uniform(5.5, 8.5)
    arm = -math.copysign(rng.uniform(0.6, 1.5), x)
    painter.stroke([(x, 0, z), (x, 1.2, z)], colour, POLE, width_m=0.22)
    painter.stroke([(x, 0, z), (x, height, z)], colour, POLE, width_m=0.14)
    painter.stroke([(x, height, z), (x + arm, height + 0.3, z)], colour, POLE, width_m=0.12)
    painter.disc((x + arm, height + 0.25, z), scaled(colour, 1.2), POLE, radii_m=(0.35, 0.12))


def paint_sign(painter: Painter, rng: np.random.Generator, *, x: float, z: float) -> None:
    """A traffic sign on a pole: a disc, a triangle, a board or a traffic light."""
    height = rng.uniform(2.1, 3.0)
    painter.stroke([(x, 0, z), (x, height, z)], pick(rng, GREYS), POLE, width_m=0.1)
    kind, face, size = rng.integers(4), pick(rng, PAINT), rng.uniform(0.42, 0.6)
    if kind == 0:
        painter.disc((x, height, z), face, SIGN, radii_m=(size, size))
        painter.disc((x, height, z), _WHITE, SIGN, radii_m=(0.62 * size, 0.62 * size))
    elif kind == 1:
        for scale, colour in ((1.15, face), (0.65, _WHITE)):
            half = scale * size
            low, high = height - 0.6 * half, height + 1.1 * half
            painter.polygons([(x - half, low, z), (x + half, low, z), (x, high, z)], colour, SIGN)
    elif kind == 2:
        width, tall = size * rng.uniform(1.0, 1.7), size * rng.uniform(0.7, 1.2)
        _paint_board(painter, (x, height, z), (width, tall), colour=_WHITE)
        _paint_board(painter, (x, height, z), (width - 0.1, tall - 0.1), colour=face)
        _paint_board(painter, (x, height + 0.1, z), (0.6 * width, 0.12), colour=_WHITE)
    else:
        _paint_board(painter, (x, height, z), (0.2, 0.5), colour=(36, 36, 40))
        lamp = int(rng.integers(3))
        colour = ((206, 44, 40), (222, 170, 50), (60, 190, 110))[lamp]
        painter.disc((x, height + 0.31 - 0.31 * lamp, z), colour, SIGN, radii_m=(0.13, 0.13))


def paint_bin(painter: Painter, rng: np.random.Generator, *, x: float, z: float) -> None:
    """A litter bin: a thing of no class, hence void."""
    height, colour = rng.uniform(0.8, 1.2), pick(rng, PAINT)
    painter.polygons([(x - 0.3, 0, z), (x - 0.34, height, z), (x + 0.34, height, z), (x + 0.3, 0, z)], colour, VOID)
    painter.disc((x, height, z), scaled(colour, 0.6), VOID, radii_m=(0.34, 0.1))


def _paint_board(painter: Painter, centre: tuple[float, float, float], half: tuple[float, float], *, colour: Colour) -> None:
    """A rectangle of sign that faces the camera, of the given half width and half height."""
    (x, y, z), (w, h) = centre, half
    painter.polygons([(x - w, y - h, z), (x - w, y + h, z), (x + w, y + h, z), (x + w, y - h, z)], colour, SIGN)
