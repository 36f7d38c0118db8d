"""Random architectures of a wanted cost: valid, near the target, a function of the generator, and no more alike than need be."""

from __future__ import annotations

import pytest
import torch

import nas
from nas.cost import MacsTable
from nas.cost.expected import ExpectedLatency
from nas.cost.random_architecture import random_at_cost
from nas.space.deployment import Deployment
from nas.space.genotype import Genotype
from search_spaces import SEARCH_SPACES
from tests.small_jobs import SIZE, search_job, space_config


@pytest.fixture(scope="module")
def costs():
    """The small space and its cost in millions of MACs."""
    space = nas.build_space(space_config())
    return space, ExpectedLatency(space.graph(Deployment(SIZE, 4, 11)), MacsTable().cost)


def draw(costs, *, target, seed=0, tolerance=0.05, **changes):
    space, latency = costs
    generator = torch.Generator().manual_seed(seed)
    return random_at_cost(space, latency, target=target, tolerance=tolerance, generator=generator, **changes)


def cost_of(choices):
    """Sum of the MACs over the network that the choices build."""
    spec = SEARCH_SPACES["lgcnet"]
    config = search_job().space
    genotype = Genotype(
        "lgcnet", {f: getattr(config, f) for f in config.__dataclass_fields__}, Deployment(SIZE, 4, 11), choices, {}
    )
    space = spec.build(config)
    graph = space.graph(Deployment(SIZE, 4, 11), genotype.choices)
    return sum(MacsTable().cost(spec) for _, spec in graph.operations())


@pytest.mark.parametrize("target", [0.45, 0.52, 0.65])
@pytest.mark.parametrize("tolerance", [0.05, 0.01])
def test_cost_of_the_network_is_within_the_tolerance_of_the_target(costs, target, tolerance):
    for seed in range(2):
        choices = draw(costs, target=target, tolerance=tolerance, seed=seed)
        assert cost_of(choices) == pytest.approx(target, rel=tolerance)


@pytest.mark.parametrize("target", [0.25, 1.0])
def test_cost_far_from_that_of_random_networks_is_reached_in_a_few_hundred_moves(costs, target):
    space, _ = costs
    generator = torch.Generator().manual_seed(0)
    at_random = [cost_of(space.random_choices(generator)) for _ in range(20)]
    assert not min(at_random) < target < max(at_random)
    assert cost_of(draw(costs, target=target, max_moves=600)) == pytest.approx(target, rel=0.05)


def test_every_decision_is_made_and_makes_a_network(costs):
    space, _ = costs
    options = space.genotype_choices()
    choices = draw(costs, target=0.55)
    assert choices.keys() == options.keys()
    assert all(choices[name] in options[name] for name in options)
    space.check(choices)


def test_draw_is_a_function_of_the_generator(costs):
    torch.manual_seed(1)
    one = draw(costs, target=0.55, seed=0)
    torch.manual_seed(2)
    assert draw(costs, target=0.55, seed=0) == one
    others = [draw(costs, target=0.55, seed=seed) for seed in range(1, 5)]
    assert all(sum(one[name] != other[name] for name in one) > 5 for other in others)


@pytest.mark.parametrize("target", [0.01, 1e3])
def test_cost_that_the_space_cannot_have_is_refused_with_the_nearest(costs, target):
    with pytest.raises(ValueError, match=r"within 5% of cost .*, nearest at \d+%; give another target"):
        draw(costs, target=target, max_moves=200)
