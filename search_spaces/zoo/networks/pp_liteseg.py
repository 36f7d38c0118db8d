"""PP-LiteSeg-T: STDC1's trunk, simple pyramid pooling, three fusions by an attention to pixels on the way up to 1/8."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.bisenet_parts import predict
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.stdc_trunk import STDC1, describe_trunk

BINS = (1, 2, 4)
FUSED = (32, 64, 128)
"""Channels that the fusions at 1/8, 1/16 and 1/32 end in."""


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/8.

    Peng et al., "PP-LiteSeg: A Superior Real-Time Semantic Segmentation Model", 2022, arXiv:2204.02681. As the official code has
    it, the convolutions of the pyramid have a bias before their batch norm and the auxiliary heads read the fused maps at 1/16 and
    1/32.
    """
    maps = describe_trunk(net, STDC1)
    x = _pyramid(net, "pyramid", maps[-1])
    fused = []
    for stride, fine, channels in reversed(list(zip((8, 16, 32), maps, FUSED, strict=True))):
        x = _fuse(net, f"fusion.{stride}", fine, x, channels)
        fused.append(x)
    auxiliary = {name: predict(net, name, y, 64, bias=False) for name, y in (("aux16", fused[1]), ("aux32", fused[0]))}
    return Outputs(scores=predict(net, "head", x, 32, bias=False), auxiliary=auxiliary)


def _pyramid(net: Layers, name: str, x: Value) -> Value:
    """Sum of averages over grids, each by 1x1 to 128 channels; then 3x3 (section 3.3 of the paper)."""
    levels = []
    for bins in BINS:
        level = net.conv(f"{name}.{bins}.conv", net.bins(f"{name}.{bins}.pool", x, bins), 128, 1, layers="conv_bias_bn_relu")
        levels.append(net.resize(f"{name}.{bins}.up", level, x))
    return net.conv(f"{name}.conv", net.add(f"{name}.sum", *levels), 128, layers="conv_bias_bn_relu")


def _fuse(net: Layers, name: str, fine: Value, coarse: Value, channels: int) -> Value:
    """Unified attention fusion by a gate of pixels, from mean and largest value over the channels of both maps (section 3.2)."""
    fine = net.conv(f"{name}.fine", fine, coarse.channels)
    coarse = net.resize(f"{name}.up", coarse, fine)
    described = [
        net.op(f"{name}.{which}_statistics", "channel_statistics", x, channels=2)
        for which, x in (("fine", fine), ("coarse", coarse))
    ]
    gate = net.conv(f"{name}.gate.0", net.concat(f"{name}.concat", described), 2)
    gate = net.conv(f"{name}.gate.1", gate, 1, layers="conv_bn_sigmoid")
    return net.conv(f"{name}.conv", net.op(f"{name}.blend", "blend", fine, coarse, gate), channels)


NETWORKS = {"pp_liteseg_t": HandMade(stem_channels=32, describe=describe)}
