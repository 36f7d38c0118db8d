"""Spatial pyramids that several networks share."""

from __future__ import annotations

from collections.abc import Sequence

from nas.space.graph import Value
from search_spaces.zoo.layers import Layers


def square_pyramid(net: Layers, name: str, x: Value, *, width: int, level: int, grids: Sequence[int]) -> Value:
    """The map beside its averages over grids of nearly square bins, all behind BN-ReLU-1x1.

    Orsic, Kreso, Bevandic, Segvic, "In Defense of Pre-trained ImageNet Architectures for Real-time Semantic Segmentation of
    Road-driving Images", CVPR 2019, arXiv:1903.08469, section 3.2.

    Args:
        net: Where it goes.
        name: First component of the nodes' names.
        x: [N, C, H, W].
        width: Channels at the beginning and at the end.
        level: Channels of each average.
        grids: Rows of each grid.
    """
    x = net.conv(f"{name}.reduce", x, width, 1, layers="bn_relu_conv")
    levels = [x]
    for rows in grids:
        bins = net.bins(f"{name}.{rows}.pool", x, rows, square=True)
        bins = net.conv(f"{name}.{rows}.conv", bins, level, 1, layers="bn_relu_conv")
        levels.append(net.resize(f"{name}.{rows}.up", bins, x))
    return net.conv(f"{name}.fuse", net.concat(f"{name}.concat", levels), width, 1, layers="bn_relu_conv")
