"""EDANet: densely connected modules of 3x1 and 1x3 convolutions, without decoder."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

GROWTH = 40
STAGES = ((60, (1, 1, 1, 2, 2)), (130, (2, 2, 4, 4, 8, 8, 16, 16)))
"""Channels that a stage begins with, and the dilations of its modules."""


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/8.

    Lo, Hang, Chan, Lin, "Efficient Dense Modules of Asymmetric Convolution for Real-Time Semantic Segmentation", ACM Multimedia
    Asia 2019, arXiv:1809.06323. The authors' repository has no code; this is the third-party implementation that was measured,
    whose last resizing leaves the centres of corner pixels in place.
    """
    x = net.halve("stem", net.image, 15, norm="bn_relu")
    for number, (channels, dilations) in enumerate(STAGES, start=1):
        x = net.halve(f"stage.{number}.down", x, channels, norm="bn_relu")
        for position, dilation in enumerate(dilations):
            x = _module(net, f"stage.{number}.{position}", x, dilation)
    return Outputs(scores=net.classifier("classifier", x), resize="resize_corners")


def _module(net: Layers, name: str, x: Value, dilation: int) -> Value:
    """Reduce to the growth, two pairs of 3x1 and 1x3, the second one dilated; what is new comes before the input."""
    y = net.conv(f"{name}.reduce", x, GROWTH, 1, layers="conv_bias_bn_relu")
    for pair, rate in enumerate((1, dilation)):
        y = net.conv(f"{name}.column.{pair}", y, GROWTH, (3, 1), layers="conv_bias", dilation=rate)
        y = net.conv(f"{name}.row.{pair}", y, GROWTH, (1, 3), layers="conv_bias_bn_relu", dilation=rate)
    return net.concat(f"{name}.concat", [net.op(f"{name}.dropout", "channel_dropout_2", y), x])


NETWORKS = {"edanet": HandMade(stem_channels=12, describe=describe)}
