"""Pedestrians and bicyclists."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nas.data.street.colours import GREYS, PAINT, SKIN, Colour, pick, scaled
from nas.data.street.labels import BICYCLIST, PEDESTRIAN
from nas.data.street.painter import Painter

_Place = Callable[..., tuple[float, float, float]]
"""(ahead, up, sideways=0) along the bicycle -> a point of the scene."""
_CIRCLE = np.linspace(0, 2 * np.pi, 17)[:-1]


def paint_pedestrian(painter: Painter, rng: np.random.Generator, *, x: float, z: float) -> None:
    """Somebody on foot, in the middle of a stride."""
    tall, stride = rng.uniform(1.5, 1.9), rng.uniform(0.05, 0.24)
    coat, trousers = pick(rng, PAINT), scaled(pick(rng, PAINT + GREYS), 0.7)
    hip, shoulder = 0.5 * tall, 0.83 * tall
    for side in (-1, 1):
        painter.stroke([(x + side * 0.07, hip, z), (x + side * stride, 0, z)], trousers, PEDESTRIAN, width_m=0.17)
        hand = (x + side * (0.2 + 0.6 * stride), 0.52 * tall, z)
        painter.stroke([(x + side * 0.2, shoulder - 0.05, z), hand], scaled(coat, 0.85), PEDESTRIAN, width_m=0.12)
    hem = hip - rng.choice([0.05, 0.3])
    torso = [(x - 0.23, shoulder, z), (x + 0.23, shoulder, z), (x + 0.2, hem, z), (x - 0.2, hem, z)]
    painter.polygons(torso, coat, PEDESTRIAN)
    painter.disc((x, 0.93 * tall, z), pick(rng, SKIN), PEDESTRIAN, radii_m=(0.11, 0.14))
    painter.disc((x, 0.965 * tall, z), pick(rng, ((50, 40, 34), (96, 72, 48))), PEDESTRIAN, radii_m=(0.11, 0.08))


def paint_bicyclist(painter: Painter, rng: np.random.Generator, *, x: float, z: float) -> None:
    """Somebody on a bicycle, at any angle to the road."""
    angle = rng.choice([0.5 * np.pi, 0.3, -0.5]) + rng.normal(0.0, 0.15)
    forward = np.array([np.cos(angle), 0.0, np.sin(angle)])
    across = np.array([np.sin(angle), 0.0, -np.cos(angle)])
    origin = np.array([x, 0.0, z])

    def place(ahead: float, up: float, sideways: float = 0.0) -> tuple[float, float, float]:
        point = origin + ahead * forward + sideways * across
        return (float(point[0]), up, float(point[2]))

    frame, coat = pick(rng, PAINT), pick(rng, PAINT)
    trousers = scaled(pick(rng, PAINT + GREYS), 0.7)
    for hub in (-0.52, 0.52):
        wheel = [place(hub + 0.34 * np.cos(a), 0.34 + 0.34 * np.sin(a)) for a in _CIRCLE]
        painter.stroke(wheel, (34, 34, 36), BICYCLIST, width_m=0.07, closed=True)
    tubes = ((-0.52, 0.34), (-0.15, 0.85), (0.42, 0.85), (0.0, 0.34), (-0.15, 0.85), (0.42, 0.95), (0.52, 0.34))
    painter.stroke([place(ahead, up) for ahead, up in tubes], frame, BICYCLIST, width_m=0.06)
    painter.stroke([place(0.42, 1.02, -0.28), place(0.42, 1.02, 0.28)], (40, 40, 42), BICYCLIST, width_m=0.06)
    _paint_rider(painter, place, colours=(coat, trousers, pick(rng, SKIN)), helmet=pick(rng, PAINT))


def _paint_rider(painter: Painter, place: _Place, *, colours: tuple[Colour, Colour, Colour], helmet: Colour) -> None:
    """The rider: legs to the pedals, a torso that leans forward, arms to the handlebar, head."""
    coat, trousers, skin = colours
    for side, pedal in ((-1, 0.2), (1, 0.5)):
        leg = [place(-0.12, 0.95, side * 0.1), place(0.16, 0.62, side * 0.12), place(0.0, pedal, side * 0.12)]
        painter.stroke(leg, trousers, BICYCLIST, width_m=0.17)
        painter.stroke([place(0.12, 1.42, side * 0.2), place(0.42, 1.04, side * 0.24)], coat, BICYCLIST, width_m=0.11)
    painter.stroke([place(-0.12, 0.98), place(0.04, 1.24), place(0.14, 1.42)], coat, BICYCLIST, width_m=0.4)
    painter.disc(place(0.22, 1.66), skin, BICYCLIST, radii_m=(0.11, 0.14))
    painter.disc(place(0.2, 1.74), helmet, BICYCLIST, radii_m=(0.14, 0.09))
