"""Layout of a network's picture: cells in lines by stride, what joins the strides to their right.

Units are inches; x to the right, y upwards, the first line at the top.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import networkx as nx

MAX_CELLS_A_LINE = 8
BOX = (0.5, 0.26)
"""Width and height of a vertex."""
_COLUMN = 0.78
_WIDE_COLUMN = 0.96
_ROW = 0.7
_PAD = 0.16
_TITLE = 0.26
_GAP = 0.44
_LEAST_FRAME = 1.4
_LANE = 0.085
_LANES_MARGIN = 0.14


@dataclass(frozen=True, slots=True)
class Frame:
    """The rectangle around a part."""

    part: str
    left: float
    bottom: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right side."""
        return self.left + self.width

    @property
    def top(self) -> float:
        """Its upper side."""
        return self.bottom + self.height


@dataclass(slots=True)
class Layout:
    """A laid out network.

    Args:
        positions: Centre of each vertex.
        frames: Rectangle of each part.
        routes: Corners of each connection between parts: (source, target) -> points.
        line_of: Number of the line that each part of a line stands in.
        arcs: Height of a connection within a row of a part above the centres of its vertices: (source, target) -> height.
        size: Width and height of everything.
        top: Upper side of everything.
        box: Width and height of a vertex.
    """

    positions: dict[int, tuple[float, float]] = field(default_factory=dict)
    frames: dict[str, Frame] = field(default_factory=dict)
    routes: dict[tuple[int, int], list[tuple[float, float]]] = field(default_factory=dict)
    line_of: dict[str, int] = field(default_factory=dict)
    arcs: dict[tuple[int, int], float] = field(default_factory=dict)
    size: tuple[float, float] = (0.0, 0.0)
    top: float = 0.0
    box: tuple[float, float] = BOX

    def frame_at(self, position: tuple[float, float]) -> Frame:
        """The frame around the centre of a vertex."""
        x, y = position
        return next(f for f in self.frames.values() if f.left <= x <= f.right and f.bottom <= y <= f.top)


def lay_out(structure: nx.MultiDiGraph) -> Layout:
    """Place the vertices of an architecture graph and route the connections between its parts."""
    parts = vertices_by_part(structure)
    lines, tail = _lines(structure, parts)
    layout = Layout()
    inner = {part: _inner(structure, vertices) for part, vertices in parts.items()}
    lanes = _lane_counts(structure, lines)
    bottoms, y = [], 0.0
    for number, line in enumerate(lines):
        height = max(_size(inner[part])[1] for part in line)
        y -= _LANES_MARGIN + lanes[number] * _LANE + height + 0.3
        bottoms.append(y)
        x = 0.0
        for part in line:
            width, own_height = _size(inner[part])
            _place(layout, part, inner[part], corner=(x, y + (height - own_height) / 2))
            layout.line_of[part] = number
            x = layout.frames[part].right + _GAP
    right = max((frame.right for frame in layout.frames.values()), default=0.0) + _GAP
    for part in tail:
        right = _place_tail(layout, structure, part, parts[part], left=right) + _GAP
    _route(layout, structure, lines)
    layout.top = max(frame.top for frame in layout.frames.values())
    layout.size = (right - _GAP, max(layout.top, 0.0) - min([*bottoms, *(frame.bottom for frame in layout.frames.values())]))
    return layout


def vertices_by_part(structure: nx.MultiDiGraph) -> dict[str, list[int]]:
    """The vertices of each part in order; the image stands with the part that reads it."""
    parts: dict[str, list[int]] = defaultdict(list)
    for vertex, part in structure.nodes(data="part"):
        reader = next(iter(structure.successors(vertex)), None)
        lone = structure.in_degree(vertex) == 0 and reader is not None
        parts[structure.nodes[reader]["part"] if lone else part].append(vertex)
    return dict(parts)


def _lines(structure: nx.MultiDiGraph, parts: Mapping[str, Sequence[int]]) -> tuple[list[list[str]], list[str]]:
    """Parts in lines of one stride each, and the parts that follow all numbered ones, which stand to the right of the lines."""
    names = list(parts)
    numbered = [i for i, name in enumerate(names) if "." in name]
    last = numbered[-1] if numbered else len(names) - 1
    lines: list[list[str]] = []
    strides: list[int] = []
    for name in names[: last + 1]:
        stride = structure.nodes[parts[name][-1]]["stride"]
        if not lines or stride != strides[-1] or len(lines[-1]) >= MAX_CELLS_A_LINE:
            lines.append([])
            strides.append(stride)
        lines[-1].append(name)
    return lines, names[last + 1 :]


def _inner(structure: nx.MultiDiGraph, vertices: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Positions within a part: what enters at the left, what leaves at the right, the rest between, from the top down."""
    inside = structure.subgraph(vertices)
    if len(vertices) > 1 and all(inside.in_degree(v) <= 1 and inside.out_degree(v) <= 1 for v in vertices):
        return {vertex: (i * _COLUMN, 0.0) for i, vertex in enumerate(vertices)}  # a chain
    first = [v for v in vertices if inside.in_degree(v) == 0]
    last = [v for v in vertices if inside.out_degree(v) == 0 and v not in first]
    middle = [v for v in vertices if v not in first and v not in last]
    columns = [column for column in (first, middle, last) if column]
    xs = [0.0, _WIDE_COLUMN, _WIDE_COLUMN + _COLUMN]
    positions = {}
    for x, column in zip(xs, columns, strict=False):
        for row, vertex in enumerate(column):
            stagger = 0.1 * (row - (len(column) - 1) / 2) if column is middle else 0.0
            positions[vertex] = (x + stagger, _ROW * ((len(column) - 1) / 2 - row))
    return positions


def _size(inner: Mapping[int, tuple[float, float]]) -> tuple[float, float]:
    """Width and height of the frame around the vertices of a part."""
    xs, ys = zip(*inner.values(), strict=True)
    return max(max(xs) - min(xs) + BOX[0] + 2 * _PAD, _LEAST_FRAME), max(ys) - min(ys) + BOX[1] + 2 * _PAD + _TITLE


def _place(layout: Layout, part: str, inner: Mapping[int, tuple[float, float]], *, corner: tuple[float, float]) -> None:
    """Move a part so that the lower left corner of its frame is at `corner`."""
    xs, ys = zip(*inner.values(), strict=True)
    dx, dy = corner[0] + _PAD + BOX[0] / 2 - min(xs), corner[1] + _PAD + BOX[1] / 2 - min(ys)
    layout.positions.update({vertex: (x + dx, y + dy) for vertex, (x, y) in inner.items()})
    layout.frames[part] = Frame(part, *corner, *_size(inner))


def _place_tail(layout: Layout, structure: nx.MultiDiGraph, part: str, vertices: Sequence[int], *, left: float) -> float:
    """Place a part at the right: each vertex as high as the line of its stride, further right than what it reads."""
    heights = _height_of_strides(layout, structure)
    inside = structure.subgraph(vertices)
    depth: dict[int, int] = {}
    for vertex in nx.topological_sort(inside):
        depth[vertex] = max((depth[before] + 1 for before in inside.predecessors(vertex)), default=0)
    level = {vertex: _nearest(heights, structure.nodes[vertex]["stride"]) for vertex in vertices}
    chain = len(set(level.values())) == 1 and len(vertices) == len(set(depth.values()))
    positions: dict[int, tuple[float, float]] = {}
    taken: dict[tuple[int, float], int] = defaultdict(int)
    for vertex in vertices:
        slot = (0 if chain else depth[vertex], level[vertex])
        x = left + _PAD + BOX[0] / 2 + slot[0] * _WIDE_COLUMN
        positions[vertex] = (x, slot[1] - taken[slot] * _ROW)
        taken[slot] += 1
    layout.positions.update(positions)
    xs, ys = zip(*positions.values(), strict=True)
    bottom, top = min(ys) - BOX[1] / 2 - _PAD, max(ys) + BOX[1] / 2 + _PAD + _TITLE
    layout.frames[part] = Frame(part, left, bottom, max(xs) - min(xs) + BOX[0] + 2 * _PAD, top - bottom)
    return layout.frames[part].right


def _height_of_strides(layout: Layout, structure: nx.MultiDiGraph) -> dict[int, float]:
    """The height at which the last part of each stride gives its result."""
    results = {structure.nodes[vertex]["part"]: vertex for vertex in sorted(layout.positions)}
    return {
        structure.nodes[vertex]["stride"]: layout.positions[vertex][1] for part, vertex in results.items() if part in layout.line_of
    }


def _nearest(heights: Mapping[int, float], stride: int) -> float:
    return heights[min(heights, key=lambda known: (abs(known - stride), known))]


def _lane_counts(structure: nx.MultiDiGraph, lines: Sequence[Sequence[str]]) -> list[int]:
    """An upper bound of the lanes above each line: three, and one more for each connection from another line."""
    line_of = {part: number for number, line in enumerate(lines) for part in line}
    counts = [2] * len(lines)
    for source, target in set(structure.edges()):
        here, there = (line_of.get(structure.nodes[v]["part"]) for v in (source, target))
        if here is not None and there is not None and here != there:
            counts[there] += 1
    return counts


def _route(layout: Layout, structure: nx.MultiDiGraph, lines: Sequence[Sequence[str]]) -> None:
    """Lead every connection that cannot go straight through a lane above the line of its target."""
    order = {part: i for line in lines for i, part in enumerate(line)}
    used: dict[int, list[list[tuple[float, float]]]] = defaultdict(list)
    leaving: dict[str, int] = defaultdict(int)
    entering: dict[str, int] = defaultdict(int)
    for source, target in sorted(set(structure.edges())):
        before, after = layout.frame_at(layout.positions[source]), layout.frame_at(layout.positions[target])
        if before is after or _straight(layout, before, after, order, lines):
            continue
        line = layout.line_of.get(after.part, layout.line_of.get(before.part, 0))
        (x0, y0), (x1, y1) = layout.positions[source], layout.positions[target]
        out = before.right + 0.07 + 0.06 * (leaving[before.part] % 3)
        into = after.left - 0.09 - 0.06 * (entering[after.part] % 3)
        leaving[before.part] += 1
        entering[after.part] += 1
        lane = free_lane(used[line], (min(out, into), max(out, into)))
        y = max(layout.frames[part].top for part in lines[line]) + _LANES_MARGIN + lane * _LANE
        layout.routes[source, target] = [
            (x0 + BOX[0] / 2, y0), (out, y0), (out, y), (into, y), (into, y1), (x1 - BOX[0] / 2, y1)
        ]  # fmt: skip


def _straight(layout: Layout, before: Frame, after: Frame, order: Mapping[str, int], lines: Sequence[Sequence[str]]) -> bool:
    """Whether nothing stands between two frames."""
    if before.part not in layout.line_of:
        return True
    line = layout.line_of[before.part]
    if after.part in layout.line_of:
        return layout.line_of[after.part] == line and order[after.part] == order[before.part] + 1
    return order[before.part] == len(lines[line]) - 1


def free_lane(lanes: list[list[tuple[float, float]]], span: tuple[float, float]) -> int:
    """The lowest lane in which nothing overlaps `span`; the span is entered there."""
    for number, spans in enumerate(lanes):
        if all(span[1] < left or right < span[0] for left, right in spans):
            spans.append(span)
            return number
    lanes.append([span])
    return len(lanes) - 1
