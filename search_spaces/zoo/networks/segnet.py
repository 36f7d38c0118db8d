"""SegNet and SegNet-Basic: an encoder of convolutions and max pooling, and its mirror image with unpooling."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of the stages of VGG-16 (Simonyan, Zisserman, ICLR 2015, arXiv:1409.1556)."""
BASIC_STAGES, BASIC_CHANNELS, BASIC_KERNEL = 4, 64, 7
LAYERS = "conv_bias_bn_relu"


def describe(net: Layers) -> Outputs:
    """Append SegNet: scores at full size.

    Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation", IEEE TPAMI
    39(12), 2017, arXiv:1511.00561. The last convolution gives the scores, without batch norm.
    """
    x = net.image
    pooled: list[tuple[Value, Value]] = []
    for number, (channels, convolutions) in enumerate(STAGES):
        for position in range(convolutions):
            x = net.conv(f"encoder.{number}.{position}", x, channels, layers=LAYERS)
        x = _pool(net, f"encoder.{number}", x, pooled)
    for number, (channels, convolutions) in reversed(list(enumerate(STAGES))):
        x = _unpool(net, f"decoder.{number}", x, pooled)
        below = STAGES[number - 1][0] if number else net.num_classes
        for position in reversed(range(convolutions)):
            is_scores = number == position == 0
            layers = "conv_bias" if is_scores else LAYERS
            x = net.conv(f"decoder.{number}.{position}", x, channels if position else below, layers=layers)
    return Outputs(scores=x)


def describe_basic(net: Layers) -> Outputs:
    """Append SegNet-Basic: scores at full size.

    The smaller network of the same paper, without activation in its decoder. The normalisation of the image by its neighbours in
    the authors' definition is left out.
    """
    x = net.image
    pooled: list[tuple[Value, Value]] = []
    for number in range(BASIC_STAGES):
        x = net.conv(f"encoder.{number}.conv", x, BASIC_CHANNELS, BASIC_KERNEL, layers=LAYERS)
        x = _pool(net, f"encoder.{number}", x, pooled)
    for number in reversed(range(BASIC_STAGES)):
        x = _unpool(net, f"decoder.{number}", x, pooled)
        x = net.conv(f"decoder.{number}.conv", x, BASIC_CHANNELS, BASIC_KERNEL, layers="conv_bias_bn")
    return Outputs(scores=net.classifier("classifier", x))


def _pool(net: Layers, name: str, x: Value, pooled: list[tuple[Value, Value]]) -> Value:
    """Max pooling; the map and the positions of its maxima are noted."""
    pooled.append((x, net.pool_positions(f"{name}.positions", x)))
    return net.pool(f"{name}.pool", x, 2)


def _unpool(net: Layers, name: str, x: Value, pooled: list[tuple[Value, Value]]) -> Value:
    """Unpooling to the size of the map that was pooled last."""
    like, positions = pooled.pop()
    return net.unpool(f"{name}.unpool", x, positions, like)


NETWORKS = {
    "segnet": HandMade(stem_channels=STAGES[0][0], describe=describe),
    "segnet_basic": HandMade(stem_channels=BASIC_CHANNELS, describe=describe_basic),
}
