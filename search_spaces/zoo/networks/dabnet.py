"""DABNet: depthwise asymmetric bottlenecks of two branches, the image added at every scale."""

from __future__ import annotations

from nas.ops.chains import CONVOLUTIONS, layers_of
from nas.space.graph import Graph, Value
from search_spaces.zoo.hand_made import HandMade, OfficialKeys, Outputs
from search_spaces.zoo.layers import Layers

STAGES = ((64, (2, 2, 2)), (128, (4, 4, 8, 8, 16, 16)))
"""Channels of a stage, and the dilations of its modules."""
LAYERS = "conv_bn3_prelu"

MODULE = {
    "norm": "bn_relu_1",
    "reduce": "conv3x3",
    "near.column": "dconv3x1",
    "near.row": "dconv1x3",
    "far.column": "ddconv3x1",
    "far.row": "ddconv1x3",
    "mixed": "bn_relu_2",
    "expand": "conv1x1",
}
"""Nodes of a module -> their names in the official code."""
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/8.

    Li, Yun, Kim, Kim, "DABNet: Depth-wise Asymmetric Bottleneck for Real-time Semantic Segmentation", BMVC 2019, arXiv:1907.11357.
    The official code drops nothing and has no bias in its classifier.
    """
    x = image = net.image
    for number in range(3):
        x = net.conv(f"stem.{number}", x, 32, layers=LAYERS, stride=2 if number == 0 else 1)
    image = net.pool("image.1.pool", image, 3, kind="avg_pool")
    x = net.op("image.1.norm", "bn3_prelu", net.concat("image.1.concat", [x, image]))
    for number, (channels, dilations) in enumerate(STAGES, start=1):
        first = x = net.halve(f"stage.{number}.down", x, channels, conv="conv", norm="bn3_prelu")
        for position, dilation in enumerate(dilations):
            x = _module(net, f"stage.{number}.{position}", x, dilation)
        image = net.pool(f"image.{number + 1}.pool", image, 3, kind="avg_pool")
        x = net.concat(f"image.{number + 1}.concat", [x, first, image])
        x = net.op(f"image.{number + 1}.norm", "bn3_prelu", x)
    return Outputs(scores=net.classifier("classifier", x, bias=False))


def _module(net: Layers, name: str, x: Value, dilation: int) -> Value:
    """Two depthwise branches of 3x1 and 1x3 at half of the channels, one of them dilated, inside a residual bottleneck."""
    half = net.conv(f"{name}.reduce", net.op(f"{name}.norm", "bn3_prelu", x), x.channels // 2, layers=LAYERS)
    branches = []
    for branch, rate in (("near", 1), ("far", dilation)):
        y = net.depthwise(f"{name}.{branch}.column", half, (3, 1), layers=LAYERS, dilation=rate)
        branches.append(net.depthwise(f"{name}.{branch}.row", y, (1, 3), layers=LAYERS, dilation=rate))
    y = net.op(f"{name}.mixed", "bn3_prelu", net.add(f"{name}.both", *branches))
    return net.add(f"{name}.sum", x, net.conv(f"{name}.expand", y, x.channels, 1, layers="conv"))


def official_keys(graph: Graph) -> OfficialKeys:
    """Names in the checkpoints of the official code (Reagan1311/DABNet)."""
    keys: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        if node.role == "input" or node.spec.kind not in (LAYERS, "bn3_prelu", "bare_conv"):
            continue
        theirs = _official_module(node.name)
        layers = ("conv",) if node.spec.kind == "bare_conv" else layers_of(node.spec.kind)
        if layers[0] in CONVOLUTIONS:
            keys[f"{node.module}.conv.weight"] = (f"{theirs}.conv.weight",)
            theirs = f"{theirs}.bn_prelu"
        if "prelu" in layers:
            keys |= {f"{node.module}.bn.{tensor}": (f"{theirs}.bn.{tensor}",) for tensor in NORM}
            keys[f"{node.module}.prelu.weight"] = (f"{theirs}.acti.weight",)
    return keys


def _official_module(name: str) -> str:
    """The official name of a node.

    >>> _official_module("stage.2.0.far.row"), _official_module("stage.1.down.norm"), _official_module("image.1.norm")
    ('DAB_Block_2.DAB_Module_2_0.ddconv1x3', 'downsample_1.bn_prelu', 'bn_prelu_1')
    """
    part, *rest = name.split(".")
    if part == "stem":
        return f"init_conv.{rest[0]}"
    if part == "classifier":
        return "classifier.0"
    if part == "image":
        return f"bn_prelu_{rest[0]}"
    number, position, *inner = rest
    if position == "down":
        return f"downsample_{number}.{'conv3x3' if inner == ['conv'] else 'bn_prelu'}"
    return f"DAB_Block_{number}.DAB_Module_{number}_{position}.{MODULE['.'.join(inner)]}"


NETWORKS = {"dabnet": HandMade(stem_channels=32, describe=describe, official_keys=official_keys)}
