"""Schedules of learning rates and temperatures: stateless functions of progress in [0, 1]."""

from __future__ import annotations

import math


def poly(progress: float, *, start: float, power: float) -> float:
    """Polynomial decay: start * (1 - progress) ^ power.

    Args:
        progress: Share of the run that is done, in [0, 1].
        start: Value at progress 0.
        power: Exponent.

    Raises:
        ValueError: If progress is outside [0, 1].

    >>> poly(0.75, start=0.01, power=0.5)
    0.005
    """
    return start * math.pow(1 - _checked(progress), power)


def cosine(progress: float, *, start: float, end: float) -> float:
    """Half a cosine wave: end + (start - end) * (1 + cos(pi * progress)) / 2.

    Args:
        progress: Share of the run that is done, in [0, 1].
        start: Value at progress 0.
        end: Value at progress 1.

    Raises:
        ValueError: If progress is outside [0, 1].

    >>> cosine(0.5, start=3.0, end=1.0)
    2.0
    """
    return end + (start - end) * (1 + math.cos(math.pi * _checked(progress))) / 2


def exponential(progress: float, *, start: float, end: float) -> float:
    """Geometric decay: start * (end / start) ^ progress.

    Args:
        progress: Share of the run that is done, in [0, 1].
        start: Value at progress 0, above 0.
        end: Value at progress 1, above 0.

    Raises:
        ValueError: If progress is outside [0, 1], or an end of the schedule is not above 0.

    >>> exponential(0.5, start=4.0, end=1.0)
    2.0
    """
    if not (start > 0 and end > 0):
        raise ValueError(f"got start {start} and end {end}, expected both above 0")
    return start * math.pow(end / start, _checked(progress))


def linear(progress: float, *, start: float, end: float) -> float:
    """A straight line: start + (end - start) * progress.

    Args:
        progress: Share of the run that is done, in [0, 1].
        start: Value at progress 0.
        end: Value at progress 1.

    Raises:
        ValueError: If progress is outside [0, 1].

    >>> linear(0.25, start=5.0, end=1.0)
    4.0
    """
    return start + (end - start) * _checked(progress)


def _checked(progress: float) -> float:
    if not 0 <= progress <= 1:
        raise ValueError(f"got progress {progress}, expected a share of the run in [0, 1]")
    return progress
