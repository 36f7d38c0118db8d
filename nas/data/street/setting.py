"""Properties of a whole street scene: its widths, its light, and where things may stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.data.street.colours import GREYS, SKIES, Colour, mixed, pick, scaled

BLOCK_M = 7.0
"""Depth of one plot along the street; scenes are painted plot by plot, from far to near."""
FIRST_BLOCK_M = 4.0
"""Depth at which the nearest plot begins."""
NUM_BLOCKS = 12
FAR_M = FIRST_BLOCK_M + NUM_BLOCKS * BLOCK_M
"""Depth at which the street ends and the skyline begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The properties of one scene, lengths in metres.

    Args:
        road_half: Half the width of the road.
        pavement: Width of the pavement.
        setback: Distance from pavement to buildings.
        keep_left: -1 where traffic keeps left, 1 where it keeps right: the side of the camera's lane.
        sun_side: -1 or 1: the side the light comes from.
        sun: How much brighter lit faces are than faces in shadow, 0 for an overcast sky.
        sky: Colours overhead and at the horizon.
        road: Colour of the road.
        paving: Colour of the pavement.
    """

    road_half: float
    pavement: float
    setback: float
    keep_left: int
    sun_side: int
    sun: float
    sky: tuple[Colour, Colour]
    road: Colour
    paving: Colour

    @property
    def kerb(self) -> float:
        """Distance of the pavement's edge from the middle of the road."""
        return self.road_half

    @property
    def frontage(self) -> float:
        """Distance of the pavement's far edge from the middle of the road."""
        return self.road_half + self.pavement

    @property
    def facade(self) -> float:
        """Distance of the buildings from the middle of the road."""
        return self.frontage + self.setback

    def lit(self, colour: Colour, side: int) -> Colour:
        """The colour of a face that looks at the road from the given side (-1 left, 1 right)."""
        return scaled(colour, 1.0 + self.sun if side != self.sun_side else 1.0 - self.sun)


def draw_setting(rng: np.random.Generator) -> Setting:
    """The properties of one scene, drawn."""
    road, paving = pick(rng, GREYS), pick(rng, GREYS)
    if abs(sum(road) - sum(paving)) < 24:
        paving = mixed(paving, (176.0, 168.0, 156.0), 0.4)
    return Setting(
        road_half=float(rng.uniform(2.8, 4.2)),
        pavement=float(rng.uniform(1.6, 3.0)),
        setback=float(rng.choice([0.2, 1.6, 2.6])),
        keep_left=int(rng.choice([-1, 1])),
        sun_side=int(rng.choice([-1, 1])),
        sun=float(rng.choice([0.0, 0.1, 0.22])),
        sky=SKIES[int(rng.integers(len(SKIES)))],
        road=road,
        paving=paving,
    )
