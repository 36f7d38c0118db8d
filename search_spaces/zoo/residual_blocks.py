"""Residual blocks of He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.layers import Layers


def basic_block(  # noqa: PLR0913
    net: Layers, name: str, x: Value, channels: int, *, stride: int = 1, relu: bool = True, activation: str = "relu"
) -> Value:
    """Two 3x3 convolutions beside a shortcut: `NAME.conv1`, `.conv2`, `.shortcut`, `.sum`, `.relu`.

    Args:
        net: Where they go.
        name: Of the block.
        x: What it reads.
        channels: That go out.
        stride: Of the first convolution and of the shortcut.
        relu: Whether the sum passes a ReLU.
        activation: Behind the first convolution.
    """
    y = net.conv(f"{name}.conv1", x, channels, stride=stride, layers=f"conv_bn_{activation}")
    y = net.conv(f"{name}.conv2", y, channels, layers="conv_bn")
    return _joined(net, name, x, y, stride=stride, relu=relu)


def bottleneck(net: Layers, name: str, x: Value, channels: int, *, expansion: int = 2, stride: int = 1) -> Value:
    """1x1, 3x3 and 1x1 convolutions beside a shortcut, without ReLU behind the sum: `NAME.conv1` to `.conv3`, the rest as above.

    Args:
        net: Where they go.
        name: Of the block.
        x: What it reads.
        channels: Of the first two convolutions.
        expansion: Channels that go out over `channels`.
        stride: Of the 3x3 convolution and of the shortcut.
    """
    y = net.conv(f"{name}.conv1", x, channels, 1)
    y = net.conv(f"{name}.conv2", y, channels, stride=stride)
    y = net.conv(f"{name}.conv3", y, expansion * channels, 1, layers="conv_bn")
    return _joined(net, name, x, y, stride=stride, relu=False)


def basic_stage(net: Layers, name: str, x: Value, channels: int, blocks: int, *, stride: int = 1, relu: bool = True) -> Value:
    """Basic blocks `NAME.0`, `NAME.1`, ..., of which the first has the stride.

    Args:
        net: Where they go.
        name: Of the stage.
        x: What it reads.
        channels: That go out.
        blocks: How many.
        stride: Of the first.
        relu: Whether the sum of the last one passes a ReLU.
    """
    for block in range(blocks):
        last = block == blocks - 1
        x = basic_block(net, f"{name}.{block}", x, channels, stride=1 if block else stride, relu=relu or not last)
    return x


def _joined(net: Layers, name: str, x: Value, y: Value, *, stride: int, relu: bool) -> Value:
    """The sum of a branch and its shortcut, which is a 1x1 convolution where shapes differ."""
    if stride > 1 or x.channels != y.channels:
        x = net.conv(f"{name}.shortcut", x, y.channels, 1, stride=stride, layers="conv_bn")
    total = net.add(f"{name}.sum", y, x)
    return net.relu(f"{name}.relu", total) if relu else total
