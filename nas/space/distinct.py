"""Which decisions describe the same network: what is pruned does not count, nor which of two like inputs is called first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from nas.errors import GenotypeError

if TYPE_CHECKING:
    from nas.space.deployment import Deployment
    from nas.space.graph import Graph
    from nas.space.search_space import SearchSpace


def fingerprint(graph: Graph) -> str:
    """A hash that networks share if they are the same but for the names of their nodes (Weisfeiler and Lehman's test).

    Inputs of a sum or a concatenation count in any order: the weights that follow are learned either way.

    Args:
        graph: A derived network.
    """
    import networkx

    deployed = graph.deployed()
    depth: list[int] = []
    drawn = networkx.Graph()
    for number, node in enumerate(deployed.nodes):
        depth.append(1 + max((depth[index] for index in node.inputs), default=0))
        drawn.add_node(number, label=f"{depth[number]} {node.spec.key if node.specs else node.role}")
        drawn.add_edges_from((index, number) for index in node.inputs)
    return str(networkx.weisfeiler_lehman_graph_hash(drawn, node_attr="label", iterations=max(depth)))


def all_choices(space: SearchSpace) -> Iterator[dict[str, str]]:
    """Every valid architecture of a space, in the order of its decisions and options; for small spaces."""
    options = dict(space.genotype_choices())
    for drawn in itertools.product(*options.values()):
        decided = dict(zip(options, drawn, strict=True))
        try:
            space.check(decided)
        except GenotypeError:
            continue
        yield decided


def distinct_networks(space: SearchSpace, deployment: Deployment) -> list[list[Mapping[str, str]]]:
    """The valid architectures of a space, those of one network together, in the order of the first of each."""
    networks: dict[str, list[Mapping[str, str]]] = {}
    for decided in all_choices(space):
        networks.setdefault(fingerprint(space.graph(deployment, decided)), []).append(decided)
    return list(networks.values())
