"""Drift of a machine's speed, read off a reference operation that is timed throughout, and taken out of samples."""

import math
from bisect import bisect_left, insort
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from nas.worker.robust_medians import median_of_sorted

REFERENCE_EVERY = 4
"""Samples between two timings of the reference."""
NEIGHBOURS = (5, 10, 20, 40, 80)
"""Timings of the reference on either side of a sample that its local level may be the median of."""
AGREEMENT = 1.5
"""Standard errors within which medians over fewer and more neighbours count as the same level."""


class Timing(NamedTuple):
    """One timing.

    Fields:
        key: Key of the operation.
        round_index: The round, from 0.
        ms: Mean latency of a call in ms.
        calls: Number of calls.
        is_reference: Whether it is a timing of the reference operation; else it is a sample.
    """

    key: str
    round_index: int
    ms: float
    calls: int
    is_reference: bool = False


def local_levels(reference_ms: Sequence[float]) -> List[float]:
    """Time of the reference between any two of its timings: the median of the neighbouring ones.

    A median of m values with noise s has the standard error 1.2533 s / sqrt(m). Few neighbours follow a change of speed, many
    carry less noise into the samples; so each place takes as many as agree, by the rule of intersecting confidence
    intervals (Goldenshluger and Nemirovski 1997): the window is doubled as long as the intervals of all medians so far have a
    value in common. Where nothing drifts, a corrected sample is then 1.01 (long runs) to 1.05 times as noisy as a plain one.
    A step is followed at the timing where it is, if the new speed lasts for more than the fewest neighbours; shorter ones,
    like outliers, are ignored.

    Args:
        reference_ms: n positive timings in order of time, n >= 1.

    Returns:
        n + 1 values in ms: before the first, between each two, after the last.

    >>> steady, slow = [1.0] * 6, [2.0] * 6
    >>> [round(level, 3) for level in local_levels(steady + [9.0] + slow)]
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.414, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    """
    logs = [math.log(ms) for ms in reference_ms]
    deviation = _noise(logs)
    levels = _window_medians(logs, NEIGHBOURS[0])
    bounds = [(-math.inf, math.inf)] * len(levels)
    agreeing = list(range(len(levels)))
    for neighbours in NEIGHBOURS:
        medians = _window_medians(logs, neighbours)
        margin = AGREEMENT * math.sqrt(math.pi / 2) * deviation / math.sqrt(2 * neighbours) + 1e-12
        still: List[int] = []
        for place in agreeing:
            low, high = bounds[place]
            bounds[place] = low, high = max(low, medians[place] - margin), min(high, medians[place] + margin)
            if low <= high and neighbours <= place <= len(logs) - neighbours:
                still.append(place)
                levels[place] = medians[place]
        agreeing = still
    return [math.exp(level) for level in levels]


def corrected_samples(timings: Iterable[Timing], *, level_ms: Optional[float] = None) -> Dict[str, List[float]]:
    """Samples at one level of speed: sample * level / local level of the reference.

    Args:
        timings: Samples and timings of the reference in order of time.
        level_ms: What the reference takes at the level wanted; None: the median of its timings.

    Returns:
        Operation key -> samples in ms in order of time; without a timing of the reference, as they are.
    """
    reference: List[float] = []
    samples: List[Tuple[str, float, int]] = []
    for timing in timings:
        if timing.is_reference:
            reference.append(timing.ms)
        else:
            samples.append((timing.key, timing.ms, len(reference)))
    factors = [1.0]
    if reference:
        level = median_of_sorted(sorted(reference)) if level_ms is None else level_ms
        factors = [level / local for local in local_levels(reference)]
    corrected: Dict[str, List[float]] = {}
    for key, ms, gap in samples:
        corrected.setdefault(key, []).append(ms * factors[gap])
    return corrected


def _window_medians(values: Sequence[float], neighbours: int) -> List[float]:
    """N + 1 medians of up to `neighbours` values on either side of each gap."""
    window = sorted(values[:neighbours])
    medians = [median_of_sorted(window)]
    for gap in range(1, len(values) + 1):
        if gap - 1 + neighbours < len(values):
            insort(window, values[gap - 1 + neighbours])
        if gap - 1 - neighbours >= 0:
            del window[bisect_left(window, values[gap - 1 - neighbours])]
        medians.append(median_of_sorted(window))
    return medians


def _noise(values: Sequence[float]) -> float:
    """Standard deviation of values about a level that may move, from their successive differences."""
    if len(values) < 2:
        return 0.0
    steps = sorted(abs(later - earlier) for earlier, later in zip(values, values[1:]))  # noqa: B905  strict= came with 3.10
    return median_of_sorted(steps) / (0.6745 * math.sqrt(2))
