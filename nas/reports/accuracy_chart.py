"""A chart of mIoU against time: a panel for each runtime and size, with the front of each kind of mIoU."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b83280")
"""Of kinds of mIoU in their order; they begin again where there are more."""
PLACES = ((5, 4), (5, -11), (-5, 4), (-5, -11), (5, 14), (-5, 14), (5, -21), (-5, -21), (5, 24), (-5, 24))
"""Where a name may stand beside its point, in typographic points."""
_APART_PX = 3.0
"""Least pixels between two names in a line, halved."""
_INK, _FAINT = "#22262b", "#6b7178"
_HEIGHT, _FLAT = 5.4, 1.6
"""Inches of a panel, and of one in which no mIoU is known."""
_LOG_FROM = 8.0
"""The axis of time is logarithmic where the slowest network takes so many times as long as the fastest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartPoint:
    """A network in a panel.

    Args:
        name: What stands beside it.
        ms: Its time in ms.
        miou: Its mIoU as a share; None: it is drawn on the axis of time.
        kind: What the mIoU is of; points of other kinds are not comparable.
        is_published: Whether somebody published the mIoU; else it was measured here.
    """

    name: str
    ms: float
    miou: float | None = None
    kind: str = ""
    is_published: bool = False


@dataclass(frozen=True, slots=True)
class ChartPanel:
    """Networks that were timed side by side.

    Args:
        title: What stands above.
        points: The networks.
    """

    title: str
    points: Sequence[ChartPoint]


def front(points: Sequence[ChartPoint]) -> list[ChartPoint]:
    """The points, by time, than which none is both at most as slow and at least as accurate; of equal ones the first stays.

    >>> a, b, c = (ChartPoint(name=n, ms=ms, miou=m) for n, ms, m in (("a", 2, 0.6), ("b", 1, 0.5), ("c", 3, 0.55)))
    >>> [point.name for point in front([a, b, c])]
    ['b', 'a']
    """
    known = [point for point in points if point.miou is not None]
    kept: list[ChartPoint] = []
    best = -math.inf
    for point in sorted(known, key=lambda one: (one.ms, -(one.miou or 0.0))):
        if point.miou is not None and point.miou > best:
            kept.append(point)
            best = point.miou
    return kept


def draw_accuracy_chart(panels: Sequence[ChartPanel], *, time: str = "ms") -> Figure:
    """The panels below each other.

    Args:
        panels: At least one.
        time: What the axis of time says.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [_HEIGHT if any(point.miou is not None for point in panel.points) else _FLAT for panel in panels]
    figure = Figure(figsize=(9.5, sum(heights)), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    kinds = list(dict.fromkeys(point.kind for panel in panels for point in panel.points if point.miou is not None))
    places = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for axes, panel, height in zip(places, panels, heights, strict=True):
        _draw_panel(axes, panel, kinds, height=height)
        axes.set_xlabel(time)
    figure.draw_without_rendering()  # places the axes, on which the place of names depends
    for axes, panel in zip(figure.axes, panels, strict=True):
        _write_names(axes, panel)
    return figure


def _draw_panel(axes: Axes, panel: ChartPanel, kinds: Sequence[str], *, height: float) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_title(panel.title, fontsize=10, color=_INK, parse_math=False)
    times = [point.ms for point in panel.points]
    if max(times) > _LOG_FROM * min(times):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    for number, kind in enumerate(kinds):
        points = [point for point in panel.points if point.miou is not None and point.kind == kind]
        if not points:
            continue
        colour = COLOURS[number % len(COLOURS)]
        best = front(points)
        axes.plot(*_positions(best), color=colour, linewidth=1.2, alpha=0.6, drawstyle="steps-post", zorder=1)
        for is_published, face in ((False, colour), (True, "white")):
            shown = [point for point in points if point.is_published is is_published]
            if shown:
                axes.scatter(*_positions(shown), s=34, facecolor=face, edgecolor=colour, linewidth=1.4, label=kind, zorder=2)
    without = [point for point in panel.points if point.miou is None]
    if without:
        axes.plot(
            [point.ms for point in without],
            [0.0] * len(without),
            linestyle="none",
            marker="|",
            markersize=14,
            color=_FAINT,
            clip_on=False,
            transform=axes.get_xaxis_transform(),
            label="mIoU not known",
        )
    if len(without) == len(panel.points):
        axes.set_yticks([])
    else:
        axes.set_ylabel("mIoU, %")
    axes.margins(x=0.12, y=0.15)
    axes.set_ylim(bottom=max(axes.get_ylim()[0], 0.0))
    axes.grid(visible=True, alpha=0.25)
    axes.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1.0, -0.11 * _HEIGHT / height), ncols=3, frameon=False)


def _positions(points: Sequence[ChartPoint]) -> tuple[list[float], list[float]]:
    return [point.ms for point in points], [100 * (point.miou or 0.0) for point in points]


def _write_names(axes: Axes, panel: ChartPanel) -> None:
    """Names beside their points, each where it covers no other, in the frame if it can, as far as there is such a place."""
    taken: list[Bbox] = []
    for point in sorted(panel.points, key=lambda one: one.ms):
        places = PLACES if point.miou is not None else tuple((0, 6 + 10 * step) for step in range(5))
        for within, (right, up) in itertools.product((True, False), places):
            text = axes.annotate(
                point.name,
                (point.ms, 100 * point.miou if point.miou is not None else 0.0),
                xycoords="data" if point.miou is not None else axes.get_xaxis_transform(),
                xytext=(right, up),
                textcoords="offset points",
                ha="left" if right > 0 else "center" if right == 0 else "right",
                fontsize=7.5,
                color=_INK if point.miou is not None else _FAINT,
                parse_math=False,  # names of files may have any character
            )
            box = text.get_window_extent().padded(_APART_PX, 0.0)
            fits = not within or (axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1)
            if fits and not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        else:
            continue  # the table has it
        taken.append(box)
