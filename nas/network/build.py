"""From a genotype to its network."""

from __future__ import annotations

from collections.abc import Mapping

from nas.network.network import Network
from nas.space.genotype import Genotype, genotype_graph
from nas.space.search_space import SpaceEntry


def build_network(genotype: Genotype, spaces: Mapping[str, SpaceEntry], num_classes: int | None = None) -> Network:
    """The derived network, with fresh weights: images [N, 3, H, W] -> logits [N, classes, H, W], any H and W."""
    return Network(genotype_graph(genotype, spaces, num_classes=num_classes))
