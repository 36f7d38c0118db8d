"""Latency of a derived network from a table: the sum over the operations that it executes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from nas.graph import Graph
from nas.ops import OpSpec


@dataclass(frozen=True, slots=True)
class Latency:
    """Predicted latency from image to label map.

    Args:
        ms: Predicted latency in milliseconds.
        low_ms: Lower bound; None until the table is calibrated.
        high_ms: Upper bound; None until the table is calibrated.
        by_part: Milliseconds of each part of the network.
    """

    ms: float
    low_ms: float | None
    high_ms: float | None
    by_part: dict[str, float]


def predict_graph(graph: Graph, cost: Callable[[OpSpec], float]) -> Latency:
    """Sum the cost of every operation of a derived network's graph."""
    by_part: dict[str, float] = defaultdict(float)
    for part, spec in graph.operations():
        by_part[part] += cost(spec)
    return Latency(sum(by_part.values()), None, None, dict(by_part))
