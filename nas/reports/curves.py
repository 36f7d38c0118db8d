"""Curves of a run: the scalars of its `metrics.jsonl` over steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nas.reports.envelope import Envelope
from nas.reports.panels import FAINT, PANELS, Curve

_INK = "#22262b"
COLUMNS = 3


def draw_curves(found: Mapping[Curve, Envelope], *, cost_unit: str = "") -> Figure | None:
    """A panel for each kind of scalar that a run has; None if it has none.

    Args:
        found: Curve -> its points; a curve without points is not drawn.
        cost_unit: Unit of the latencies.
    """
    points = {title: [(curve, found[curve].points()) for curve in curves if curve in found] for title, curves in PANELS.items()}
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


def _draw_panel(axes: Axes, title: str, pairs: Sequence[tuple[Curve, tuple[list[int], list[float]]]]) -> None:
    for curve, (steps, values) in pairs:
        marker = "o" if len(steps) <= 60 and not curve.thin else ""
        width, order = (0.8, 2) if curve.thin else (1.6, 3)
        (line,) = axes.plot(steps, values, color=curve.colour, linewidth=width, label=curve.label, zorder=order)
        line.set(marker=marker, markersize=3)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=_INK)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("step", fontsize=8, color=FAINT)
    axes.tick_params(labelsize=8, colors=FAINT)
    axes.grid(color="#e6e8eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c9ced4")
    axes.legend(fontsize=7.5, frameon=False, labelcolor=FAINT)
