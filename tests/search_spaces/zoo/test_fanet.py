"""FANet with what the official code computes and does not use in evaluation."""

from __future__ import annotations

import pytest

from nas.ops import build, macs
from nas.reports.network_summary import count_macs, count_parameters
from tests.search_spaces.zoo.zoo_networks import published


@pytest.mark.parametrize(("name", "parameters_m", "gmacs"), [("fanet_18", 13.6702, 47.393), ("fanet_34", 23.7784, 66.721)])
def test_with_the_smoothed_map_at_a_64th_the_counts_are_those_of_the_official_code(name: str, parameters_m: float, gmacs: float):
    graph = published(name).graph
    (smooth,) = [node.spec for node in graph.nodes if node.name == "fusion.64.smooth"]
    deployed = graph.deployed()
    assert "fusion.64.smooth" not in {node.name for node in deployed.nodes}
    parameters = sum(count_parameters(deployed).values()) + sum(weight.numel() for weight in build(smooth).parameters())
    assert round(parameters / 1e6, 4) == parameters_m
    assert round((sum(count_macs(deployed).values()) + macs(smooth)) / 1e9, 3) == gmacs
