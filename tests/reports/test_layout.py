from functools import cache
from itertools import combinations

import pytest
import torch

from nas.reports.architecture_graph import architecture_graph
from nas.reports.layout import BOX, lay_out
from nas.space.deployment import Deployment
from search_spaces import SEARCH_SPACES

ENTRY = SEARCH_SPACES["lgcnet"]
SMALL = ENTRY.build(ENTRY.config(num_cells=3, reduction_cells=[1, 2], fused_cells=[0, 1, 2], head_channels=8))
PAPER = ENTRY.build(ENTRY.config())
HEADLESS = ENTRY.build(ENTRY.config(num_cells=20, reduction_cells=[2], num_nodes=4, head="none"))


@cache
def structure_of(space, seed):
    decided = None if seed is None else space.random_choices(torch.Generator().manual_seed(seed))
    return architecture_graph(space.graph(Deployment((360, 480), 8, 11), decided))


CASES = [(space, seed) for space in (SMALL, PAPER, HEADLESS) for seed in (None, 0, 1)]


@pytest.mark.parametrize(("space", "seed"), CASES)
def test_every_vertex_stands_in_the_frame_of_its_part_and_none_on_another(space, seed):
    structure = structure_of(space, seed)
    layout = lay_out(structure)
    assert set(layout.positions) == set(structure)
    for vertex, (x, y) in layout.positions.items():
        part = structure.nodes[vertex]["part"]
        frame = layout.frames["stem" if part == "image" else part]
        assert frame.left < x - BOX[0] / 2
        assert x + BOX[0] / 2 < frame.right
        assert frame.bottom < y - BOX[1] / 2
        assert y + BOX[1] / 2 < frame.top
    for (x, y), (u, v) in combinations(layout.positions.values(), 2):
        assert abs(x - u) >= BOX[0] or abs(y - v) >= BOX[1]


@pytest.mark.parametrize(("space", "seed"), CASES)
def test_frames_do_not_overlap_and_lie_within_the_picture(space, seed):
    layout = lay_out(structure_of(space, seed))
    for one, other in combinations(layout.frames.values(), 2):
        apart = one.right < other.left or other.right < one.left or one.top < other.bottom or other.top < one.bottom
        assert apart, (one.part, other.part)
    top, bottom = max(f.top for f in layout.frames.values()), min(f.bottom for f in layout.frames.values())
    assert all(0 <= frame.left and frame.right <= layout.size[0] + 1e-9 for frame in layout.frames.values())
    assert layout.size[1] >= top - bottom - 1e-9


@pytest.mark.parametrize(("space", "seed"), CASES)
def test_connections_between_parts_are_led_around_the_frames(space, seed):
    layout = lay_out(structure_of(space, seed))
    assert layout.routes
    for corners in layout.routes.values():
        for (x0, y0), (x1, y1) in list(zip(corners, corners[1:], strict=False))[1:-1]:
            for frame in layout.frames.values():
                crosses = (
                    min(x0, x1) < frame.right
                    and max(x0, x1) > frame.left
                    and min(y0, y1) < frame.top
                    and max(y0, y1) > frame.bottom
                )
                assert not crosses, frame.part


def test_cells_of_one_stride_share_a_line_and_branches_of_the_fusion_cell_continue_it():
    structure = structure_of(PAPER, 0)
    layout = lay_out(structure)
    lines = {}
    for part, line in layout.line_of.items():
        lines.setdefault(line, []).append(part)
    cells = [f"cells.{i}" for i in range(14)]
    assert lines == {0: ["stem", "cells.0"], 1: cells[1:8], 2: cells[8:]}
    vertex = {attributes["name"]: v for v, attributes in structure.nodes(data=True)}
    for entry, cell in (("fusion.i4", 0), ("fusion.i8", 7), ("fusion.i16", 13)):
        assert layout.positions[vertex[entry]][1] == layout.positions[vertex[f"cells.{cell}.output"]][1]
    assert layout.frames["fusion"].left > max(layout.frames[cell].right for cell in cells)
