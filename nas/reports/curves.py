"""Curves of a run: the scalars of its `metrics.jsonl` over steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Row = Mapping[str, Any]
"""A row of `metrics.jsonl`."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One scalar of one split.

    Args:
        split: The split, as in `metrics.jsonl`.
        key: Name of the scalar.
        label: What to call it in the legend.
        colour: Its colour.
        thin: Whether it has a point a step and stands behind the others.
    """

    split: str
    key: str
    label: str
    colour: str
    thin: bool = False


_BLUE, _ORANGE, _GREEN, _PURPLE, _PALE = "#2b6cb0", "#d9730d", "#2f855a", "#6b46c1", "#a9bfd6"
_INK, _FAINT = "#22262b", "#6b7178"

PANELS: dict[str, tuple[Curve, ...]] = {
    "loss": (
        Curve("step", "loss", "single steps", _PALE, thin=True),
        Curve("train", "loss", "mean of an epoch", _BLUE),
        Curve("train", "holdout_loss", "held-out, with latency", _ORANGE),
    ),
    "divergence from the teacher": (
        Curve("step", "distillation", "single steps", _PALE, thin=True),
        Curve("train", "distillation", "mean of an epoch", _BLUE),
    ),
    "mIoU": (
        Curve("train", "miou", "training", _BLUE),
        Curve("val", "miou", "validation", _ORANGE),
        Curve("val_argmax", "miou", "validation, argmax", _GREEN),
        Curve("val_teacher", "miou", "validation, teacher", _GREEN),
    ),
    "accuracy": (
        Curve("train", "top1", "training, top-1", _BLUE),
        Curve("val", "top1", "validation, top-1", _ORANGE),
        Curve("val", "top5", "validation, top-5", _GREEN),
    ),
    "expected latency": (
        Curve("train", "expected_latency", "of softmax(alpha)", _BLUE),
        Curve("val", "latency", "as sampled", _ORANGE),
        Curve("val_argmax", "latency", "argmax", _GREEN),
        Curve("val", "derived_latency", "derived network", _GREEN),
        Curve("train", "latency_target", "target", _FAINT),
    ),
    "expected latency, second table": (
        Curve("train", "expected_latency_2", "of softmax(alpha)", _BLUE),
        Curve("val", "latency_2", "as sampled", _ORANGE),
        Curve("val_argmax", "latency_2", "argmax", _GREEN),
        Curve("val", "derived_latency_2", "derived network", _GREEN),
        Curve("train", "latency_target_2", "target", _FAINT),
    ),
    "latency weight": (
        Curve("step", "multiplier", "single steps", _PALE, thin=True),
        Curve("train", "multiplier", "mean of an epoch", _PURPLE),
        Curve("train", "multiplier_2", "second table", _ORANGE),
    ),
    "entropy of the decisions": (Curve("train", "entropy", "1: uniform, 0: decided", _PURPLE),),
    "temperature": (
        Curve("step", "tau", "single steps", _PALE, thin=True),
        Curve("train", "tau", "mean of an epoch", _PURPLE),
    ),
    "light share": (Curve("train", "light_share", "none, skip and pooling", _PURPLE),),
    "learning rate": (
        Curve("step", "lr", "single steps", _PALE, thin=True),
        Curve("train", "lr", "mean of an epoch", _PURPLE),
    ),
}
"""Panel -> its curves; a panel of which a run has nothing is not drawn."""

COLUMNS = 3


def draw_curves(rows: Sequence[Row], *, cost_unit: str = "") -> Figure | None:
    """A panel for each kind of scalar that the rows have; None if they have none.

    Args:
        rows: Rows of `metrics.jsonl`.
        cost_unit: Unit of the latencies.
    """
    points = {title: [(curve, series(rows, curve)) for curve in curves] for title, curves in PANELS.items()}
    drawn = {title: [pair for pair in pairs if pair[1][0]] for title, pairs in points.items()}
    drawn = {title: pairs for title, pairs in drawn.items() if pairs}
    if not drawn:
        return None
    columns = min(COLUMNS, len(drawn))
    lines = math.ceil(len(drawn) / columns)
    width, height = 3.9 * columns, 2.65 * lines
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    figure.subplots_adjust(
        left=0.6 / width, right=1 - 0.1 / width, bottom=0.5 / height, top=1 - 0.3 / height, wspace=0.22, hspace=0.45
    )
    for number, (title, pairs) in enumerate(drawn.items(), start=1):
        axes = figure.add_subplot(lines, columns, number)
        named = f"{title} [{cost_unit}]" if title.startswith("expected latency") and cost_unit else title
        _draw_panel(axes, named, pairs)
    return figure


def series(rows: Sequence[Row], curve: Curve) -> tuple[list[int], list[float]]:
    """Steps and values of a curve; rows without a number are left out.

    >>> series([{"split": "val", "step": 3, "miou": 0.5}, {"split": "val", "step": 6, "miou": None}], PANELS["mIoU"][1])
    ([3], [0.5])
    """
    found = [(row["step"], row[curve.key]) for row in rows if row.get("split") == curve.split and row.get(curve.key) is not None]
    return [step for step, _ in found], [value for _, value in found]


def _draw_panel(axes: Axes, title: str, pairs: Sequence[tuple[Curve, tuple[list[int], list[float]]]]) -> None:
    for curve, (steps, values) in pairs:
        marker = "o" if len(steps) <= 60 and not curve.thin else ""
        width, order = (0.8, 2) if curve.thin else (1.6, 3)
        (line,) = axes.plot(steps, values, color=curve.colour, linewidth=width, label=curve.label, zorder=order)
        line.set(marker=marker, markersize=3)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=_INK)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("step", fontsize=8, color=_FAINT)
    axes.tick_params(labelsize=8, colors=_FAINT)
    axes.grid(color="#e6e8eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c9ced4")
    axes.legend(fontsize=7.5, frameon=False, labelcolor=_FAINT)
