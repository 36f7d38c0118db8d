"""LDN121 64->4: DenseNet-121 down to 1/64, a pyramid of pooled maps there, a slim decoder up to 1/4."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.pyramids import square_pyramid

LAYERS = (6, 12, 24, 16)
"""Dense layers of each block."""
SPLIT_BLOCK = 2
"""The block, from 0, with a pooling in its middle."""
GROWTH = 32
BOTTLENECK = 128
UP_CHANNELS = (256, 256, 128, 128)


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/4.

    Kreso, Krapac, Segvic, "Efficient Ladder-style DenseNets for Semantic Segmentation of Large Images", IEEE T-ITS 2020,
    arXiv:1905.05661. The survey prints 9.5 M parameters; the authors' code, which is what is built here, has 10.3 M. Its max
    pooling is 2x2, and each step up has a residual connection around it. There the auxiliary scores meet labels at their own
    resolution; here they are resized to the image.
    """
    x = net.conv("stem.conv", net.image, 2 * GROWTH, 7, stride=2)
    x = net.pool("stem.pool", x, 2)
    skips = []
    for block, layers in enumerate(LAYERS):
        for layer in range(layers):
            if block == SPLIT_BLOCK and layer == layers // 2:
                skips.append(x)
                x = net.pool(f"dense.{block}.split", x, 2, kind="avg_pool")
            x = _dense_layer(net, f"dense.{block}.{layer}", x)
        if block < len(LAYERS) - 1:
            skips.append(x)
            x = net.conv(f"transition.{block}.conv", x, x.channels // 2, 1, layers="bn_relu_conv")
            x = net.pool(f"transition.{block}.pool", x, 2, kind="avg_pool")
    x = square_pyramid(net, "pyramid", x, width=512, level=128, grids=(8, 4, 2, 1))
    auxiliary = {}
    for number, (channels, skip) in enumerate(zip(UP_CHANNELS, reversed(skips), strict=True)):
        aux = f"aux{64 >> number}"
        auxiliary[aux] = _scores(net, f"{aux}.scores", x)
        x = _up(net, f"up.{number}", x, skip, channels)
    return Outputs(scores=_scores(net, "classifier.scores", x), auxiliary=auxiliary)


def _dense_layer(net: Layers, name: str, x: Value) -> Value:
    """1x1 to 128 channels and 3x3 to 32, which are appended (DenseNet, CVPR 2017, arXiv:1608.06993)."""
    y = net.conv(f"{name}.reduce", x, BOTTLENECK, 1, layers="bn_relu_conv")
    return net.concat(f"{name}.concat", [x, net.conv(f"{name}.conv", y, GROWTH, layers="bn_relu_conv")])


def _up(net: Layers, name: str, x: Value, skip: Value, channels: int) -> Value:
    """Resized to a skip and blended with it; the resized map is added to the result."""
    skip = net.conv(f"{name}.skip", skip, x.channels, 1, layers="bn_relu_conv")
    x = net.resize(f"{name}.resize", x, skip)
    y = net.add(f"{name}.sum", x, skip)
    if y.channels > BOTTLENECK:
        y = net.conv(f"{name}.reduce", y, BOTTLENECK, 1, layers="bn_relu_conv")
    y = net.conv(f"{name}.blend", y, channels, layers="bn_relu_conv")
    if x.channels != channels:
        x = net.conv(f"{name}.shortcut", x, channels, 1, layers="bn_relu_conv")
    return net.add(f"{name}.total", y, x)


def _scores(net: Layers, name: str, x: Value) -> Value:
    return net.conv(name, x, net.num_classes, 1, layers="bn_relu_conv_bias")


NETWORKS = {"ldn121": HandMade(stem_channels=64, describe=describe)}
