"""DF1-Seg: a residual trunk found by partial order pruning, pyramid pooling at 1/32, fusion up to 1/16."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.trunks import resnet

BLOCKS, STRIDES, CHANNELS = (3, 3, 3, 1), (2, 2, 2, 1), (64, 128, 256, 512)
"""Blocks, stride and channels of the stages of DF1."""
WIDTH = 128
HEAD_CHANNELS = 256


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/16.

    Li, Zhou, Pan, Feng, "Partial Order Pruning: for Best Speed/Accuracy Trade-off in Neural Architecture Search", CVPR 2019,
    arXiv:1903.03777, as a third party built it. That code halves the image at evaluation and not in training; here it is never
    halved, so that its cost at 1024x2048 is this network's at 512x1024.
    """
    x = net.conv("stem.0", net.image, 32, stride=2)
    x = net.conv("stem.1", x, 64, stride=2)
    _, middle, low, lowest = (stage.out for stage in resnet(net, x, BLOCKS, strides=STRIDES, channels=CHANNELS))
    x = net.conv("lateral.0", _pyramid(net, "pyramid", lowest), WIDTH, 1, layers="conv_bias")
    for number, finer in enumerate((low, middle), start=1):
        lateral = net.conv(f"lateral.{number}", finer, WIDTH, 1, layers="conv_bias")
        up = net.resize(f"fusion.{number}.up", x, lateral, kind="resize_corners")
        x = net.conv(f"fusion.{number}.conv", net.concat(f"fusion.{number}.concat", [up, lateral]), WIDTH, layers="conv")
    x = net.conv("head.conv", x, HEAD_CHANNELS, layers="conv_bias_bn_relu")
    scores = net.classifier("classifier.conv", net.op("classifier.dropout", "channel_dropout_10", x))
    return Outputs(scores=scores, resize="resize_corners")


def _pyramid(net: Layers, name: str, x: Value) -> Value:
    """Averages over grids of 1, 2, 3 and 6 bins a side beside the map (PSPNet, arXiv:1612.01105)."""
    levels = []
    for bins in (1, 2, 3, 6):
        level = net.conv(f"{name}.{bins}.conv", net.bins(f"{name}.{bins}.pool", x, bins), WIDTH, 1, layers="conv_bn")
        levels.append(net.resize(f"{name}.{bins}.up", level, x, kind="resize_corners"))
    x = net.conv(f"{name}.fuse", net.concat(f"{name}.concat", [*levels, x]), WIDTH, 1)
    return net.op(f"{name}.dropout", "channel_dropout_10", x)


NETWORKS = {"df1_seg": HandMade(stem_channels=32, describe=describe)}
