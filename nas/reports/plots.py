"""Pictures of networks: cells with their operations in colour, and what each part costs."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import networkx as nx
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, PathPatch
from matplotlib.path import Path as Outline

from nas.ops import macs
from nas.reports.architecture_graph import architecture_graph
from nas.reports.flow_layout import flow_layout
from nas.reports.layout import Frame, Layout, lay_out
from nas.space.genotype import Genotype
from nas.space.graph import Graph

OP_COLOURS: dict[str, str] = {
    "skip_connect": "#4d4d4d",
    "max_pool_3x3": "#b07aa1",
    "conv_1x1": "#f4a582",
    "conv_3x3": "#d6301f",
    "sep_conv_3x3": "#a6d854",
    "dil_sep_conv_3x3_d2": "#4dac26",
    "dil_sep_conv_3x3_d4": "#1b9e9e",
    "dil_sep_conv_3x3_d8": "#2b7bba",
    "dil_sep_conv_3x3_d12": "#253494",
    "global_pool_1x1": "#fbb4d9",
    "global_pool_2x2": "#e7298a",
    "global_pool_5x5": "#91005a",
    "transposed_conv": "#8c510a",
    "interpolate": "#e6ab02",
    "none": "#d9d9d9",
}
"""Colour of each operation: convolutions red, separable ones green to blue with the dilation, pooling purple, upsampling brown."""

_OTHERS = ("#17becf", "#bcbd22", "#7f7f7f", "#9467bd", "#ff7f0e", "#1f77b4", "#2ca02c", "#8c564b")
_FIXED = "#9aa0a6"
_FRAMES = {1: "#fafafa", 2: "#fff7ec", 4: "#fef3d9", 8: "#e8f3e6", 16: "#e3eef8", 32: "#ece7f5", 64: "#f6e8ee"}
_INK = "#22262b"
_FAINT = "#5b6168"
_SKIP = "skip_connect"
_DASHED = (_SKIP, "none")
_BARS_HEIGHT = 1.5
_LEAST_WIDTH = 7.5
_LEGEND_COLUMN = 2.3
_LETTERS_AN_INCH = 15.0
"""Letters of the labels of vertices, at their largest size, in an inch."""


def draw_genotype(genotype: Genotype, graph: Graph, *, parts_ms: Mapping[str, float] | None = None) -> Figure:
    """A derived network: one coloured edge for each operation that was chosen.

    Args:
        genotype: The architecture.
        graph: The graph of its derived network.
        parts_ms: Milliseconds of each part, drawn as bars below.
    """
    height, width = genotype.deploy.input
    total = sum(macs(spec) for _, spec in graph.operations())
    facts = [
        *([f"{len(genotype.choices)} decisions"] if genotype.choices else []),
        f"input {height}×{width}",
        f"{genotype.deploy.init_channels} initial channels",
        f"{genotype.deploy.num_classes} classes",
        f"{total / 1e9:.2f} GMACs",
    ]
    if parts_ms is not None:
        facts.append(f"{sum(parts_ms.values()):.2f} ms predicted")
    structure = architecture_graph(graph)
    _mark_chosen(structure, genotype.choices)
    return _draw(structure, title=str(genotype.provenance.get("title", genotype.space)), facts=facts, parts_ms=parts_ms)


def draw_space(graph: Graph, *, title: str = "supernet") -> Figure:
    """A search space: all candidates of every decision, side by side.

    Args:
        graph: The graph of the supernet.
        title: What to write above.
    """
    structure = architecture_graph(graph)
    decisions = {decision for node in graph.nodes for decision in node.decisions}
    for _, _, edge in structure.edges(data=True):
        edge["chosen"] = bool(edge["decisions"])
    facts = [f"{len(decisions)} decisions", f"{len(graph.specs())} distinct operations at this shape"]
    return _draw(structure, title=title, facts=facts, parts_ms=None)


def _draw(structure: nx.MultiDiGraph, *, title: str, facts: Sequence[str], parts_ms: Mapping[str, float] | None) -> Figure:
    decided = any(edge["decisions"] or edge["option"] for _, _, edge in structure.edges(data=True))
    layout = lay_out(structure) if decided else flow_layout(structure)
    counts = Counter(label for _, _, edge in structure.edges(data=True) if edge.get("chosen") for label in edge["operations"])
    colours = _colours(counts)
    width = max(layout.size[0] + 0.5, _LEAST_WIDTH)
    legend = _LegendPlace.within(width, len(colours) + 1)
    height = layout.size[1] + legend.head + 0.3
    bars = _BARS_HEIGHT if parts_ms else 0.0
    figure = Figure(figsize=(width, height + bars), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, bars / (height + bars), 1.0, height / (height + bars)))
    top = layout.top + legend.head
    axes.set_xlim(-0.25, width - 0.25)
    axes.set_ylim(top - height, top)
    axes.set_axis_off()
    axes.text(0.0, top - 0.2, title, fontsize=15, fontweight="bold", color=_INK, va="center")
    axes.text(0.0, top - 0.45, "   ".join(facts), fontsize=9, color=_FAINT, va="center")
    if counts:
        _draw_legend(axes, counts, colours, place=legend, top=top)
    for frame in layout.frames.values():
        _draw_frame(axes, frame, structure, layout)
    for source, target in sorted(set(structure.edges())):
        _draw_connection(axes, structure, layout, (source, target), colours)
    for vertex in structure:
        _draw_vertex(axes, structure.nodes[vertex], layout.positions[vertex], layout.box)
    if parts_ms:
        _draw_bars(figure, parts_ms, share=bars / (height + bars), width=width)
    return figure


@dataclass(frozen=True, slots=True)
class _LegendPlace:
    """Place of the legend: at the right of the title where there is room, else below it.

    Args:
        left: Its left side in inches.
        below: Its upper side in inches below the top of the picture.
        columns: Number of its columns.
        head: Inches that title and legend need together.
    """

    left: float
    below: float
    columns: int
    head: float

    @classmethod
    def within(cls, width: float, entries: int) -> _LegendPlace:
        """The place in a picture of a width."""
        beside = width >= 2 * _LEAST_WIDTH
        left = _LEAST_WIDTH if beside else 0.0
        columns = max(1, int((width - left - 0.5) / _LEGEND_COLUMN))
        rows = math.ceil(entries / columns)
        below = 0.1 if beside else 0.62
        return cls(left, below, columns, max(0.62, below + 0.2 * rows + 0.1))


def _mark_chosen(structure: nx.MultiDiGraph, choices: Mapping[str, str]) -> None:
    """Name the edges after what was chosen for them.

    A derived graph has no node for a skip connection; the sum reads the tensor as it is. Such reads are skip connections in the
    parts that have decisions for one.
    """
    drawn = {name for _, _, name in structure.edges(data="name")}
    skipping = {
        part
        for _, part in structure.nodes(data="part")
        if any(name.startswith(f"{part}.") and name not in drawn and choices[name] == _SKIP for name in choices)
    }
    for _, target, edge in structure.edges(data=True):
        into = structure.nodes[target]
        if edge["option"] is not None:
            edge.update(operations=(edge["option"],), chosen=True)
        elif not edge["name"] and edge["inside"] and into["join"] == "sum" and into["part"] in skipping:
            edge.update(operations=(_SKIP,), chosen=True)


def _colours(counts: Mapping[str, int]) -> dict[str, str]:
    """A colour for each of the operations that occur; those without one of their own get the next of the others."""
    others = itertools.cycle(_OTHERS)
    known = [label for label in OP_COLOURS if label in counts]
    return {**{label: OP_COLOURS[label] for label in known}, **{label: next(others) for label in counts if label not in known}}


def _draw_frame(axes: Axes, frame: Frame, structure: nx.MultiDiGraph, layout: Layout) -> None:
    inside = [v for v, part in structure.nodes(data="part") if part == frame.part]
    last = structure.nodes[inside[-1]]
    colour = _FRAMES.get(last["stride"], "#f2f2f2") if frame.part in layout.line_of else "#f7f5f2"
    box = FancyBboxPatch(
        (frame.left, frame.bottom), frame.width, frame.height,
        boxstyle="round,pad=0,rounding_size=0.12", facecolor=colour, edgecolor="#c9ced4", linewidth=0.8, zorder=1,
    )  # fmt: skip
    axes.add_patch(box)
    name = frame.part.replace("cells.", "cell ")
    axes.text(frame.left + 0.1, frame.top - 0.14, name, fontsize=8.5, fontweight="bold", color=_INK, va="center", zorder=5)
    if frame.part in layout.line_of:
        note = f"/{last['stride']}  {last['channels']} ch"
        axes.text(frame.right - 0.1, frame.top - 0.14, note, fontsize=7, color=_FAINT, va="center", ha="right", zorder=5)


def _draw_vertex(axes: Axes, vertex: Mapping[str, object], centre: tuple[float, float], size: tuple[float, float]) -> None:
    (x, y), (width, height) = centre, size
    box = FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height,
        boxstyle="round,pad=0,rounding_size=0.08", facecolor="white", edgecolor=_INK, linewidth=0.9, zorder=4,
    )  # fmt: skip
    axes.add_patch(box)
    text = _vertex_text(vertex)
    font = min(7.5, _LETTERS_AN_INCH * 7.5 * width / len(text))
    axes.text(x, y - 0.01, text, fontsize=font, color=_INK, ha="center", va="center", zorder=5)


def _vertex_text(vertex: Mapping[str, object]) -> str:
    """The name within the part; of an edge `a_b` the tensor b that it leads to."""
    name, part = str(vertex["name"]), str(vertex["part"])
    inner = name.removeprefix(f"{part}.")
    return inner.rpartition("_")[2].replace(".", " ").replace("input", "in").replace("output", "out")


def _draw_connection(
    axes: Axes, structure: nx.MultiDiGraph, layout: Layout, ends: tuple[int, int], colours: Mapping[str, str]
) -> None:
    """Everything that leads from one vertex to another; parallel operations side by side."""
    source, target = ends
    edges = list(structure.get_edge_data(source, target).values())
    strokes = [
        (colours[label], _style(label), 2.4) if edge.get("chosen") else (_FIXED, "-", 1.0)
        for edge in edges
        for label in (edge["operations"] if edge.get("chosen") else ("fixed",))
    ]
    if ends in layout.routes:
        colour, _, wide = strokes[0] if len(strokes) == 1 else (_FIXED, "-", 1.0)
        _draw_route(axes, layout.routes[ends], colour=colour, width=wide)
        return
    if ends in layout.arcs:
        _draw_arc(axes, layout, ends, colour=strokes[0][0])
        return
    start, end = _ports(layout.positions[source], layout.positions[target], layout.box)
    for i, (colour, style, wide) in enumerate(strokes):
        dx, dy = _aside(start, end, 0.024 * (i - (len(strokes) - 1) / 2))
        axes.add_patch(
            FancyArrowPatch(
                (start[0] + dx, start[1] + dy), (end[0] + dx, end[1] + dy), arrowstyle="-|>" if len(strokes) == 1 else "-",
                mutation_scale=4 + 2 * wide, shrinkA=0, shrinkB=0, linewidth=wide if len(strokes) == 1 else 1.1,
                color=colour, linestyle=style, capstyle="butt", zorder=2 if colour == _FIXED else 3,
            )
        )  # fmt: skip


def _ports(
    source: tuple[float, float], target: tuple[float, float], box: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ends of a connection: at the sides, or above and below where the vertices stand over one another."""
    (x0, y0), (x1, y1) = source, target
    if abs(x1 - x0) < box[0]:
        sign = 1 if y1 > y0 else -1
        return (x0, y0 + sign * box[1] / 2), (x1, y1 - sign * box[1] / 2)
    sign = 1 if x1 > x0 else -1
    return (x0 + sign * box[0] / 2, y0), (x1 - sign * box[0] / 2, y1)


def _draw_arc(axes: Axes, layout: Layout, ends: tuple[int, int], *, colour: str) -> None:
    """A connection above the vertices between its ends."""
    (x0, y), (x1, _) = (layout.positions[vertex] for vertex in ends)
    top = y + layout.box[1] / 2
    bend = 2 * (y + layout.arcs[ends] - top) / (x0 - x1)
    axes.add_patch(
        FancyArrowPatch(
            (x0, top), (x1, top), arrowstyle="-|>", connectionstyle=f"arc3,rad={bend}", mutation_scale=6,
            shrinkA=0, shrinkB=0, linewidth=1.0, color=colour, zorder=2,
        )
    )  # fmt: skip


def _aside(start: tuple[float, float], end: tuple[float, float], distance: float) -> tuple[float, float]:
    """The step of a length at right angles to a line."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = max(math.hypot(dx, dy), 1e-9)
    return -dy / length * distance, dx / length * distance


def _draw_route(axes: Axes, corners: Sequence[tuple[float, float]], *, colour: str, width: float) -> None:
    """A line of straight pieces with round corners and a small head."""
    radius = 0.07
    points, codes = [corners[0]], [Outline.MOVETO]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        points += [_towards(corner, before, radius), corner, _towards(corner, after, radius)]
        codes += [Outline.LINETO, Outline.CURVE3, Outline.CURVE3]
    points.append(_towards(corners[-1], corners[-2], 0.05))
    codes.append(Outline.LINETO)
    axes.add_patch(PathPatch(Outline(points, codes), facecolor="none", edgecolor=colour, linewidth=width, zorder=2))
    axes.add_patch(
        FancyArrowPatch(
            points[-2],
            corners[-1],
            arrowstyle="-|>",
            mutation_scale=6,
            shrinkA=0,
            shrinkB=0,
            linewidth=0,
            color=colour,
            zorder=2,
        )
    )


def _towards(start: tuple[float, float], end: tuple[float, float], distance: float) -> tuple[float, float]:
    """The point at most `distance`, and at most half the way, from `start` to `end`."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = max(math.hypot(dx, dy), 1e-9)
    share = min(distance / length, 0.5)
    return start[0] + dx * share, start[1] + dy * share


def _draw_legend(axes: Axes, counts: Mapping[str, int], colours: Mapping[str, str], *, place: _LegendPlace, top: float) -> None:
    """The operations that occur, with their number."""
    handles = [
        Line2D([], [], color=colour, linewidth=3, linestyle=_style(label), label=f"{label}  ×{counts[label]}")
        for label, colour in colours.items()
    ]
    handles.append(Line2D([], [], color=_FIXED, linewidth=1.2, label="fixed"))
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(place.left, top - place.below), bbox_transform=axes.transData,
        ncols=place.columns, frameon=False, fontsize=9, labelcolor=_INK, borderaxespad=0, borderpad=0, handlelength=2.4,
        columnspacing=1.4, labelspacing=0.4,
    )  # fmt: skip


def _style(label: str) -> Literal["-"] | tuple[float, tuple[float, float]]:
    """Dashes for what computes nothing."""
    return (0, (2.0, 1.1)) if label in _DASHED else "-"


def _draw_bars(figure: Figure, parts_ms: Mapping[str, float], *, share: float, width: float) -> None:
    """One bar for each part, in the order of execution."""
    axes = figure.add_axes((0.55 / width, share * 0.24, 1 - 0.8 / width, share * 0.56))
    labels = [part.replace("cells.", "cell ") for part in parts_ms]
    values = list(parts_ms.values())
    axes.bar(range(len(values)), values, color="#6d8fb3", width=0.62)
    for i, value in enumerate(values):
        axes.text(i, value, f"{value:.2f}", ha="center", va="bottom", fontsize=7.5, color=_INK)
    crowded = max(map(len, labels)) * len(labels) > _LETTERS_AN_INCH * width
    axes.set_xticks(range(len(values)), labels, fontsize=8, rotation=20 if crowded else 0, ha="right" if crowded else "center")
    axes.set_ylabel("ms", fontsize=8)
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_ylim(0, 1.2 * max([*values, 1e-9]))
    axes.tick_params(axis="y", labelsize=7)
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("predicted latency of each part", loc="left", fontsize=9, color=_INK)
