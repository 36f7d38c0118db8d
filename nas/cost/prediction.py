"""Latency of a derived network from a table: the sum over the operations that it executes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from nas.cost import CostTable
from nas.ops import OpSpec
from nas.space.graph import Graph

FILE_NAME = "predict.json"


OVERHEAD = "runtime"
"""Name of the part that is what a network costs beside its operations."""


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


def predict_on(graph: Graph, table: CostTable) -> Latency:
    """Cost of a derived network's graph by a table, with overhead and error bar if the table is seen calibrated."""
    latency = predict_graph(graph, table.cost)
    if table.overhead:
        by_part = {**latency.by_part, OVERHEAD: table.overhead}
        latency = Latency(sum(by_part.values()), None, None, by_part)
    if table.bar is None:
        return latency
    return replace(latency, low_ms=max(0.0, latency.ms * (1 - table.bar)), high_ms=latency.ms * (1 + table.bar))


def share(cost: float, total: float) -> float:
    """Part of a total; 0 where the total is 0."""
    return cost / total if total else 0.0
