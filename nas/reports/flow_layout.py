"""Layout of the picture of a network without decisions: parts in lines in the order of execution, as text is set.

Units are inches; x to the right, y upwards, the first line at the top. Within a part the vertices stand in columns by depth, which
turn back at the end of a row. Connections between parts run above the lines and, past a line, at the left of all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import networkx as nx

from nas.reports.layout import Frame, Layout, free_lane, vertices_by_part

BOX = (0.78, 0.26)
"""Width and height of a vertex: labels of hand-made networks are words."""
MAX_WIDTH = 15.0
"""Width at which a line of parts ends."""
MAX_COLUMNS = 10
"""Columns at which a row of a part turns back."""
_COLUMN, _ROW = 1.04, 0.62
_PAD, _TITLE, _LEAST_FRAME = 0.16, 0.26, 1.7
_GAP, _STEP, _LANE = 0.16, 0.06, 0.085
_MARGIN, _BELOW = 0.14, 0.16
_DETOUR = 0.22
"""Height of a way around the vertices of a row, above their centres."""
_ARC, _NEAR = 0.35, 0.5
"""Height of a connection within a row, and how far above the row vertices of its columns count."""


@dataclass(slots=True)
class _Part:
    """A part before it has a place: positions relative to the lower left corner of its frame, which has a width and a height."""

    name: str
    inner: dict[int, tuple[float, float]]
    width: float
    height: float
    leaving: int = 0
    entering: int = 0
    left: float = 0.0
    after: _Part | None = None


@dataclass(slots=True)
class _Route:
    """A connection between parts: where it leaves and enters, its lanes in the bands above lines and at the left.

    From a part to the next one in its line it has no lane.
    """

    source: int
    target: int
    out: float
    into: float
    bands: tuple[int, int]
    lanes: list[int] = field(default_factory=list)
    gutter: int = 0


def flow_layout(structure: nx.MultiDiGraph) -> Layout:
    """Place the vertices of an architecture graph and route the connections between its parts."""
    parts = {name: _inner(structure, name, vertices) for name, vertices in vertices_by_part(structure).items()}
    part_of = {vertex: part for part in parts.values() for vertex in part.inner}
    between = [ends for ends in sorted(set(structure.edges())) if part_of[ends[0]] is not part_of[ends[1]]]
    for source, target in between:
        part_of[source].leaving += 1
        part_of[target].entering += 1
    lines = _lines(list(parts.values()))
    line_of = {part.name: number for number, line in enumerate(lines) for part in line}
    routes, lanes, gutters = _plan(between, part_of, line_of)
    layout = Layout(box=BOX, line_of=line_of)
    shift = gutters * _LANE
    bands, y = [], 0.0
    for number, line in enumerate(lines):
        y -= _BELOW
        bands.append(y)
        height = max(part.height for part in line)
        y -= lanes[number] * _LANE + _MARGIN + height
        for part in line:
            frame = Frame(part.name, part.left + shift, y + (height - part.height) / 2, part.width, part.height)
            layout.frames[part.name] = frame
            layout.positions.update({v: (frame.left + x, frame.bottom + up) for v, (x, up) in part.inner.items()})
    for route in routes:
        layout.routes[route.source, route.target] = _corners(layout, route, bands, shift)
    _lead_inside(layout, structure)
    corners = [corner for route in layout.routes.values() for corner in route]
    layout.top = max([*(frame.top for frame in layout.frames.values()), *(top for _, top in corners)])
    layout.size = (max([*(frame.right for frame in layout.frames.values()), *(right for right, _ in corners)]), layout.top - y)
    return layout


def _inner(structure: nx.MultiDiGraph, name: str, vertices: Sequence[int]) -> _Part:
    """Columns by depth, vertices of one depth below each other; every second row runs from right to left."""
    inside = structure.subgraph(vertices)
    depth: dict[int, int] = {}
    for vertex in nx.lexicographical_topological_sort(inside):
        depth[vertex] = max((depth[before] + 1 for before in inside.predecessors(vertex)), default=0)
    stacked = Counter(depth.values())
    rows = [range(first, min(first + MAX_COLUMNS, len(stacked))) for first in range(0, len(stacked), MAX_COLUMNS)]
    heights = [max(stacked[column] for column in row) for row in rows]
    total, columns = sum(heights), len(rows[0])
    positions, taken = {}, Counter[int]()
    for vertex in vertices:
        row, column = divmod(depth[vertex], MAX_COLUMNS)
        x = (columns - 1 - column if row % 2 else column) * _COLUMN
        centre = total - sum(heights[:row]) - heights[row] / 2 + (stacked[depth[vertex]] - 1) / 2
        positions[vertex] = (_PAD + BOX[0] / 2 + x, _PAD + BOX[1] / 2 + (centre - taken[depth[vertex]] - 0.5) * _ROW)
        taken[depth[vertex]] += 1
    width = max((columns - 1) * _COLUMN + BOX[0] + 2 * _PAD, _LEAST_FRAME)
    return _Part(name, positions, width, (total - 1) * _ROW + BOX[1] + 2 * _PAD + _TITLE)


def _lines(parts: Sequence[_Part]) -> list[list[_Part]]:
    """Parts in lines of at most `MAX_WIDTH`; gaps between them have room for what leaves and enters."""
    lines: list[list[_Part]] = [[]]
    right = 0.0
    for part in parts:
        into, out = (_GAP + _STEP * count for count in (part.entering, part.leaving))
        if lines[-1] and right + into + part.width > MAX_WIDTH:
            lines.append([])
            right = 0.0
        if lines[-1]:
            lines[-1][-1].after = part
        part.left = right + into
        right = part.left + part.width + out
        lines[-1].append(part)
    return lines


def _plan(
    between: Sequence[tuple[int, int]], part_of: Mapping[int, _Part], line_of: Mapping[str, int]
) -> tuple[list[_Route], list[int], int]:
    """Lanes of the connections: routes, lanes above each line, lanes at the left."""
    left: Counter[str] = Counter()
    entered: Counter[str] = Counter()
    bands: dict[int, list[list[tuple[float, float]]]] = defaultdict(list)
    gutters: list[list[tuple[float, float]]] = []
    routes = []
    for source, target in between:
        before, after = part_of[source], part_of[target]
        left[before.name] += 1
        entered[after.name] += 1
        out = before.left + before.width + _GAP / 2 + _STEP * left[before.name]
        into = after.left - _GAP / 2 - _STEP * entered[after.name]
        here, there = line_of[before.name], line_of[after.name]
        route = _Route(source, target, out, into, (here + 1 if there > here else here, there))
        if route.bands[0] == there and before.after is not after:
            route.lanes = [free_lane(bands[there], (min(out, into), max(out, into)))]
        elif route.bands[0] != there:
            route.lanes = [free_lane(bands[band], (-1.0, x)) for band, x in zip(route.bands, (out, into), strict=True)]
            route.gutter = free_lane(gutters, (min(route.bands), max(route.bands)))
        routes.append(route)
    return routes, [len(bands[number]) for number in range(max(line_of.values()) + 1)], len(gutters)


def _corners(layout: Layout, route: _Route, bands: Sequence[float], shift: float) -> list[tuple[float, float]]:
    """The corners of a connection: out of its part, through the lanes, into the other."""
    start, end = layout.positions[route.source], layout.positions[route.target]
    out, into = route.out + shift, route.into + shift
    if not route.lanes:
        return [*_way(layout, start, out, 1), *reversed(_way(layout, end, out, -1))]
    levels = [bands[band] - lane * _LANE for band, lane in zip(route.bands, route.lanes, strict=False)]
    gutter = shift - _LANE / 2 - route.gutter * _LANE
    ways = [(out, levels[0]), *([(gutter, levels[0]), (gutter, levels[1])] if len(levels) == 2 else []), (into, levels[-1])]
    return [*_way(layout, start, out, 1), *ways, *reversed(_way(layout, end, into, -1))]


def _way(layout: Layout, vertex: tuple[float, float], x: float, side: int) -> list[tuple[float, float]]:
    """From a vertex to the side of its frame: straight, or above its row where something stands there."""
    (at, y), frame = vertex, layout.frame_at(vertex)
    row = [u for u, v in layout.positions.values() if v == y and frame.left <= u <= frame.right]
    if any(side * (u - at) > 0 for u in row):
        return [(at, y + BOX[1] / 2), (at, y + _DETOUR), (x, y + _DETOUR)]
    return [(at + side * BOX[0] / 2, y), (x, y)]


def _lead_inside(layout: Layout, structure: nx.MultiDiGraph) -> None:
    """Lead the connections within parts past the vertices that would stand in their way: by an arc, or around one corner."""
    places = sorted(set(layout.positions.values()))
    for source, target in sorted(set(structure.edges()) - set(layout.routes)):
        (x0, y0), (x1, y1) = layout.positions[source], layout.positions[target]
        between = [(x, y) for x, y in places if min(x0, x1) + 0.1 < x < max(x0, x1) - 0.1]
        if y0 == y1 and any(y == y0 for _, y in between):
            layout.arcs[source, target] = max(y - y0 for _, y in between if 0 <= y - y0 < _NEAR) + _ARC
        elif any(_hides(place, (x0, y0), (x1, y1)) for place in between) and not any(y == y0 for _, y in between):
            side, up = (1 if x1 > x0 else -1), (1 if y1 > y0 else -1)
            layout.routes[source, target] = [(x0 + side * BOX[0] / 2, y0), (x1, y0), (x1, y1 - up * BOX[1] / 2)]


def _hides(place: tuple[float, float], start: tuple[float, float], end: tuple[float, float]) -> bool:
    """Whether a vertex covers the straight line between two others of its part, at its centre."""
    (x0, y0), (x1, y1) = start, end
    return abs(y0 + (y1 - y0) * (place[0] - x0) / (x1 - x0) - place[1]) < BOX[1] / 2
