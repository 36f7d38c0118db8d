"""What a report shows of `metrics.jsonl`, read row by row: a run may have millions of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.reports.envelope import Envelope
from nas.reports.panels import PANELS, Curve

EVALUATIONS = ("val", "val_argmax")
"""The splits of which the last mIoU is a fact of the run."""


@dataclass(slots=True)
class RunMetrics:
    """Rows of the metrics of a run, in bounded memory.

    Args:
        steps: Steps that were done.
        miou: Split of `EVALUATIONS` -> its last mIoU.
        curves: Curve of `PANELS` -> its points; without those that have none.
    """

    steps: int = 0
    miou: dict[str, float] = field(default_factory=dict)
    curves: dict[Curve, Envelope] = field(default_factory=dict)

    @property
    def num_points(self) -> int:
        """Points of all curves."""
        return sum(one.count for one in self.curves.values())

    @property
    def num_shown(self) -> int:
        """Points of all curves that are kept."""
        return sum(len(one.points()[0]) for one in self.curves.values())


def run_metrics(rows: Iterable[Mapping[str, Any]]) -> RunMetrics:
    """The metrics of a run.

    Args:
        rows: Rows of `metrics.jsonl`; a scalar that is null or missing has no point.
    """
    found = RunMetrics()
    of_split: dict[str, list[tuple[str, Envelope, Curve]]] = defaultdict(list)
    for curve in (one for curves in PANELS.values() for one in curves):
        of_split[curve.split].append((curve.key, Envelope(), curve))
    for row in rows:
        step, split = row["step"], row.get("split")
        found.steps = max(found.steps, step)
        if split in EVALUATIONS and row.get("miou") is not None:
            found.miou[split] = row["miou"]
        for key, envelope, _ in of_split.get(str(split), ()):
            value = row.get(key)
            if value is not None:
                envelope.add(step, value)
    found.curves = {curve: envelope for parts in of_split.values() for _, envelope, curve in parts if envelope.count}
    return found
