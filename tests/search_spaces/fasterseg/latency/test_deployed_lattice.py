"""What a latency table needs for the lattice: the operations of all derived networks, and what the expected latency asks for."""

from __future__ import annotations

import pytest
import torch

from nas.ops import OpSpec, is_free
from nas.space.deployment import Deployment
from search_spaces.fasterseg.config import FasterSegConfig
from search_spaces.fasterseg.latency.deployed_lattice import DeployedLattice, plan_specs
from search_spaces.fasterseg.latency.expected import LatticeLatency
from search_spaces.fasterseg.space import FasterSeg

SIZES = [(256, 512), (101, 75)]


@pytest.mark.parametrize("size", SIZES)
def test_the_plan_has_every_operation_of_random_derived_networks(size):
    config = FasterSegConfig()
    space = FasterSeg(config)
    plan = set(plan_specs(DeployedLattice(config, Deployment(size, 12, 19))))
    generator = torch.Generator().manual_seed(0)
    for _ in range(500):
        decided = space.random_choices(generator)
        graph = space.graph(Deployment(size, 12, 19), decided)
        assert set(graph.specs()) <= plan


@pytest.mark.parametrize("layers", [3, 16])
@pytest.mark.parametrize("size", SIZES)
def test_the_plan_is_what_the_expected_latency_asks_for_and_nothing_in_it_is_free(size, layers):
    config = FasterSegConfig(layers=layers, widths=[4, 8, 12])
    asked: set[OpSpec] = set()
    LatticeLatency(DeployedLattice(config, Deployment(size, 12, 19)), lambda spec: float(asked.add(spec) is None))
    plan = plan_specs(DeployedLattice(config, Deployment(size, 12, 19)))
    assert list(plan) == sorted(asked)
    assert not any(is_free(spec) for spec in plan)


def test_a_plan_by_hand():
    config = FasterSegConfig(layers=4, widths=[12])
    plan = plan_specs(DeployedLattice(config, Deployment((64, 128), 12, 19)))
    cells = 4 * (3 + 2)  # operators at three scales, and to two coarser ones
    skips = 2
    stem = 3
    ways_up = 2 * 4  # to 1/16 and to 1/8: 1x1, resizing, join, 3x3
    fusion = 1  # its join is that of the way up to 1/8
    head = 4  # 3x3, scores, resizing, labels
    assert len(plan) == cells + skips + stem + ways_up + fusion + head
    assert sum(spec.kind == "reduce_bn_relu" for spec in plan) == skips
