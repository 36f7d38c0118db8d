"""ContextNet: a shallow branch on the image, a deep one on the image at a quarter of its size, fusion at 1/8."""

from __future__ import annotations

from search_spaces.zoo.fused_branches import fused, inverted_residual, separable
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

STAGES = ((1, 32, 1, 1), (6, 32, 1, 1), (6, 48, 3, 2), (6, 64, 3, 2), (6, 96, 2, 1), (6, 128, 2, 1))
"""Expansion, channels, blocks and stride of the stages of inverted residuals."""


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/8.

    Poudel, Bonde, Liwicki, Zach, "ContextNet: Exploring Context and Detail for Semantic Segmentation in Real-time", BMVC 2018,
    arXiv:1805.04554. There is no official code. The implementation that is measured has no dilation in the fusion (4 in the paper),
    no 3x3 convolution after the inverted residuals, and its auxiliary head on the shallow branch (in the paper on the deep one).
    Both 3x3 convolutions on images have no padding there, which saves 0.15 % of the multiply-accumulates; here they are padded.
    It shrinks the image by its corners, here by centres of pixels.
    """
    x = net.conv("spatial.stem", net.image, 32, stride=2)
    for number, (channels, stride) in enumerate(((64, 2), (128, 2), (128, 1))):
        x = separable(net, f"spatial.{number}", x, channels, stride=stride)
    high = x
    x = net.conv("context.stem", net.op("context.shrink", "shrink", net.image, stride=4), 32, stride=2)
    for number, (expansion, channels, blocks, stride) in enumerate(STAGES):
        for block in range(blocks):
            name = f"context.{number}.{block}"
            x = inverted_residual(net, name, x, channels, expansion=expansion, stride=stride if block == 0 else 1)
    return fused(net, x, high)


NETWORKS = {"context_net": HandMade(stem_channels=32, describe=describe)}
