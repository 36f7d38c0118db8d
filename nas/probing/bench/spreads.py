"""Medians with their spread, and ratios of times that were taken in the same rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Spread(NamedTuple):
    """Median, first and last decile of some values; deciles between two values are interpolated linearly."""

    median: float
    p10: float
    p90: float


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value.

    >>> spread([1.0, 2.0, 3.0, 4.0, 11.0])
    Spread(median=3.0, p10=1.4, p90=8.2)
    """
    p10, median, p90 = (round(float(value), 12) for value in np.quantile(values, (0.1, 0.5, 0.9)))
    return Spread(median, p10, p90)


def ratio(values: Sequence[float], base: Sequence[float]) -> Spread:
    """The spread of the ratios of each round: what slows a whole round leaves its ratio alone.

    Args:
        values: Times by round.
        base: Times of what it is compared with in the same rounds.

    >>> ratio([2.0, 6.0, 30.0], [1.0, 2.0, 10.0]).median
    3.0
    """
    return spread([one / other for one, other in zip(values, base, strict=True)])
