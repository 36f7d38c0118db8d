"""RegSeg: a trunk that ends at 1/16 and sees far by dilated convolutions, and a small decoder to 1/4."""

from __future__ import annotations

from collections.abc import Mapping

from nas.space.graph import Graph, Value
from search_spaces.zoo.hand_made import HandMade, OfficialKeys, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.official_names import named_tensors

GROUP_WIDTH = 16
"""Channels of each group of the 3x3 convolutions."""
DILATIONS = ((1,), (1, 2), *((1, 4),) * 4, *((1, 14),) * 7)
"""Dilations of the blocks at 1/16 behind the first; two of them share the channels."""
STAGES = {
    4: ((48, (1,)),),
    8: ((128, (1,)),) * 3,
    16: ((256, (1,)), *((256, dilations) for dilations in DILATIONS[:-1]), (320, DILATIONS[-1])),
}
"""Stride of the map -> channels and dilations of each block; the first one halves the size."""


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/4.

    Gao, "Rethinking Dilated Convolution for Real-time Semantic Segmentation", arXiv:2111.09957, 2021: the network that the paper
    calls RegSeg, `exp48_decoder26` of the official code.
    """
    x = net.conv("stem", net.image, 32, stride=2)
    maps = {}
    for stride, blocks in STAGES.items():
        for number, (channels, dilations) in enumerate(blocks):
            x = _block(net, f"stage.{stride}.{number}", x, channels, dilations, stride=1 if number else 2)
        maps[stride] = x
    heads = {stride: net.conv(f"decoder.head{stride}", maps[stride], width, 1) for stride, width in ((16, 128), (8, 128), (4, 8))}
    x = net.add("decoder.sum", heads[8], net.resize("decoder.up16", heads[16], heads[8]))
    x = net.resize("decoder.up8", net.conv("decoder.conv8", x, 64), heads[4])
    x = net.conv("decoder.conv4", net.concat("decoder.concat", [x, heads[4]]), 64)
    return Outputs(scores=net.classifier("decoder.classifier", x))


def _block(net: Layers, name: str, x: Value, channels: int, dilations: tuple[int, ...], *, stride: int) -> Value:
    """D block: 1x1, a grouped 3x3 of one or two dilations, squeeze and excitation, 1x1, added to the input."""
    y = net.conv(f"{name}.conv1", x, channels, 1)
    groups = channels // len(dilations) // GROUP_WIDTH
    if len(dilations) == 1:
        y = net.conv(f"{name}.conv2", y, channels, stride=stride, dilation=dilations[0], groups=groups)
    else:
        halves = [net.op(f"{name}.{kind}", f"{kind}_channels", y, channels=channels // 2) for kind in ("first", "last")]
        halves = [
            net.conv(f"{name}.conv2.{i}", half, channels // 2, layers="conv", dilation=dilation, groups=groups)
            for i, (half, dilation) in enumerate(zip(halves, dilations, strict=True))
        ]
        y = net.op(f"{name}.norm2", "bn_relu", net.concat(f"{name}.concat", halves))
    gate = net.conv(f"{name}.squeeze", net.global_pool(f"{name}.pool", y), x.channels // 4, 1, layers="conv_bias_relu")
    gate = net.conv(f"{name}.excite", gate, channels, 1, layers="conv_bias_sigmoid")
    y = net.conv(f"{name}.conv3", net.op(f"{name}.gated", "gate_channels", y, gate), channels, 1, layers="conv_bn")
    if stride > 1:
        x = net.pool(f"{name}.shortcut_pool", x, 2, kind="avg_pool")
    if x.channels != channels:
        x = net.conv(f"{name}.shortcut", x, channels, 1, layers="conv_bn")
    return net.relu(f"{name}.relu", net.add(f"{name}.sum", y, x))


def official_keys(graph: Graph) -> OfficialKeys:
    """Names in the checkpoints of the official code (RolandGao/RegSeg)."""
    return named_tensors(graph, _official)


LAYERS = {
    "conv1": {"conv": "conv1", "bn": "bn1"},
    "conv2": {"conv": "conv2", "bn": "bn2"},
    "conv2.0": {"conv": "conv2.convs.0"},
    "conv2.1": {"conv": "conv2.convs.1"},
    "norm2": {"bn": "bn2"},
    "squeeze": {"conv": "se.conv1"},
    "excite": {"conv": "se.conv2"},
    "conv3": {"conv": "conv3", "bn": "bn3"},
    "shortcut": {"conv": "shortcut.conv", "bn": "shortcut.bn"},
}
"""Node of a block -> official names of its layers."""


def _official(path: str) -> Mapping[str, str]:
    """Path of a module -> official prefixes of its convolution and of its batch norm."""
    if path == "decoder.classifier":
        return {"conv": path}
    part, *rest = path.split(".")
    if part != "stage":
        return {"conv": f"{path}.conv", "bn": f"{path}.bn"}
    stride, number, *layer = rest
    block = "body.stage4" if stride == "4" else f"body.stage{stride}.{number}"
    return {own: f"{block}.{name}" for own, name in LAYERS[".".join(layer)].items()}


NETWORKS = {"regseg": HandMade(stem_channels=32, describe=describe, official_keys=official_keys)}
