"""ENet: bottlenecks of 1x1, filter, 1x1 with a residual, and unpooling by the positions of the encoder's maxima."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

FILTERS = ("regular", "dilated 2", "asymmetric 5", "dilated 4", "regular", "dilated 8", "asymmetric 5", "dilated 16")
"""The filters of the bottlenecks at 1/8, which occur twice."""
ENCODER, DECODER = "prelu1", "relu"
"""Activations."""


def describe(net: Layers) -> Outputs:
    """Append the network: scores at full size.

    Paszke, Chaurasia, Kim, Culurciello, "ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation", 2016,
    arXiv:1606.02147. The third-party implementation that was measured has one slope for all PReLUs of a block, where the paper has
    one for each channel; here each PReLU has one slope of its own. Its transposed convolutions inside bottlenecks are 2x2, and it
    pools the image over 3x3 pixels, where the paper and this network have 2x2.
    """
    half = net.halve("stem", net.image, 16, conv="conv", norm="bn_prelu1")
    x, positions_half = _down(net, "encoder.1.down", half, 64, "channel_dropout_1")
    for number in range(4):
        x = _bottleneck(net, f"encoder.1.{number}", x, "regular", ENCODER, "channel_dropout_1")
    quarter = x
    x, positions_quarter = _down(net, "encoder.2.down", quarter, 128, "channel_dropout_10")
    for stage in (2, 3):
        for number, kind in enumerate(FILTERS):
            x = _bottleneck(net, f"encoder.{stage}.{number}", x, kind, ENCODER, "channel_dropout_10")
    x = _up(net, "decoder.4.up", x, quarter, positions_quarter)
    for number in range(2):
        x = _bottleneck(net, f"decoder.4.{number}", x, "regular", DECODER, "channel_dropout_10")
    x = _up(net, "decoder.5.up", x, half, positions_half)
    x = _bottleneck(net, "decoder.5.0", x, "regular", DECODER, "channel_dropout_10")
    return Outputs(scores=net.deconv("classifier", x, net.image, net.num_classes, layers="deconv"))


def _bottleneck(net: Layers, name: str, x: Value, kind: str, activation: str, dropout: str) -> Value:
    """Reduce to a quarter, filter, expand, drop, add, activate."""
    layers = f"conv_bn_{activation}"
    y = net.conv(f"{name}.reduce", x, x.channels // 4, 1, layers=layers)
    word, _, number = kind.partition(" ")
    if word == "asymmetric":
        y = net.conv(f"{name}.column", y, y.channels, (int(number), 1), layers=layers)
        y = net.conv(f"{name}.row", y, y.channels, (1, int(number)), layers=layers)
    else:
        y = net.conv(f"{name}.filter", y, y.channels, layers=layers, dilation=int(number or 1))
    y = net.op(f"{name}.dropout", dropout, net.conv(f"{name}.expand", y, x.channels, 1, layers=layers))
    return net.op(f"{name}.activation", activation, net.add(f"{name}.sum", x, y))


def _down(net: Layers, name: str, x: Value, channels: int, dropout: str) -> tuple[Value, Value]:
    """A bottleneck that halves the map, its sum with max pooling in the first channels, and the positions of the maxima."""
    layers = f"conv_bn_{ENCODER}"
    y = net.conv(f"{name}.reduce", x, x.channels // 4, 2, layers=layers, stride=2)
    y = net.conv(f"{name}.filter", y, y.channels, layers=layers)
    y = net.op(f"{name}.dropout", dropout, net.conv(f"{name}.expand", y, channels, 1, layers=layers))
    first = net.op(f"{name}.first", "first_channels", y, channels=x.channels)
    last = net.op(f"{name}.last", "last_channels", y, channels=channels - x.channels)
    total = net.add(f"{name}.sum", net.pool(f"{name}.pool", x, 2), first)
    y = net.op(f"{name}.activation", ENCODER, net.concat(f"{name}.concat", [total, last]))
    return y, net.pool_positions(f"{name}.positions", x)


def _up(net: Layers, name: str, x: Value, like: Value, positions: Value) -> Value:
    """A bottleneck that doubles the map, its sum with unpooling, ReLU; as many channels as were pooled."""
    channels = positions.channels
    y = net.conv(f"{name}.reduce", x, x.channels // 4, 1)
    y = net.deconv(f"{name}.filter", y, like, y.channels, 2, layers="deconv_bn_relu")
    y = net.op(f"{name}.dropout", "channel_dropout_10", net.conv(f"{name}.expand", y, channels, 1))
    main = net.conv(f"{name}.main", x, channels, 1, layers="conv_bn")
    return net.relu(f"{name}.relu", net.add(f"{name}.sum", net.unpool(f"{name}.unpool", main, positions, like), y))


NETWORKS = {"enet": HandMade(stem_channels=13, describe=describe)}
