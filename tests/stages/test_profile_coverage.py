"""The profile plan holds every operation that any network of a space can need."""

from __future__ import annotations

import pytest
import torch

from nas.ops import is_free
from nas.space.deployment import Deployment
from search_spaces import SEARCH_SPACES

DEPLOYMENT = Deployment((64, 96), 4, 3)
NETWORKS = 100


@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_the_plan_covers_a_hundred_random_networks(name: str) -> None:
    entry = SEARCH_SPACES[name]
    space = entry.build(entry.config())
    plan = set(space.plan(DEPLOYMENT))
    generator = torch.Generator().manual_seed(0)
    met = set()
    architectures = set()
    for _ in range(NETWORKS):
        decided = dict(space.random_choices(generator))
        architectures.add(tuple(sorted(decided.items())))
        graph = space.graph(DEPLOYMENT, decided)
        executed = {spec for _, spec in graph.operations() if not is_free(spec)}
        assert executed <= plan
        met |= executed
    assert len(architectures) > 0.9 * NETWORKS
    assert len(met) > 0.5 * len(plan)
    assert {"argmax"} <= {spec.kind for spec in met}
