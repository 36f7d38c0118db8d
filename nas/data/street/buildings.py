"""Rows of houses: facades with windows, doors and shops, gables and roofs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.data.street.colours import GLASS, GREYS, MASONRY, PAINT, Colour, pick, scaled
from nas.data.street.labels import BUILDING
from nas.data.street.painter import Painter
from nas.data.street.setting import BLOCK_M, Setting

_DEPTH_M = 9.0
"""Extent of a house away from the street."""
_ROOF: tuple[Colour, ...] = ((92, 62, 54), (70, 70, 76), (112, 84, 70))


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseStyle:
    """Common properties of the houses of one row, lengths in metres."""

    wall: Colour
    roof: Colour
    glass: Colour
    frame: Colour
    storeys: int
    storey_height: float
    bays: int
    pitched: bool
    shop: Colour | None

    @property
    def eaves(self) -> float:
        """Height of the wall."""
        return self.storeys * self.storey_height + 0.4


def draw_house_style(rng: np.random.Generator) -> HouseStyle:
    """The style of a row of houses, drawn."""
    wall = pick(rng, MASONRY if rng.random() < 0.85 else GREYS)
    return HouseStyle(
        wall=wall,
        roof=pick(rng, _ROOF),
        glass=pick(rng, GLASS),
        frame=pick(rng, ((226, 224, 216), (60, 58, 56))),
        storeys=int(rng.integers(1, 5)),
        storey_height=float(rng.uniform(2.7, 3.3)),
        bays=int(rng.integers(2, 4)),
        pitched=bool(rng.random() < 0.6),
        shop=pick(rng, PAINT) if rng.random() < 0.3 else None,
    )


def paint_house(painter: Painter, setting: Setting, style: HouseStyle, *, side: int, near: float) -> None:
    """One house of the row on the given side (-1 left, 1 right), its near end at depth `near`."""
    x, far = side * setting.facade, near + BLOCK_M
    outer, top = x + side * _DEPTH_M, style.eaves
    gable = [(x, 0, near), (x, top, near), (outer, top, near), (outer, 0, near)]
    if style.pitched:
        ridge = (x + side * _DEPTH_M / 2, top + 2.6, near)
        gable.insert(2, ridge)
        roof = [(x, top, near), (x, top, far), (ridge[0], ridge[1], far), ridge]
        painter.polygons(roof, setting.lit(style.roof, side), BUILDING)
    painter.polygons(gable, scaled(style.wall, 0.88), BUILDING)
    wall = setting.lit(style.wall, side)
    painter.polygons(_on_facade(x, (0.0, top), (near, far)), wall, BUILDING)
    painter.polygons(_on_facade(x, (top - 0.3, top), (near, far)), scaled(wall, 0.8), BUILDING)
    first = 0
    if style.shop is not None:
        _paint_shop(painter, setting, style, side=side, near=near)
        first = 1
    _paint_windows(painter, style, x=x, near=near, first_storey=first)


def _paint_windows(painter: Painter, style: HouseStyle, *, x: float, near: float, first_storey: int) -> None:
    """A grid of framed windows, and a door where there is no shop."""
    pitch = BLOCK_M / style.bays
    left = near + pitch * (np.arange(style.bays) + 0.28)
    bottom = style.storey_height * np.arange(first_storey, style.storeys) + 0.9
    if left.size * bottom.size == 0:
        return
    frames = [_on_facade(x, (y - 0.1, y + 1.6), (z - 0.12, z + 0.44 * pitch + 0.12)) for y in bottom for z in left]
    panes = [_on_facade(x, (y, y + 1.5), (z, z + 0.44 * pitch)) for y in bottom for z in left]
    painter.polygons(np.stack(frames), style.frame, BUILDING)
    painter.polygons(np.stack(panes), style.glass, BUILDING)
    if first_storey == 0:
        painter.polygons(_on_facade(x, (0.0, 2.1), (left[0], left[0] + 1.1)), scaled(style.roof, 0.8), BUILDING)


def _paint_shop(painter: Painter, setting: Setting, style: HouseStyle, *, side: int, near: float) -> None:
    """A shop window under a coloured board."""
    x = side * setting.facade
    assert style.shop is not None
    painter.polygons(_on_facade(x, (0.5, 2.3), (near + 0.5, near + BLOCK_M - 0.5)), style.glass, BUILDING)
    board = _on_facade(x, (2.3, 2.9), (near + 0.3, near + BLOCK_M - 0.3))
    painter.polygons(board, setting.lit(style.shop, side), BUILDING)


def _on_facade(x: float, heights: tuple[float, float], depths: tuple[float, float]) -> NDArray[np.float64]:
    """Corners [4, 3] of a rectangle in the plane of a facade, from height to height and from depth to depth."""
    (bottom, top), (near, far) = heights, depths
    return np.array([(x, bottom, near), (x, top, near), (x, top, far), (x, bottom, far)])
