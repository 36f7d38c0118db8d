"""Residual trunks that several networks start with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas.space.graph import Value
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.residual_blocks import basic_block

RESNET18 = (2, 2, 2, 2)
RESNET34 = (3, 4, 6, 3)
"""Blocks of each stage."""
CHANNELS = (64, 128, 256, 512)
STRIDES = (1, 2, 2, 2)


@dataclass(frozen=True, slots=True)
class Residual:
    """What a residual block gives.

    Args:
        sum: Before its last activation.
        out: After it.
    """

    sum: Value
    out: Value


def resnet_stem(net: Layers, name: str, image: Value, *, activation: str = "relu") -> Value:
    """Convolution 7x7 with stride 2 to 64 channels, max pooling 3x3 with stride 2: a quarter of the size.

    He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385.
    """
    x = net.conv(f"{name}.conv", image, 64, 7, stride=2, layers=f"conv_bn_{activation}")
    return net.pool(f"{name}.pool", x, 3)


def resnet(  # noqa: PLR0913
    net: Layers,
    x: Value,
    blocks: Sequence[int] = RESNET18,
    *,
    strides: Sequence[int] = STRIDES,
    channels: Sequence[int] = CHANNELS,
    activation: str = "relu",
    part: str = "stage",
) -> list[Residual]:
    """Stages of residual blocks: the last block of each.

    Args:
        net: Where they go.
        x: What they read, the result of `resnet_stem` for instance.
        blocks: Blocks of each stage.
        strides: Stride of the first block of each stage.
        channels: Channels of each stage.
        activation: `relu` or `leaky`.
        part: First component of the nodes' names; PART.STAGE.BLOCK.*, counted from 1 and from 0.
    """
    stages = []
    for number, (count, stride, width) in enumerate(zip(blocks, strides, channels, strict=True), start=1):
        for block in range(count):
            name = f"{part}.{number}.{block}"
            total = basic_block(net, name, x, width, stride=stride if block == 0 else 1, relu=False, activation=activation)
            x = net.op(f"{name}.{activation}", activation, total)
        stages.append(Residual(total, x))
    return stages
