"""SwiftNet: ResNet-18, a pyramid of pooled maps at 1/32, lateral connections up to 1/4."""

from __future__ import annotations

from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.pyramids import square_pyramid
from search_spaces.zoo.trunks import resnet, resnet_stem

WIDTH = 128
GRIDS = (8, 4, 2)
"""Rows of the grids of the pyramid."""


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/4.

    Orsic, Kreso, Bevandic, Segvic, "In Defense of Pre-trained ImageNet Architectures for Real-time Semantic Segmentation of
    Road-driving Images", CVPR 2019, arXiv:1903.08469; the single-scale network. Lateral connections leave the trunk before the last
    ReLU of a stage, and what is added to the trunk has the order BN-ReLU-convolution. The authors' code normalises the image inside
    the network; here that is done before it.
    """
    stages = resnet(net, resnet_stem(net, "stem", net.image))
    x = square_pyramid(net, "pyramid", stages[-1].sum, width=WIDTH, level=WIDTH // len(GRIDS), grids=GRIDS)
    for number, stage in enumerate(reversed(stages[:-1])):
        skip = net.conv(f"up.{number}.skip", stage.sum, WIDTH, 1, layers="bn_relu_conv")
        x = net.add(f"up.{number}.sum", net.resize(f"up.{number}.resize", x, skip), skip)
        x = net.conv(f"up.{number}.blend", x, WIDTH, layers="bn_relu_conv")
    return Outputs(scores=net.conv("classifier.conv", x, net.num_classes, 1, layers="bn_relu_conv_bias"))


NETWORKS = {"swiftnet_rn18": HandMade(stem_channels=64, describe=describe)}
