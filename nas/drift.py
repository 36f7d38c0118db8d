"""Drift of a machine's speed, read off a reference operation that is timed throughout, and taken out of samples."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nas.journal import Timing
from nas.ops import macs
from nas.ops.spec import OpSpec

REFERENCE_EVERY = 4
"""Samples between two timings of the reference."""
NEIGHBOURS = (5, 10, 20, 40, 80)
"""Timings of the reference on either side of a sample that its local level may be the median of."""
AGREEMENT = 1.5
"""Standard errors within which medians over fewer and more neighbours count as the same level."""
REFERENCE_RULE = (
    f"middle operation by MACs, timed every {REFERENCE_EVERY} samples; sample * level / median of the {NEIGHBOURS[0]} to "
    f"{NEIGHBOURS[-1]} timings on either side that agree"
)


def choose_reference(plan: Iterable[OpSpec]) -> OpSpec:
    """The operation of a plan in the middle by multiply-accumulates, among those that have any.

    Networks spend their time in operations that multiply, so these are what drift must be corrected for. The largest would
    slow the measurement down, the smallest are mostly the cost of a call, which does not scale with the clock; the middle
    one is neither, and the same plan always has the same one.

    Args:
        plan: The operations, at least one. If none of them multiplies, the middle one by the size of its output is taken.
    """
    plan = list(plan)
    candidates = [spec for spec in plan if macs(spec) > 0] or plan
    ranked = sorted(candidates, key=lambda spec: (macs(spec), spec.out_channels * spec.out_height * spec.out_width, spec.key))
    return ranked[len(ranked) // 2]


def local_levels(reference_ms: Sequence[float]) -> NDArray[np.float64]:
    """What the reference takes between any two of its timings: the median of the neighbouring ones.

    A median of m values with noise s has the standard error 1.2533 s / sqrt(m). Few neighbours follow a change of speed, many
    carry less noise into the samples; so each place takes as many as agree, by the rule of intersecting confidence
    intervals (Goldenshluger and Nemirovski 1997): the window is doubled as long as the intervals of all medians so far have a
    value in common. Where nothing drifts, a corrected sample is then 1.01 (long runs) to 1.05 times as noisy as a plain one.
    A step is followed at the timing where it is, if the new speed lasts for more than the fewest neighbours; shorter ones,
    like outliers, are ignored.

    Args:
        reference_ms: n positive timings in order of time, n >= 1.

    Returns:
        [n + 1] in ms: before the first, between each two, after the last.

    >>> steady, slow = [1.0] * 6, [2.0] * 6
    >>> local_levels([*steady, 9.0, *slow]).round(3).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.414, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    """
    logs = np.log(np.asarray(reference_ms, dtype=np.float64))
    deviation = _noise(logs)
    place = np.arange(len(logs) + 1)
    levels = _window_medians(logs, NEIGHBOURS[0])
    lower, upper = np.full(len(place), -np.inf), np.full(len(place), np.inf)
    agrees = np.ones(len(place), dtype=bool)
    for neighbours in NEIGHBOURS:
        medians = _window_medians(logs, neighbours)
        margin = AGREEMENT * math.sqrt(math.pi / 2) * deviation / math.sqrt(2 * neighbours) + 1e-12
        lower, upper = np.maximum(lower, medians - margin), np.minimum(upper, medians + margin)
        agrees &= (lower <= upper) & (place >= neighbours) & (place <= len(logs) - neighbours)
        levels = np.where(agrees, medians, levels)
    return np.exp(levels)


def corrected_samples(timings: Iterable[Timing], *, level_ms: float | None = None) -> dict[str, list[float]]:
    """Samples at one level of speed: sample * level / local level of the reference.

    Args:
        timings: Samples and timings of the reference in order of time.
        level_ms: What the reference takes at the level wanted; None: the median of its timings.

    Returns:
        Operation key -> samples in ms in order of time; without a timing of the reference, as they are.
    """
    reference: list[float] = []
    samples: list[tuple[str, float, int]] = []
    for timing in timings:
        if timing.is_reference:
            reference.append(timing.ms)
        else:
            samples.append((timing.key, timing.ms, len(reference)))
    factors = np.ones(1)
    if reference:
        factors = (float(np.median(reference)) if level_ms is None else level_ms) / local_levels(reference)
    corrected: dict[str, list[float]] = defaultdict(list)
    for key, ms, gap in samples:
        corrected[key].append(ms * float(factors[gap]))
    return dict(corrected)


def _window_medians(values: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """[n + 1] medians of up to `neighbours` values on either side of each gap."""
    padded = np.pad(values, neighbours, constant_values=np.nan)
    medians: NDArray[np.float64] = np.nanmedian(sliding_window_view(padded, 2 * neighbours), axis=1)
    return medians


def _noise(values: NDArray[np.float64]) -> float:
    """Standard deviation of values about a level that may move, from their successive differences."""
    if len(values) < 2:
        return 0.0
    return float(np.median(np.abs(np.diff(values))) / (0.6745 * math.sqrt(2)))
