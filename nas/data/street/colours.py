"""Base colours of a street scene, as data.

The lists are shared between classes on purpose, so that colour alone does not tell the class: road, pavement and pole
take from `GREYS`; building and fence from `MASONRY`; tree and fence from `FOLIAGE`; car, sign, pedestrian and bicyclist
from `PAINT`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Colour = tuple[float, float, float]
"""Red, green and blue in 0..255."""

GREYS: tuple[Colour, ...] = ((84, 84, 88), (102, 101, 100), (120, 118, 116), (138, 136, 131), (156, 152, 147))
MASONRY: tuple[Colour, ...] = (
    (142, 86, 68),
    (122, 76, 62),
    (188, 166, 130),
    (212, 204, 190),
    (152, 148, 142),
    (114, 92, 72),
    (168, 128, 96),
)
FOLIAGE: tuple[Colour, ...] = ((58, 84, 44), (74, 100, 52), (48, 70, 42), (98, 106, 60), (136, 108, 58))
PAINT: tuple[Colour, ...] = (
    (168, 38, 36),
    (38, 64, 132),
    (222, 222, 218),
    (36, 36, 40),
    (156, 160, 164),
    (210, 172, 50),
    (42, 94, 64),
    (96, 40, 60),
)
SKIN: tuple[Colour, ...] = ((224, 180, 150), (196, 146, 112), (140, 96, 70), (92, 62, 46))
GLASS: tuple[Colour, ...] = ((52, 60, 70), (84, 98, 112), (130, 146, 160), (40, 44, 48))
SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((96, 142, 204), (196, 214, 228)),
    ((132, 166, 206), (214, 222, 226)),
    ((172, 178, 184), (206, 208, 208)),
    ((206, 210, 212), (226, 226, 222)),
    ((128, 136, 166), (226, 192, 160)),
)
"""Colour overhead and colour at the horizon."""


def pick(rng: np.random.Generator, colours: Sequence[Colour], spread: float = 8.0) -> Colour:
    """One of the colours, shifted: all channels by a normal number of deviation `spread`, each by a third of that."""
    red, green, blue = colours[int(rng.integers(len(colours)))]
    all_of_it, *own = rng.standard_normal(4).tolist()
    return (
        red + spread * (all_of_it + own[0] / 3),
        green + spread * (all_of_it + own[1] / 3),
        blue + spread * (all_of_it + own[2] / 3),
    )


def scaled(colour: Colour, factor: float) -> Colour:
    """The colour, `factor` times as bright."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """`(1 - share) * first + share * second`."""
    return (
        first[0] + share * (second[0] - first[0]),
        first[1] + share * (second[1] - first[1]),
        first[2] + share * (second[2] - first[2]),
    )
