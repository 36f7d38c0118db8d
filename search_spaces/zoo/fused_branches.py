"""What Fast-SCNN and ContextNet share: light blocks, and the fusion of a coarse branch with a fine one under a head."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import Outputs
from search_spaces.zoo.layers import Layers

CHANNELS = 128
"""Channels from the fusion on."""


def separable(net: Layers, name: str, x: Value, channels: int, *, stride: int = 1) -> Value:
    """Depthwise 3x3, then 1x1, each with batch norm and ReLU."""
    return net.conv(f"{name}.pointwise", net.depthwise(f"{name}.depthwise", x, stride=stride), channels, 1)


def inverted_residual(net: Layers, name: str, x: Value, channels: int, *, expansion: int, stride: int) -> Value:  # noqa: PLR0913
    """Expand, filter, project; the input is added where shapes agree (MobileNetV2, arXiv:1801.04381)."""
    y = net.op(f"{name}.op", "inverted_residual", x, channels=channels, kernel=3, stride=stride, expansion=expansion)
    return net.add(f"{name}.sum", x, y) if stride == 1 and channels == x.channels else y


def fused(net: Layers, low: Value, high: Value) -> Outputs:
    """The coarse branch enlarged and added to the fine one, two separable convolutions, scores; an auxiliary head on the fine one.

    Poudel, Bonde, Liwicki, Zach, "ContextNet", BMVC 2018, arXiv:1805.04554, and Poudel, Liwicki, Cipolla, "Fast-SCNN", BMVC 2019,
    arXiv:1902.04502.

    Args:
        net: Where it goes.
        low: The coarse branch.
        high: The fine branch.
    """
    low = net.depthwise("fusion.depthwise", net.resize("fusion.up", low, high, kind="resize_corners"))
    low = net.conv("fusion.low", low, CHANNELS, 1, layers="conv_bias_bn")
    x = net.add("fusion.sum", low, net.conv("fusion.high", high, CHANNELS, 1, layers="conv_bias_bn"))
    x = net.relu("fusion.relu", x)
    for number in range(2):
        x = separable(net, f"head.{number}", x, CHANNELS)
    scores = net.classifier("classifier.conv", net.op("classifier.dropout", "dropout_10", x))
    aux = net.op("aux8.dropout", "dropout_10", net.conv("aux8.conv", high, 32))
    return Outputs(scores=scores, resize="resize_corners", auxiliary={"aux8": net.classifier("aux8.classifier", aux)})
