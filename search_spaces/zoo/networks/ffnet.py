"""FFNet-40S, -54S and -78S for mobile devices: a slim residual trunk from 1/8 to 1/64 and a head of convolutions alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.trunks import resnet

TRUNK = (64, 128, 192, 320)
"""Channels at 1/8, 1/16, 1/32 and 1/64."""
HEAD = (64, 128, 128, 256)
"""The same in the head, `B` of the paper."""
SMOOTHED = (96, 96, 64, 32)
"""Channels that each size gives to the scores."""


def describe(net: Layers, blocks: Sequence[int]) -> Outputs:
    """Append the network: scores at 1/8.

    Mehta, Skliar, Ben Yahia, Borse, Porikli, Habibian, Blankevoort, "Simple and Efficient Architectures for Semantic Segmentation",
    CVPR Workshops 2022, arXiv:2206.08236: the networks called `dBBB_mobile` in the official code, which take images of 1024x2048,
    have an additional stride in their first stage and enlarge by the nearest pixel. The official code leaves the scores at 1/8;
    that they are enlarged bilinearly is [reading]. The counts are of this file, 13.9 M parameters of FFNet-40S are published.
    """
    x = net.conv("stem.1", net.conv("stem.0", net.image, 32, stride=2), 64, stride=2)
    stages = resnet(net, x, blocks, strides=(2, 2, 2, 2), channels=TRUNK)
    maps = [net.conv(f"adapter.{i}", stage.out, width, 1) for i, (stage, width) in enumerate(zip(stages, HEAD, strict=True))]
    smooth: list[Value] = []
    x = maps[-1]
    for level in (3, 2, 1, 0):
        if level < 3:
            coarser, x = net.conv(f"head.{level}.coarser", x, HEAD[level], 1), maps[level]
            x = net.add(f"head.{level}.sum", net.resize(f"head.{level}.up", coarser, x, kind="resize_nearest"), x)
        smooth.insert(0, net.conv(f"head.{level}.smooth", x, SMOOTHED[level]))
    same = [net.resize(f"fusion.up{i}", y, smooth[0], kind="resize_nearest") for i, y in enumerate(smooth)]
    x = net.conv("fusion.conv", net.concat("fusion.concat", same), 256, layers="conv_bias_bn_relu")
    return Outputs(scores=net.op("classifier", "fan_out_classifier", x, channels=net.num_classes, kernel=3))


BLOCKS = {"ffnet_40s": (4, 5, 6, 4), "ffnet_54s": (5, 8, 8, 5), "ffnet_78s": (6, 12, 12, 8)}
"""Network -> residual blocks at 1/8, 1/16, 1/32 and 1/64."""
NETWORKS = {name: HandMade(stem_channels=32, describe=partial(describe, blocks=blocks)) for name, blocks in BLOCKS.items()}
