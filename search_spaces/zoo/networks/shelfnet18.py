"""ShelfNet18: ResNet-18, a decoder, and a second encoder and decoder on the maps at 1/8, 1/16 and 1/32."""

from __future__ import annotations

from collections.abc import Sequence

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.trunks import resnet, resnet_stem

WIDTHS = (64, 128, 256)
"""Channels at 1/8, 1/16, 1/32."""
HEAD_CHANNELS = 64
LEAKY = "conv_bn_leaky"


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/8.

    Zhuang, Yang, Gu, Dvornek, "ShelfNet for Fast Semantic Segmentation", ICCV Workshops 2019, arXiv:1811.11254. As in the authors'
    code, the activation behind a batch norm outside the trunk is a leaky ReLU of slope 0.01, and the last convolution is a 3x3
    without bias. The S-block of the first decoder that nothing reads is left out.
    """
    stages = resnet(net, resnet_stem(net, "stem", net.image))
    laterals = [
        net.conv(f"lateral.{number}", stage.out, width, 1, layers=LEAKY)
        for number, (stage, width) in enumerate(zip(stages[1:], WIDTHS, strict=True))
    ]
    first = _decoder(net, "decoder", laterals)
    x = _s_block(net, "ladder.in", first[0])
    down = []
    for number, lateral in enumerate(first[:-1]):
        down.append(_s_block(net, f"ladder.{number}", net.add(f"ladder.{number}.sum", x, lateral)))
        x = net.conv(f"ladder.{number}.down", down[-1], 2 * lateral.channels, stride=2, layers="conv_bias_relu")
    out8, out16, out32 = _decoder(net, "shelf", [*down, x])
    auxiliary = {name: _head(net, name, x) for name, x in (("aux16", out16), ("aux32", out32))}
    return Outputs(scores=_head(net, "classifier", out8), resize="resize_corners", auxiliary=auxiliary)


def _decoder(net: Layers, part: str, laterals: Sequence[Value]) -> list[Value]:
    """S-block of the coarsest map, then step by step to the finest; the maps from fine to coarse."""
    *finer, coarsest = laterals
    outputs = [_s_block(net, f"{part}.bottom", coarsest)]
    for number, lateral in enumerate(reversed(finer)):
        name = f"{part}.{number}"
        up = net.resize(f"{name}.up", _refinement(net, name, outputs[0], lateral.channels), lateral, kind="resize_nearest")
        x = net.add(f"{name}.sum", up, lateral)
        outputs.insert(0, net.conv(f"{name}.conv", x, lateral.channels, layers=LEAKY))
    return outputs


def _s_block(net: Layers, name: str, x: Value) -> Value:
    """Residual block whose two 3x3 share their weights and have a batch norm each."""
    conv = f"{name}.shared"
    y = net.op(f"{name}.bn1", "bn_leaky", net.conv(conv, x, x.channels, layers="conv_bias"))
    y = net.op(f"{name}.dropout", "channel_dropout_10", y)
    y = net.op(f"{name}.bn2", "bn", net.conv(f"{name}.again", y, x.channels, layers="conv_bias", module=conv))
    return net.relu(f"{name}.relu", net.add(f"{name}.total", y, x))


def _refinement(net: Layers, name: str, x: Value, channels: int) -> Value:
    """3x3, then a gate of each channel from its average (BiSeNet, arXiv:1808.00897)."""
    x = net.conv(f"{name}.refine", x, channels, layers=LEAKY)
    gate = net.conv(f"{name}.gate", net.global_pool(f"{name}.pool", x), channels, 1, layers="conv_bn_sigmoid")
    return net.op(f"{name}.gated", "gate_channels", x, gate)


def _head(net: Layers, name: str, x: Value) -> Value:
    """3x3 to 64 channels, then the scores."""
    return net.conv(f"{name}.scores", net.conv(f"{name}.conv", x, HEAD_CHANNELS, layers=LEAKY), net.num_classes, layers="conv")


NETWORKS = {"shelfnet18": HandMade(stem_channels=64, describe=describe)}
