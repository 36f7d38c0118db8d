"""JetSeg's blocks as its configurations make them, and what no output reads."""

from __future__ import annotations

import pytest

from nas.reports.network_summary import count_idle, count_parameters
from search_spaces.zoo.networks.jetseg import MODES, groups, plan
from tests.search_spaces.zoo.zoo_networks import published


@pytest.mark.parametrize(
    ("mode", "configured", "widths", "ends"),
    [
        ("workstation", (1024, 2048), [32, 64, 128, 192, 384, 512, 512, 512], (2, 12, 25)),
        ("nano", (512, 512), [8, 16, 32, 48, 64, 64], (0, 4, 9)),
    ],
)
def test_widths_and_decoder_maps_are_those_of_the_authors_configurations(mode, configured, widths, ends):
    blocks, taken = plan(MODES[mode], configured)
    assert [block.channels for block in blocks if not block.residual] == widths
    assert taken == ends
    assert all(block.inside == block.channels and block.stride == 1 for block in blocks if block.residual)


def test_groups_are_the_common_divisor_nearest_to_the_mean_and_the_smaller_of_two():
    assert [groups(*pair) for pair in ((3, 32), (32, 64), (48, 64), (2, 4), (512, 1024))] == [1, 8, 8, 1, 128]


@pytest.mark.parametrize(
    ("name", "total", "idle"),
    [
        ("jetseg_workstation", 1_345_992, 419_132),
        ("jetseg_agx", 373_716, 127_800),
        ("jetseg_nano", 37_016, 16_040),
        ("jetseg_nano_512", 32_140, 11_164),
    ],
)
def test_parameters_are_those_of_the_authors_code_and_a_part_of_them_reaches_no_output(name, total, idle):
    graph = published(name).graph
    assert count_idle(graph) == idle
    assert sum(count_parameters(graph.deployed()).values()) == total - idle
