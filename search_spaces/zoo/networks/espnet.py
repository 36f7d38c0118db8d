"""ESPNet: spatial pyramids of dilated convolutions, the image added at two scales, a decoder as wide as there are classes."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

STAGES = ((64, 2), (128, 8))
"""Channels of a stage, and its blocks after the one that halves the map: p = 2, q = 8."""
DILATIONS = (1, 2, 4, 8, 16)
LAYERS = "conv_bn3_prelu"


def describe(net: Layers) -> Outputs:
    """Append the network: scores at full size.

    Mehta, Rastegari, Caspi, Shapiro, Hajishirzi, "ESPNet: Efficient Spatial Pyramid of Dilated Convolutions for Semantic
    Segmentation", ECCV 2018, arXiv:1803.06815. The decoder has as many channels as classes; below five classes its pyramid has as
    many branches as classes [reading].
    """
    image = net.pool("image.1", net.image, 3, kind="avg_pool")
    x = net.concat("stem.concat", [net.conv("stem.conv", net.image, 16, layers=LAYERS, stride=2), image])
    half = net.op("stem.norm", "bn3_prelu", x)
    first = x = _pyramid(net, "stage.1.down", half, STAGES[0][0], stride=2)
    for position in range(STAGES[0][1]):
        x = _pyramid(net, f"stage.1.{position}", x, x.channels, adds=True)
    image = net.pool("image.2", image, 3, kind="avg_pool")
    quarter = net.op("stage.1.norm", "bn3_prelu", net.concat("stage.1.concat", [x, first, image]))
    first = x = _pyramid(net, "stage.2.down", quarter, STAGES[1][0], stride=2)
    for position in range(STAGES[1][1]):
        x = _pyramid(net, f"stage.2.{position}", x, x.channels, adds=True)
    x = net.op("stage.2.norm", "bn3_prelu", net.concat("stage.2.concat", [first, x]))
    return Outputs(scores=_decoder(net, net.classifier("stage.2.scores", x, bias=False), quarter, half))


def _decoder(net: Layers, x: Value, quarter: Value, half: Value) -> Value:
    """Transposed convolutions, and between them the scores that the finer maps give."""
    x = net.deconv("decoder.2.up", net.op("decoder.2.norm", "bn3", x), quarter, x.channels, 2, layers="deconv")
    x = net.concat("decoder.1.concat", [net.classifier("decoder.1.lateral", quarter, bias=False), x])
    x = _pyramid(net, "decoder.1.block", net.op("decoder.1.norm", "bn3_prelu", x), net.num_classes)
    x = net.deconv("decoder.1.up", x, half, x.channels, 2, layers="deconv_bn3_prelu")
    x = net.conv("decoder.0.conv", net.concat("decoder.0.concat", [x, half]), net.num_classes, layers=LAYERS)
    return net.deconv("decoder.0.up", x, net.image, net.num_classes, 2, layers="deconv")


def _pyramid(net: Layers, name: str, x: Value, channels: int, *, stride: int = 1, adds: bool = False) -> Value:
    """Reduce, filter with several dilations, sum from the second one on, concatenate; norm and activation."""
    others = min(len(DILATIONS), channels) - 1
    narrow = max(1, channels // len(DILATIONS))
    reduced = net.conv(f"{name}.reduce", x, narrow, 3 if stride > 1 else 1, layers="conv", stride=stride)
    widths = (channels - others * narrow, *[narrow] * others)
    branches = [
        net.conv(f"{name}.dilated.{rate}", reduced, width, layers="conv", dilation=rate)
        for rate, width in zip(DILATIONS, widths, strict=False)
    ]
    sums = branches[1:2]
    for rate, branch in zip(DILATIONS[2:], branches[2:], strict=False):
        sums.append(net.add(f"{name}.fused.{rate}", sums[-1], branch))
    y = net.concat(f"{name}.concat", [branches[0], *sums])
    return net.op(f"{name}.norm", "bn3_prelu", net.add(f"{name}.sum", x, y) if adds else y)


NETWORKS = {"espnet": HandMade(stem_channels=16, describe=describe)}
