"""ERFNet: residual blocks of 3x1 and 1x3 convolutions, dilated at 1/8, and transposed convolutions."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

ENCODER = ((64, (1,) * 5, "channel_dropout_3"), (128, (2, 4, 8, 16) * 2, "channel_dropout_30"))
"""Channels, dilations of the blocks, and their dropout."""
DECODER = (64, 16)
"""Channels of the stages that go up, with two blocks each."""


def describe(net: Layers) -> Outputs:
    """Append the network: scores at full size.

    Romera, Alvarez, Bergasa, Arroyo, "ERFNet: Efficient Residual Factorized ConvNet for Real-time Semantic Segmentation", IEEE
    Transactions on Intelligent Transportation Systems 19(1), 2018. The official code also holds a classifier on the encoder, for
    the encoder's training, which the whole network never runs; it is left out.
    """
    sizes = [net.image]
    x = net.halve("encoder.0.down", net.image, 16)
    for number, (channels, dilations, dropout) in enumerate(ENCODER, start=1):
        sizes.append(x)
        x = net.halve(f"encoder.{number}.down", x, channels)
        for position, dilation in enumerate(dilations):
            x = _block(net, f"encoder.{number}.{position}", x, dilation, dropout)
    for number, channels in enumerate(DECODER):
        x = net.deconv(f"decoder.{number}.up", x, sizes.pop(), channels, layers="deconv_bias_bn3_relu")
        for position in range(2):
            x = _block(net, f"decoder.{number}.{position}", x)
    return Outputs(scores=net.deconv("classifier", x, sizes.pop(), net.num_classes, 2))


def _block(net: Layers, name: str, x: Value, dilation: int = 1, dropout: str | None = None) -> Value:
    """The factorised residual block: 3x1 and 1x3 twice, the second pair dilated."""
    y = net.conv(f"{name}.column.0", x, x.channels, (3, 1), layers="conv_bias_relu")
    y = net.conv(f"{name}.row.0", y, x.channels, (1, 3), layers="conv_bias_bn3_relu")
    y = net.conv(f"{name}.column.1", y, x.channels, (3, 1), layers="conv_bias_relu", dilation=dilation)
    y = net.conv(f"{name}.row.1", y, x.channels, (1, 3), layers="conv_bias_bn3", dilation=dilation)
    if dropout is not None:
        y = net.op(f"{name}.dropout", dropout, y)
    return net.relu(f"{name}.relu", net.add(f"{name}.sum", x, y))


NETWORKS = {"erfnet": HandMade(stem_channels=13, describe=describe)}
