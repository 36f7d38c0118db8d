"""The expected latency by part as plain numbers."""

from __future__ import annotations

from collections import defaultdict

from nas.cost.expected import ExpectedLatency
from nas.space.weights import Weights


def expected_by_part(expected: ExpectedLatency, weights: Weights) -> dict[str, float]:
    """Part -> the sum of its costs, parts in order."""
    totals: dict[str, float] = defaultdict(float)
    for part, value in zip(expected.parts, expected.by_part(weights).detach().tolist(), strict=True):
        totals[part] += value
    return dict(totals)
