"""FANet-18 and FANet-34: a residual trunk from 1/8 to 1/64 with fast attention at every size, fused from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.trunks import RESNET18, RESNET34, resnet, resnet_stem

LEAKY = "conv_bn_leaky"
DEPTH = 32
"""Channels of queries and keys."""
STRIDES = (8, 16, 32, 64)


def describe(net: Layers, blocks: Sequence[int]) -> Outputs:
    """Append the network: scores at 1/8.

    Hu, Perazzi, Heilbron, Wang, Lin, Saenko, Sclaroff, "Real-time Semantic Segmentation with Fast Attention", RA-L 2021,
    arXiv:2007.03815, as in the official code (feinanshan/FANet): leaky ReLU, but ReLU behind the sums of the trunk; the 1x1 that
    passes a map on to the finer one is padded by one pixel, so that the map grows by two before it is enlarged; the scores are made
    of the maps at 1/32 and 1/8. The official code also smooths the map at 1/64 (0.5901 M parameters, 0.302 GMACs), which only the
    first of its two auxiliary heads reads: here that takes part in training alone. With it the counts are 13.6702 M and 47.393
    GMACs of FANet-18, 23.7784 M and 66.721 GMACs of FANet-34.
    """
    stem = resnet_stem(net, "stem", net.image, activation="leaky")
    stages = resnet(net, stem, blocks, strides=(2, 2, 2, 2), activation="leaky", sums="relu")
    smooth: dict[int, Value] = {}
    coarser: Value | None = None
    for stride, stage in reversed(list(zip(STRIDES, stages, strict=True))):
        name = f"fusion.{stride}"
        x = _attention(net, f"{name}.attention", stage.out)
        if coarser is not None:
            x = net.add(f"{name}.sum", net.resize(f"{name}.up", coarser, x, kind="resize_corners"), x)
        if stride != 16:
            smooth[stride] = net.conv(f"{name}.smooth", x, 128, layers=LEAKY)
        if stride > 8:
            padded = net.op(f"{name}.pad", "pad", x, size=(x.height + 2, x.width + 2))
            coarser = net.conv(f"{name}.pass", padded, x.channels // 2, 1, layers=LEAKY)
    wide = net.resize("head.up", smooth[32], smooth[8], kind="resize_corners")
    scores = _head(net, "head", net.concat("head.concat", [wide, smooth[8]]), 256)
    auxiliary = {f"aux{stride}": _head(net, f"aux{stride}", smooth[stride], 64) for stride in (64, 32)}
    return Outputs(scores=scores, resize="resize_corners", auxiliary=auxiliary)


def _attention(net: Layers, name: str, x: Value) -> Value:
    """Fast attention, added to its input (Fig. 3)."""
    query = net.conv(f"{name}.query", x, DEPTH, 1, layers="conv_bn")
    key = net.conv(f"{name}.key", x, DEPTH, 1, layers="conv_bn")
    value = net.conv(f"{name}.value", x, x.channels, 1, layers=LEAKY)
    attended = net.op(f"{name}.op", "fast_attention", query, key, value, channels=x.channels)
    return net.add(f"{name}.sum", net.conv(f"{name}.join", attended, x.channels, 1, layers=LEAKY), x)


def _head(net: Layers, name: str, x: Value, channels: int) -> Value:
    """Scores: 3x3 and 1x1 without bias."""
    return net.classifier(f"{name}.scores", net.conv(f"{name}.conv", x, channels, layers=LEAKY), bias=False)


BLOCKS = {"fanet_18": RESNET18, "fanet_34": RESNET34}
"""Network -> residual blocks at 1/8, 1/16, 1/32 and 1/64."""
NETWORKS = {name: HandMade(stem_channels=64, describe=partial(describe, blocks=blocks)) for name, blocks in BLOCKS.items()}
