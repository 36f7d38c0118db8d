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


AVERAGES = ((5, 2), (9, 4), (17, 8))
"""Windows and strides of `averaged_scales`."""


def averaged_scales(net: Layers, name: str, x: Value, channels: int) -> tuple[Value, list[Value]]:
    """The map, and its averages over growing windows and over the whole map at its own size, all behind BN-ReLU-1x1.

    Hong, Pan, Sun, Jia, "Deep Dual-resolution Networks", arXiv:2101.06085, 2021, Fig. 5; also in Xu, Xiong, Bhattacharyya,
    "PIDNet", CVPR 2023, arXiv:2206.02066. Nodes are `NAME.scale0` to `.scale4`.

    Args:
        net: Where they go.
        name: First component of the nodes' names.
        x: [N, C, H, W].
        channels: Of each.
    """
    pooled = [
        net.pool(f"{name}.pool{i}", x, kernel, kind="avg_pool", stride=stride) for i, (kernel, stride) in enumerate(AVERAGES, 1)
    ]
    pooled.append(net.global_pool(f"{name}.pool4", x))
    scales = [net.conv(f"{name}.scale{i}", y, channels, 1, layers="bn_relu_conv") for i, y in enumerate([x, *pooled])]
    return scales[0], [net.resize(f"{name}.up{i}", y, x) for i, y in enumerate(scales[1:], 1)]
