"""FC-HarDNet-70, and what FASSD-Net takes from it: harmonic dense blocks, stem and encoder."""

from __future__ import annotations

from collections.abc import Sequence

from nas.ops.spec import windows
from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

STEM = (16, 24, 32, 48)
"""Channels of the four convolutions of the stem."""
ENCODER = ((4, 10, 64), (4, 16, 96), (8, 18, 160), (8, 24, 224), (8, 32, 320))
"""Layers L and growth k of the block of each stage, channels of the 1x1 convolution after it."""
MULTIPLIER = 1.7


def describe(net: Layers) -> Outputs:
    """Append FC-HarDNet-70: scores at 1/4.

    Chao, Kao, Ruan, Huang, Lin, "HarDNet: A Low Memory Traffic Network", ICCV 2019, arXiv:1909.00948. The network for segmentation
    is that of the authors' code. L1 and L2 of Rosas-Arias et al., ICPR 2020, have no code and are not here.
    """
    skips, x = encoder(net, stem(net), ENCODER)
    for number, (skip, (layers, growth, _)) in enumerate(zip(reversed(skips), reversed(ENCODER[:-1]), strict=True)):
        x = fused(net, f"decoder.{number}", x, skip)
        x = hard_block(net, f"decoder.{number}.block", x, layers, growth)
    return Outputs(scores=net.classifier("classifier.conv", x), resize="resize_corners")


def stem(net: Layers, strides: Sequence[int] = (2, 1, 2, 1)) -> Value:
    """Four 3x3 convolutions."""
    x = net.image
    for number, (channels, stride) in enumerate(zip(STEM, strides, strict=True)):
        x = net.conv(f"stem.{number}", x, channels, stride=stride)
    return x


def encoder(net: Layers, x: Value, stages: Sequence[tuple[int, int, int]]) -> tuple[list[Value], Value]:
    """Stages of block, 1x1 convolution and, except after the last, average pool of 2x2 windows that leaves out an odd last row.

    Args:
        net: Where they go.
        x: What the first reads.
        stages: As `ENCODER`.

    Returns:
        The result of each block but the last, which the decoder reads, and that of the last stage.
    """
    skips = []
    for number, (layers, growth, channels) in enumerate(stages):
        block = hard_block(net, f"encoder.{number}.block", x, layers, growth)
        x = net.conv(f"encoder.{number}.transition", block, channels, 1)
        if number < len(stages) - 1:
            skips.append(block)
            half = (windows(x.height, 2, 2), windows(x.width, 2, 2))
            x = net.op(f"encoder.{number}.pool", "window_pool", x, size=half, kernel=2, stride=2)
    return skips, x


def fused(net: Layers, name: str, x: Value, skip: Value) -> Value:
    """The deeper map at the size of the skip before the skip, and half of their channels."""
    both = net.concat(f"{name}.concat", [net.resize(f"{name}.up", x, skip, kind="resize_corners"), skip])
    return net.conv(f"{name}.reduce", both, both.channels // 2, 1)


def hard_block(net: Layers, name: str, x: Value, layers: int, growth: int) -> Value:
    """A harmonic dense block: layers 1 to L, of which layer i reads i - 2^n wherever 2^n divides i; layer 0 is the input.

    The result are the layers of odd number and the last one.

    Args:
        net: Where it goes.
        name: Of the block.
        x: Its input.
        layers: Number of layers L, even.
        growth: Channels k of a layer of odd number.
    """
    values = [x]
    for number in range(1, layers + 1):
        steps = [2**n for n in range(number.bit_length()) if number % 2**n == 0]
        inputs = net.concat(f"{name}.{number}.inputs", [values[number - step] for step in steps])
        values.append(net.conv(f"{name}.{number}.conv", inputs, layer_width(growth, len(steps) - 1)))
    return net.concat(f"{name}.outputs", [*values[1:-1:2], values[-1]])


def layer_width(growth: int, power: int) -> int:
    """Channels k m^p of a layer, rounded to an even number.

    >>> [layer_width(10, power) for power in (0, 1, 2)]
    [10, 18, 28]
    """
    width = float(growth)
    for _ in range(power):
        width *= MULTIPLIER
    return 2 * (int(width + 1) // 2)


NETWORKS = {"fc_hardnet_70": HandMade(stem_channels=STEM[0], describe=describe)}
