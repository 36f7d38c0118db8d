"""Cars, vans and buses, seen from behind or from the front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.data.street.colours import GLASS, MASONRY, PAINT, Colour, pick, scaled
from nas.data.street.labels import CAR, ROAD
from nas.data.street.painter import Painter
from nas.data.street.setting import Setting

_TYRE: Colour = (30, 30, 32)
_Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CarShape:
    """Lengths in metres; the cabin tapers from `half_width` at the waist to `half_roof`."""

    half_width: float
    half_roof: float
    length: float
    waist: float
    roof: float
    cabin: tuple[float, float]
    """Begin and end of the roof, as shares of the length."""


CAR_SHAPES: tuple[CarShape, ...] = (
    CarShape(half_width=0.88, half_roof=0.66, length=4.2, waist=0.88, roof=1.46, cabin=(0.14, 0.62)),
    CarShape(half_width=0.86, half_roof=0.68, length=3.8, waist=0.9, roof=1.5, cabin=(0.06, 0.66)),
    CarShape(half_width=0.95, half_roof=0.8, length=4.6, waist=1.05, roof=1.8, cabin=(0.05, 0.7)),
    CarShape(half_width=0.98, half_roof=0.94, length=5.4, waist=1.25, roof=2.3, cabin=(0.0, 0.82)),
    CarShape(half_width=1.22, half_roof=1.2, length=9.5, waist=1.3, roof=3.1, cabin=(0.0, 0.99)),
)
_CAR_ODDS = (0.36, 0.3, 0.16, 0.12, 0.06)


def paint_car(painter: Painter, setting: Setting, rng: np.random.Generator, *, x: float, z: float) -> None:
    """A vehicle parallel to the road, its near end at depth z."""
    shape = CAR_SHAPES[int(rng.choice(len(CAR_SHAPES), p=_CAR_ODDS))]
    colour = pick(rng, PAINT if rng.random() < 0.8 else MASONRY)
    glass = pick(rng, GLASS)
    _paint_shadow(painter, setting, shape, x=x, z=z)
    relative = x - painter.camera.offset_m + painter.camera.bend * z * z
    if abs(relative) > shape.half_width:
        side = -1 if relative > 0 else 1
        _paint_side(painter, shape, x=x, z=z, side=side, colours=(setting.lit(colour, -side), glass))
    _paint_end(painter, shape, x=x, z=z, colours=(scaled(colour, 0.92), glass), rear=bool(rng.random() < 0.6))


def _paint_shadow(painter: Painter, setting: Setting, shape: CarShape, *, x: float, z: float) -> None:
    """The dark patch under the vehicle: road."""
    half = shape.half_width + 0.12
    left, right = max(x - half, -setting.kerb), min(x + half, setting.kerb)
    end = z + shape.length
    corners = [(left, 0, z - 0.25), (left, 0, end), (right, 0, end), (right, 0, z - 0.25)]
    painter.polygons(corners, scaled(setting.road, 0.42), ROAD)


def _paint_side(painter: Painter, shape: CarShape, *, x: float, z: float, side: int, colours: tuple[Colour, Colour]) -> None:
    """The long side that the camera sees: body, windows, wheels."""
    body, glass = colours
    low, high = x + side * shape.half_width, x + side * shape.half_roof
    start, stop = (z + share * shape.length for share in shape.cabin)
    end = z + shape.length
    hood = min(stop + 0.12 * shape.length, end)
    bonnet = shape.waist - 0.1
    lower = [(low, 0.28, z), (low, shape.waist, z), (low, shape.waist, hood), (low, bonnet, end), (low, 0.28, end)]
    cabin = [(low, shape.waist, z), (high, shape.roof, start), (high, shape.roof, stop), (low, shape.waist, hood)]
    painter.polygons(lower, body, CAR)
    painter.polygons(cabin, body, CAR)
    inner, top = 0.12 * shape.length, shape.roof - 0.12
    panes = [
        (low, shape.waist + 0.04, z + inner),
        (high, top, start + 0.4 * inner),
        (high, top, stop - 0.2 * inner),
        (low, shape.waist + 0.04, max(hood - 0.8 * inner, z + 2 * inner)),
    ]
    painter.polygons(panes, glass, CAR)
    angles = np.linspace(0, 2 * np.pi, 13)[:-1]
    for share in (0.2, 0.8):
        hub = z + share * shape.length
        wheel = [(low, 0.32 + 0.32 * np.sin(a), hub + 0.32 * np.cos(a)) for a in angles]
        painter.polygons(wheel, _TYRE, CAR)


def _paint_end(painter: Painter, shape: CarShape, *, x: float, z: float, colours: tuple[Colour, Colour], rear: bool) -> None:
    """The end that faces the camera: tyres, body, window, lights, number plate."""
    body, glass = colours
    wide, roof = shape.half_width, shape.half_roof
    back = z + 0.5 * shape.cabin[0] * shape.length
    tyres = [
        [(x + s * wide, 0, z), (x + s * wide, 0.4, z), (x + s * (wide - 0.24), 0.4, z), (x + s * (wide - 0.24), 0, z)]
        for s in (-1, 1)
    ]
    painter.polygons(tyres, _TYRE, CAR)
    painter.polygons(_level(x, z, (wide, 0.24), (wide, shape.waist)), body, CAR)
    upper = [
        *_level(x, z, (wide, shape.waist), (wide, shape.waist))[:2],
        (x + roof, shape.roof, back),
        (x - roof, shape.roof, back),
    ]
    painter.polygons(upper, body, CAR)
    painter.polygons(_level(x, z, (wide - 0.12, shape.waist + 0.05), (roof - 0.08, shape.roof - 0.12)), glass, CAR)
    painter.polygons(_level(x, z, (wide, 0.24), (wide, 0.4)), scaled(body, 0.55), CAR)
    lamp: Colour = (176, 32, 30) if rear else (236, 232, 214)
    for s in (-1, 1):
        painter.disc((x + s * (wide - 0.2), shape.waist - 0.16, z), lamp, CAR, radii_m=(0.17, 0.1))
    painter.polygons(_level(x, z, (0.26, 0.48), (0.26, 0.6)), (222, 214, 160), CAR)


def _level(x: float, z: float, low: tuple[float, float], high: tuple[float, float]) -> list[_Point]:
    """A symmetric trapezium that faces the camera, from (half width, height) to (half width, height)."""
    return [(x - low[0], low[1], z), (x + low[0], low[1], z), (x + high[0], high[1], z), (x - high[0], high[1], z)]
