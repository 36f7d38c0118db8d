"""ESPNetV2: depthwise dilated pyramids between grouped 1x1 convolutions, the image added at every scale, a light decoder."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

STEM = 32
BRANCHES = 4
RATES = {"wide": (1, 2, 3, 4), "narrow": (1, 1, 2, 3)}
"""Dilations of the branches: all of them, or those whose receptive field is at most 7 pixels."""
STAGES = ((96, 0, "wide"), (192, 3, "wide"), (384, 7, "narrow"))
"""Channels at 1/4, 1/8 and 1/16 for width 1.5, blocks after the one that halves the map, and their dilations."""
POOLS = 4
"""Levels of the pyramid of the decoder."""


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/2, and at 1/8 for training.

    Mehta, Rastegari, Shapiro, Hajishirzi, "ESPNetv2: A Light-weight, Power Efficient, and General Purpose Convolutional Neural
    Network", CVPR 2019, arXiv:1811.11431. The official code cuts off the stage at 1/32 of the classifier, and holds a PReLU in each
    block that halves the map and never runs it.
    """
    image = net.image
    x = net.conv("stem", image, STEM, layers="conv_bn_prelu", stride=2)
    image = net.pool("image.1", image, 3, kind="avg_pool")
    maps = [x]
    for number, (channels, blocks, rates) in enumerate(STAGES, start=1):
        image = net.pool(f"image.{number + 1}", image, 3, kind="avg_pool")
        x = _down(net, f"stage.{number}.down", x, image, channels)
        for position in range(blocks):
            x = _block(net, f"stage.{number}.{position}", x, x.channels, rates)
        maps.append(x)
    return _decoder(net, maps)


def _decoder(net: Layers, maps: list[Value]) -> Outputs:
    """From 1/16 upwards: a pyramid at 1/8, then scores beside the finer maps."""
    half, quarter, eighth, x = maps
    x = net.conv("decoder.3.reduce", x, eighth.channels, 1, layers="conv_bn_prelu")
    x = net.concat("decoder.3.concat", [eighth, net.resize("decoder.3.up", x, eighth, kind="resize_corners")])
    x = _block(net, "decoder.3.block", x, eighth.channels, "narrow")
    x = net.op("decoder.3.dropout", "channel_dropout_20", _pyramid(net, "decoder.3.pyramid", x))
    coarse = net.classifier("decoder.3.scores", x, bias=False)
    x = net.resize("decoder.2.up", net.op("decoder.3.norm", "bn_prelu", coarse), quarter, kind="resize_corners")
    x = net.conv("decoder.2.scores", net.concat("decoder.2.concat", [quarter, x]), net.num_classes, 1, layers="conv_bn_prelu")
    x = net.concat("decoder.1.concat", [half, net.resize("decoder.1.up", x, half, kind="resize_corners")])
    scores = net.classifier("decoder.1.scores", net.op("decoder.1.dropout", "channel_dropout_20", x), bias=False)
    return Outputs(scores=scores, resize="resize_corners", auxiliary={"aux8": coarse})


def _down(net: Layers, name: str, x: Value, image: Value, channels: int) -> Value:
    """Half the size: average pooling beside the pyramid, to which the image at this size is added."""
    pooled = net.pool(f"{name}.pool", x, 3, kind="avg_pool")
    y = net.concat(f"{name}.concat", [pooled, _branches(net, name, x, channels - x.channels, "wide", stride=2)])
    reinforcement = net.conv(f"{name}.image.filter", image, image.channels, layers="conv_bn_prelu")
    reinforcement = net.conv(f"{name}.image.widen", reinforcement, channels, 1, layers="conv_bn")
    return net.op(f"{name}.activation", "prelu", net.add(f"{name}.total", y, reinforcement))


def _block(net: Layers, name: str, x: Value, channels: int, rates: str) -> Value:
    """The pyramid, with the input added where shapes agree, and PReLU."""
    y = _branches(net, name, x, channels, rates)
    return net.op(f"{name}.activation", "prelu", net.add(f"{name}.total", x, y) if channels == x.channels else y)


def _branches(net: Layers, name: str, x: Value, channels: int, rates: str, *, stride: int = 1) -> Value:
    """Reduce by a grouped 1x1, filter with several dilations, sum them up one after the other, mix by a grouped 1x1."""
    reduced = net.conv(f"{name}.reduce", x, channels // BRANCHES, 1, layers="conv_bn_prelu", groups=BRANCHES)
    sums: list[Value] = []
    for number, rate in enumerate(RATES[rates]):
        branch = net.depthwise(f"{name}.branch.{number}", reduced, layers="conv", stride=stride, dilation=rate)
        sums.append(net.add(f"{name}.sum.{number}", sums[-1], branch) if sums else branch)
    y = net.op(f"{name}.norm", "bn_prelu", net.concat(f"{name}.branches", sums))
    return net.conv(f"{name}.mix", y, channels, 1, layers="conv_bn", groups=BRANCHES)


def _pyramid(net: Layers, name: str, x: Value) -> Value:
    """The map beside depthwise convolutions of its average-pooled versions, each half as large as the one before."""
    levels, pooled = [x], x
    for number in range(POOLS):
        pooled = net.pool(f"{name}.pool.{number}", pooled, 3, kind="avg_pool")
        level = net.depthwise(f"{name}.filter.{number}", pooled, layers="conv")
        levels.append(net.resize(f"{name}.up.{number}", level, x, kind="resize_corners"))
    return net.conv(f"{name}.fuse", net.concat(f"{name}.concat", levels), x.channels, 1, layers="conv_bn_prelu")


NETWORKS = {"espnet_v2": HandMade(stem_channels=STEM, describe=describe)}
