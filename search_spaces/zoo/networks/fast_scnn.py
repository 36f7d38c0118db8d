"""Fast-SCNN: learning to downsample, inverted residuals at 1/8 to 1/32, pyramid pooling, fusion with the map at 1/8."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.fused_branches import fused, inverted_residual, separable
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

STAGES = ((64, 3, 2), (96, 3, 2), (128, 3, 1))
"""Channels, blocks and stride of the stages of inverted residuals."""
EXPANSION = 6


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/8.

    Poudel, Liwicki, Cipolla, "Fast-SCNN: Fast Semantic Segmentation Network", BMVC 2019, arXiv:1902.04502. The paper prints 1.11 M
    parameters; the implementation that is measured everywhere has 1.138 M, no ReLU after the projections, no dilation in the fusion
    (4 in the paper), and an auxiliary head on the map at 1/8. It resizes by corners, as is done here, and does not pad the first
    convolution, which is padded here.
    """
    x = net.conv("stem", net.image, 32, stride=2)
    x = separable(net, "down.0", x, 48, stride=2)
    high = separable(net, "down.1", x, 64, stride=2)
    x = high
    for number, (channels, blocks, stride) in enumerate(STAGES):
        for block in range(blocks):
            x = inverted_residual(
                net, f"stage.{number}.{block}", x, channels, expansion=EXPANSION, stride=stride if block == 0 else 1
            )
    x = _pyramid(net, "pyramid", x)
    return fused(net, x, high)


def _pyramid(net: Layers, name: str, x: Value) -> Value:
    """The map beside its averages over grids of 1, 2, 3 and 6 bins a side (PSPNet, arXiv:1612.01105)."""
    levels = [x]
    for bins in (1, 2, 3, 6):
        level = net.conv(f"{name}.{bins}.conv", net.bins(f"{name}.{bins}.pool", x, bins), x.channels // 4, 1)
        levels.append(net.resize(f"{name}.{bins}.up", level, x, kind="resize_corners"))
    return net.conv(f"{name}.fuse", net.concat(f"{name}.concat", levels), 128, 1)


NETWORKS = {"fast_scnn": HandMade(stem_channels=32, describe=describe)}
