"""Which architectures describe the same network."""

import pytest

from nas.space.deployment import Deployment
from nas.space.distinct import all_choices, distinct_networks, fingerprint
from search_spaces import SEARCH_SPACES

DEPLOYMENT = Deployment((32, 48), 4, 5)


@pytest.fixture(scope="module")
def mini():
    entry = SEARCH_SPACES["mini"]
    return entry.build(entry.config())


def fingerprint_of(mini, *edges: str, deployment: Deployment = DEPLOYMENT) -> str:
    """Of the architecture with these operations on its six edges."""
    open_names = [name for name, options in mini.genotype_choices().items() if len(options) > 1]
    fixed = {name: options[0] for name, options in mini.genotype_choices().items() if len(options) == 1}
    return fingerprint(mini.graph(deployment, {**fixed, **dict(zip(open_names, edges, strict=True))}))


def test_mini_has_512_architectures_of_320_networks(mini):
    alike = distinct_networks(mini, DEPLOYMENT)
    architectures = [tuple(one.values()) for group in alike for one in group]
    assert len(alike) == 320
    assert len(architectures) == len(set(architectures)) == len(list(all_choices(mini))) == 512  # 3 cells, 3 x 3 - 1 each
    for decided in all_choices(mini):
        mini.check(decided)


def test_what_order_alone_tells_apart_is_one_network_and_what_computes_otherwise_is_not(mini):
    rest = ("conv_3x3", "none", "skip_connect", "conv_3x3")
    # Both edges of the first cell read the stem.
    assert fingerprint_of(mini, "conv_3x3", "none", *rest) == fingerprint_of(mini, "none", "conv_3x3", *rest)
    assert fingerprint_of(mini, "conv_3x3", "none", *rest) != fingerprint_of(mini, "skip_connect", "none", *rest)
    assert fingerprint_of(mini, "conv_3x3", "none", *rest) != fingerprint_of(mini, "conv_3x3", "conv_3x3", *rest)
    # The edges of the last cell read different cells.
    last = ("conv_3x3", "none", "conv_3x3", "conv_3x3")
    assert fingerprint_of(mini, *last, "conv_3x3", "none") != fingerprint_of(mini, *last, "none", "conv_3x3")


def test_like_networks_have_like_costs(mini):
    for alike in distinct_networks(mini, DEPLOYMENT):
        graphs = [mini.graph(DEPLOYMENT, one) for one in alike]
        assert len({tuple(sorted(spec.key for spec in graph.deployed().specs())) for graph in graphs}) == 1
