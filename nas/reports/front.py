"""A front from one search: the most probable architecture under each of several limits, and a picture of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.files.atomic import write_bytes_atomic, write_text_atomic
from nas.reports.picture_bytes import figure_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT_VERSION = 1
"""The version of `front.json`."""


@dataclass(frozen=True, slots=True)
class Point:
    """An architecture of a front.

    Args:
        target: The limit that it was derived under, in ms.
        cost: Its predicted latency in ms.
        log_probability: Its log-probability, the sum over decisions.
        choices: Decision -> option.
    """

    target: float
    cost: float
    log_probability: float
    choices: Mapping[str, str]

    @property
    def file_name(self) -> str:
        """Its genotype's file."""
        return f"genotype_{self.target:g}ms.yaml"


def undominated(points: Sequence[Point]) -> list[Point]:
    """Points by cost, without those that another one dominates: no dearer and no less probable; of equal ones the first stays.

    >>> front = undominated([Point(9, 7.0, -2.0, {}), Point(8, 7.0, -2.0, {}), Point(4, 3.0, -5.0, {}), Point(5, 4.0, -6.0, {})])
    >>> [point.target for point in front]
    [4, 9]
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.log_probability)):
        if not kept or point.log_probability > kept[-1].log_probability:
            kept.append(point)
    return kept


def write_front(folder: Path, *, points: Sequence[Point], kept: Sequence[Point], table: str) -> tuple[Path, Path]:
    """Write `front.json` and `front.png`; their paths."""
    rows = [
        {
            "target_ms": point.target,
            "predicted_ms": point.cost,
            "log_probability": point.log_probability,
            "genotype": point.file_name if point in kept else None,
        }
        for point in points
    ]
    data, picture = folder / "front.json", folder / "front.png"
    text = json.dumps({"format_version": FORMAT_VERSION, "table": table, "points": rows}, indent=2, allow_nan=False)
    write_text_atomic(data, text + "\n")
    write_bytes_atomic(picture, figure_bytes(_draw(points, kept=kept, table=table), dpi=110))
    return data, picture


def _draw(points: Sequence[Point], *, kept: Sequence[Point], table: str) -> Figure:
    """Log-probability against predicted latency; targets as lines, dominated points hollow."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for point in points:
        axes.axvline(point.target, color="#a9bfd6", linewidth=0.8, linestyle="--")
    dropped = [point for point in points if point not in kept]
    axes.plot([p.cost for p in kept], [p.log_probability for p in kept], "o-", color="#2b6cb0", label="derived")
    if dropped:
        dropped_at = [p.cost for p in dropped], [p.log_probability for p in dropped]
        axes.plot(*dropped_at, "o", markerfacecolor="none", color="#6b7178", label="dominated")
    axes.set_xlabel(f"predicted latency on {table}, ms (dashed: targets)")
    axes.set_ylabel("log-probability of the architecture")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    return figure
