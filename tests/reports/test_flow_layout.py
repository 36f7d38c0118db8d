"""Pictures of hand-made networks: nothing overlaps, connections are led around what they do not join."""

from __future__ import annotations

from functools import cache
from itertools import combinations, pairwise

import networkx as nx
import pytest

from nas.reports.architecture_graph import architecture_graph
from nas.reports.flow_layout import BOX, MAX_COLUMNS, MAX_WIDTH, flow_layout
from nas.reports.layout import Layout
from tests.search_spaces.zoo.zoo_networks import published

NAMES = ("fast_scnn", "swiftnet_rn18", "shelfnet18", "dabnet", "df1_seg", "ldn121")


@cache
def laid_out(name: str) -> tuple[nx.MultiDiGraph, Layout]:
    structure = architecture_graph(published(name).graph)
    return structure, flow_layout(structure)


@pytest.mark.parametrize("name", NAMES)
def test_vertices_stand_apart_in_the_frames_of_their_parts_and_frames_stand_apart(name: str):
    structure, layout = laid_out(name)
    assert set(layout.positions) == set(structure)
    for vertex, (x, y) in layout.positions.items():
        reader = next(iter(structure.successors(vertex)), None)
        part = structure.nodes[vertex if structure.in_degree(vertex) else reader]["part"]
        frame = layout.frames[part]
        assert frame.left < x - BOX[0] / 2 < x + BOX[0] / 2 < frame.right
        assert frame.bottom < y - BOX[1] / 2 < y + BOX[1] / 2 < frame.top
    for (x, y), (u, v) in combinations(layout.positions.values(), 2):
        assert abs(x - u) > BOX[0] or abs(y - v) > BOX[1]
    for one, other in combinations(layout.frames.values(), 2):
        assert one.right < other.left or other.right < one.left or one.top < other.bottom or other.top < one.bottom


@pytest.mark.parametrize("name", NAMES)
def test_connections_between_parts_pass_no_other_part_and_stay_in_the_picture(name: str):
    structure, layout = laid_out(name)
    frames = {vertex: layout.frame_at(place) for vertex, place in layout.positions.items()}
    between = {(a, b) for a, b in structure.edges() if frames[a] is not frames[b]}
    assert between <= set(layout.routes)
    for (source, target), corners in layout.routes.items():
        for (x0, y0), (x1, y1) in pairwise(corners):
            assert x0 == x1 or y0 == y1, "a diagonal"
            assert min(x0, x1) >= 0
            assert max(x0, x1) <= layout.size[0] + 1e-9
            assert layout.top - layout.size[1] - 1e-9 <= min(y0, y1) <= max(y0, y1) <= layout.top + 1e-9
            for frame in set(layout.frames.values()) - {frames[source], frames[target]}:
                apart = (
                    max(x0, x1) < frame.left or frame.right < min(x0, x1) or max(y0, y1) < frame.bottom or frame.top < min(y0, y1)
                )
                assert apart, frame.part


@pytest.mark.parametrize("name", NAMES)
def test_no_connection_of_a_row_is_hidden_by_a_vertex_between_its_ends(name: str):
    structure, layout = laid_out(name)
    for source, target in set(structure.edges()) - set(layout.routes):
        (x0, y0), (x1, y1) = layout.positions[source], layout.positions[target]
        crowded = y0 == y1 and any(v == y0 and min(x0, x1) < u < max(x0, x1) for u, v in layout.positions.values())
        assert crowded == ((source, target) in layout.arcs)


def test_lines_end_at_a_width_and_rows_of_a_part_turn_back():
    structure, layout = laid_out("ldn121")
    assert all(frame.width < MAX_WIDTH for frame in layout.frames.values())
    assert layout.size[0] < MAX_WIDTH + 2
    first = layout.frames["dense.1"]
    inside = [layout.positions[v] for v, part in structure.nodes(data="part") if part == "dense.1"]
    assert len({y for _, y in inside}) == -(-3 * 12 // MAX_COLUMNS)
    assert inside[MAX_COLUMNS - 1][0] == inside[MAX_COLUMNS][0] == max(x for x, _ in inside) < first.right
    assert inside[2 * MAX_COLUMNS - 1][0] == inside[2 * MAX_COLUMNS][0] == inside[0][0]


def test_logits_and_labels_follow_what_they_read():
    structure, layout = laid_out("fast_scnn")
    line = {
        attributes["name"]: layout.line_of[layout.frame_at(layout.positions[v]).part]
        for v, attributes in structure.nodes(data=True)
    }
    assert line["image"] == line["stem"] == 0
    assert line["logits"] == line["labels"] == max(line.values())
