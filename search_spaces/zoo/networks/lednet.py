"""LEDNet: split, factorised and shuffled residual blocks, and a decoder that is an attention pyramid of one channel."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

STAGES = (
    (32, (1, 1, 1), "channel_dropout_3"),
    (64, (1, 1), "channel_dropout_3"),
    (128, (1, 2, 5, 9, 2, 5, 9, 17), "channel_dropout_30"),
)
"""Channels, dilations of the blocks, and their dropout."""
LAYERS = "conv_bias_bn3_relu"


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/8.

    Wang, Zhou, Liu, Xiong, Gao, Wu, Latecki, "LEDNet: A Lightweight Encoder-Decoder Network for Real-time Semantic Segmentation",
    ICIP 2019, arXiv:1905.02423. The official code always has 20 channels of scores and 512x1024 pixels; here both follow the data.
    Its classifier on the encoder, which the whole network never runs, is left out.
    """
    x = net.image
    for number, (channels, dilations, dropout) in enumerate(STAGES):
        x = net.halve(f"encoder.{number}.down", x, channels)
        for position, dilation in enumerate(dilations):
            x = _block(net, f"encoder.{number}.{position}", x, dilation, dropout)
    return Outputs(scores=_attention_pyramid(net, "decoder", x), resize="resize_corners")


def _block(net: Layers, name: str, x: Value, dilation: int, dropout: str) -> Value:
    """Halves of the channels, each through two pairs of 3x1 and 1x3 in opposite orders; sum, ReLU, shuffle."""
    halves = []
    kernels = ((3, 1), (1, 3))
    for side, (first, second) in (("left", kernels), ("right", kernels[::-1])):
        y = net.op(f"{name}.{side}.part", "first_channels" if side == "left" else "last_channels", x, channels=x.channels // 2)
        y = net.conv(f"{name}.{side}.0", y, y.channels, first, layers="conv_bias_relu")
        y = net.conv(f"{name}.{side}.1", y, y.channels, second, layers=LAYERS)
        y = net.conv(f"{name}.{side}.2", y, y.channels, first, layers="conv_bias_relu", dilation=dilation)
        y = net.conv(f"{name}.{side}.3", y, y.channels, second, layers="conv_bias_bn3", dilation=dilation)
        halves.append(net.op(f"{name}.{side}.dropout", dropout, y))
    total = net.add(f"{name}.sum", x, net.concat(f"{name}.concat", halves))
    return net.op(f"{name}.shuffle", "channel_shuffle", net.relu(f"{name}.relu", total), groups=2)


def _attention_pyramid(net: Layers, name: str, x: Value) -> Value:
    """Scores of each pixel, weighted by a pyramid of one channel; the scores of the whole image are added."""
    half = net.conv(f"{name}.down.1", x, 1, 7, layers=LAYERS, stride=2)
    quarter = net.conv(f"{name}.down.2", half, 1, 5, layers=LAYERS, stride=2)
    eighth = net.conv(f"{name}.down.3", quarter, 1, 3, layers=LAYERS, stride=2)
    y = net.conv(f"{name}.lateral.3", eighth, 1, 3, layers=LAYERS)
    for number, kernel, finer in ((2, 5, quarter), (1, 7, half)):
        up = net.resize(f"{name}.up.{number}", y, finer, kind="resize_corners")
        y = net.add(f"{name}.sum.{number}", net.conv(f"{name}.lateral.{number}", finer, 1, kernel, layers=LAYERS), up)
    gate = net.resize(f"{name}.up.0", y, x, kind="resize_corners")
    scores = net.conv(f"{name}.scores", x, net.num_classes, 1, layers=LAYERS)
    whole = net.conv(f"{name}.whole.scores", net.global_pool(f"{name}.whole.pool", x), net.num_classes, 1, layers=LAYERS)
    return net.op(f"{name}.shift", "shift", net.op(f"{name}.gate", "gate_pixels", scores, gate), whole)


NETWORKS = {"lednet": HandMade(stem_channels=29, describe=describe)}
