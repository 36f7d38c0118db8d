"""From a genotype to its network."""

from __future__ import annotations

from nas.network.network import Network
from nas.space.design import Design


def build_network(design: Design, num_classes: int | None = None) -> Network:
    """The derived network, with fresh weights: images [N, 3, H, W] -> logits [N, classes, H, W], any H and W.

    Args:
        design: The architecture.
        num_classes: Classes; None: as deployed.
    """
    return Network((design if num_classes is None else design.with_classes(num_classes)).graph)
