"""Residual trunks that several networks start with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas.space.graph import Value
from search_spaces.zoo.layers import Layers

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
    sums: str | None = None,
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
        sums: That of the sums, where it is another one.
        part: First component of the nodes' names; PART.STAGE.BLOCK.*, counted from 1 and from 0.
    """
    stages = []
    for number, (count, stride, width) in enumerate(zip(blocks, strides, channels, strict=True), start=1):
        stages.append(basic_stage(net, f"{part}.{number}", x, width, count, stride=stride, activation=activation, sums=sums))
        x = stages[-1].out
    return stages


def basic_stage(  # noqa: PLR0913
    net: Layers,
    name: str,
    x: Value,
    channels: int,
    blocks: int,
    *,
    stride: int = 1,
    activation: str = "relu",
    sums: str | None = None,
) -> Residual:
    """Basic blocks NAME.0, NAME.1, ..., of which the first one has the stride: the last one."""
    last = Residual(x, x)
    for block in range(blocks):
        first = stride if block == 0 else 1
        last = basic_block(net, f"{name}.{block}", last.out, channels, stride=first, activation=activation, sums=sums)
    return last


def basic_block(  # noqa: PLR0913
    net: Layers, name: str, x: Value, channels: int, *, stride: int = 1, activation: str = "relu", sums: str | None = None
) -> Residual:
    """Two 3x3, each with batch norm, added to the input, which passes a 1x1 where shapes differ (arXiv:1512.03385, Fig. 3)."""
    y = net.conv(f"{name}.conv1", x, channels, stride=stride, layers=f"conv_bn_{activation}")
    y = net.conv(f"{name}.conv2", y, channels, layers="conv_bn")
    return _joined(net, name, x, y, stride=stride, activation=sums or activation)


def bottleneck(net: Layers, name: str, x: Value, channels: int, *, expansion: int = 2, stride: int = 1) -> Residual:
    """1x1, 3x3 with the stride and 1x1 to `expansion` times the channels, added to the input alike (arXiv:1512.03385, Fig. 5)."""
    y = net.conv(f"{name}.conv1", x, channels, 1)
    y = net.conv(f"{name}.conv2", y, channels, stride=stride)
    y = net.conv(f"{name}.conv3", y, expansion * channels, 1, layers="conv_bn")
    return _joined(net, name, x, y, stride=stride, activation="relu")


def _joined(net: Layers, name: str, x: Value, y: Value, *, stride: int, activation: str) -> Residual:
    """The sum of a branch and of its shortcut, which is a 1x1 where shapes differ."""
    if stride != 1 or y.channels != x.channels:
        x = net.conv(f"{name}.shortcut", x, y.channels, 1, stride=stride, layers="conv_bn")
    total = net.add(f"{name}.sum", y, x)
    return Residual(total, net.op(f"{name}.act", activation, total))
