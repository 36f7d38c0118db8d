"""STDC1 and STDC2: a trunk of short-term dense concatenations, whose map at 1/8 takes the place of BiSeNet's spatial path."""

from __future__ import annotations

from functools import partial

from search_spaces.zoo.bisenet_parts import climb, fuse, predict
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.stdc_trunk import STDC1, STDC2, describe_trunk


def describe(net: Layers, *, blocks: tuple[int, int, int]) -> Outputs:
    """Append a network: scores at 1/8.

    Fan, Lai, Huang, Wei, Chai, Luo, Wei, "Rethinking BiSeNet For Real-time Semantic Segmentation", CVPR 2021, arXiv:2104.13188.
    The official file runs its detail heads and both auxiliary heads in evaluation too; the count is that of the path to the
    scores. The detail heads are left out: they learn from edges of the labels, by a loss of their own.

    Args:
        net: The network.
        blocks: Modules at 1/8, 1/16 and 1/32.
    """
    maps = describe_trunk(net, blocks)
    coarse, context = climb(net, "context", maps, kind="resize_nearest")
    x = fuse(net, "fusion", maps[0], context, reduction=4)
    auxiliary = {name: predict(net, name, y, 64, bias=False) for name, y in (("aux8", context), ("aux16", coarse))}
    return Outputs(scores=predict(net, "head", x, 256, bias=False), resize="resize_corners", auxiliary=auxiliary)


NETWORKS = {
    "stdc1": HandMade(stem_channels=32, describe=partial(describe, blocks=STDC1)),
    "stdc2": HandMade(stem_channels=32, describe=partial(describe, blocks=STDC2)),
}
