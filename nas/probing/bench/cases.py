"""Cases of `nas bench search`: shapes, and the ways of taking a step at each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from nas.errors import ConfigError

LGCNET_TARGET, SQUEEZENAS_TARGET = "180x240x4", "128x256x2"
"""The shapes that targets are stated for."""
OWN_SHAPES = {
    "lgcnet": (LGCNET_TARGET, "128x256x4", "97x131x4"),
    "squeezenas_small": (SQUEEZENAS_TARGET, "64x128x2", "97x131x2"),
    "fasterseg": ("64x128x2", "32x64x2", "33x65x2"),
}
"""Space -> the shapes at which it is measured unless others are given: an odd one is among them."""
OTHER_SHAPES = ("128x256x2", "64x128x2", "97x131x2")
"""Shapes of the other spaces."""


class Shape(NamedTuple):
    """Size of a batch: height and width in pixels, and the number of images."""

    height: int
    width: int
    batch: int

    def __str__(self) -> str:
        """As settings state it."""
        return f"{self.height}x{self.width}x{self.batch}"


class Variant(NamedTuple):
    """A way of taking a step.

    Args:
        relaxation: One of `RELAXATION_NAMES`; empty for a peer.
        execution: One of `EXECUTION_NAMES`; empty for a peer.
        peer: Name of the official checkout whose step it is; empty: our own.
    """

    relaxation: str
    execution: str
    peer: str = ""

    def __str__(self) -> str:
        """As tables name it."""
        return f"official {self.peer}" if self.peer else f"{self.relaxation} {self.execution}"


BASE = Variant("soft", "reference")
"""The variant that others are compared with, where it is measured."""


def parse_shape(text: str) -> Shape:
    """A shape from HEIGHTxWIDTHxBATCH.

    >>> parse_shape("97x131x2")
    Shape(height=97, width=131, batch=2)

    Raises:
        ConfigError: If the text states none.
    """
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})x([1-9]\d{0,3})", str(text))
    if match is None:
        raise ConfigError(f"shapes: got {text!r}, expected HEIGHTxWIDTHxBATCH, e.g. 128x256x2, all at least 1")
    return Shape(*map(int, match.groups()))


def shapes_of(space: str, given: Sequence[str] | None) -> list[Shape]:
    """The shapes at which a space is measured."""
    return [parse_shape(text) for text in (OWN_SHAPES.get(space, OTHER_SHAPES) if given is None else given)]


def variants_of(relaxations: Sequence[str], executions: Sequence[str]) -> list[Variant]:
    """Every relaxation in every execution, what the others are compared with first."""
    variants = [Variant(relaxation, execution) for relaxation in relaxations for execution in executions]
    return sorted(variants, key=lambda variant: variant != BASE)
