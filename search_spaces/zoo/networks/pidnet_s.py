"""PIDNet-S: branches for details, for context and for boundaries; the last one decides which of the other two counts."""

from __future__ import annotations

from collections.abc import Mapping

from nas.space.graph import Graph, Value
from search_spaces.zoo.hand_made import HandMade, OfficialKeys, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.official_names import NORM_TENSORS, layer_of_block, named_tensors
from search_spaces.zoo.pyramids import averaged_scales
from search_spaces.zoo.trunks import basic_block, basic_stage, bottleneck

WIDTH = 32
FINE = 2 * WIDTH
"""Channels of the branch of details, at 1/8."""


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/8.

    Xu, Xiong, Bhattacharyya, "PIDNet: A Real-time Semantic Segmentation Network Inspired by PID Controllers", CVPR 2023,
    arXiv:2206.02066, as in the official code, which leaves the scores at 1/8. Its auxiliary head of the branch of boundaries has
    one channel and targets of its own, edges of the labels: it is left out. The other one reads its map behind a ReLU, for the
    official ReLU works in place.
    """
    x = net.conv("stem.0", net.image, WIDTH, stride=2, layers="conv_bias_bn_relu")
    x = net.conv("stem.1", x, WIDTH, stride=2, layers="conv_bias_bn_relu")
    x = basic_stage(net, "context.1", x, WIDTH, 2).out
    x = basic_stage(net, "context.2", x, 2 * WIDTH, 2, stride=2).out
    fine = basic_stage(net, "detail.3", x, FINE, 2).sum
    edge = basic_block(net, "boundary.3", x, WIDTH).sum
    x = basic_stage(net, "context.3", x, 4 * WIDTH, 3, stride=2).out
    fine = net.relu("detail.3.relu", _guided(net, "guide.3", fine, x))
    edge = net.relu("boundary.3.relu", _with_difference(net, "difference.3", edge, x))
    aux = _head(net, "aux8", fine)
    fine = basic_stage(net, "detail.4", fine, FINE, 2).sum
    edge = bottleneck(net, "boundary.4", edge, WIDTH).sum
    x = basic_stage(net, "context.4", x, 8 * WIDTH, 3, stride=2).out
    fine = net.relu("detail.4.relu", _guided(net, "guide.4", fine, x))
    edge = net.relu("boundary.4.relu", _with_difference(net, "difference.4", edge, x))
    fine = bottleneck(net, "detail.5", fine, FINE).sum
    edge = bottleneck(net, "boundary.5", edge, FINE).sum
    x = bottleneck(net, "context.5.0", x, 8 * WIDTH, stride=2).sum
    x = _pyramid(net, "pyramid", bottleneck(net, "context.5.1", x, 8 * WIDTH).sum)
    x = _fused(net, "fusion", fine, net.resize("fusion.up", x, fine), edge)
    return Outputs(scores=_head(net, "head", x), auxiliary={"aux8": aux})


def _guided(net: Layers, name: str, fine: Value, context: Value) -> Value:
    """Pixel-attention-guided fusion: where both maps agree, the context counts (Fig. 6)."""
    context = net.conv(f"{name}.compression", context, FINE, 1, layers="conv_bn")
    query = net.resize(f"{name}.query_up", net.conv(f"{name}.query", context, WIDTH, 1, layers="conv_bn"), fine)
    key = net.conv(f"{name}.key", fine, WIDTH, 1, layers="conv_bn")
    gate = net.op(f"{name}.gate", "channel_dot", key, query, channels=1)
    return net.op(f"{name}.blend", "blend", net.resize(f"{name}.up", context, fine), fine, gate)


def _with_difference(net: Layers, name: str, edge: Value, context: Value) -> Value:
    """The branch of boundaries with a 3x3 of the context added."""
    difference = net.conv(f"{name}.conv", context, edge.channels, layers="conv_bn")
    return net.add(f"{name}.sum", edge, net.resize(f"{name}.up", difference, edge))


def _pyramid(net: Layers, name: str, x: Value) -> Value:
    """Parallel aggregation pyramid pooling (Fig. 5)."""
    first, wider = averaged_scales(net, name, x, 96)
    sums = [net.add(f"{name}.sum{i}", level, first) for i, level in enumerate(wider, 1)]
    wide = net.conv(f"{name}.process", net.concat(f"{name}.scales", sums), 4 * 96, layers="bn_relu_conv", groups=4)
    joined = net.conv(f"{name}.compression", net.concat(f"{name}.concat", [first, wide]), 4 * WIDTH, 1, layers="bn_relu_conv")
    return net.add(f"{name}.sum", joined, net.conv(f"{name}.shortcut", x, 4 * WIDTH, 1, layers="bn_relu_conv"))


def _fused(net: Layers, name: str, fine: Value, context: Value, edge: Value) -> Value:
    """Light boundary-attention-guided fusion: details near boundaries, context elsewhere (Fig. 7)."""
    gate = net.op(f"{name}.gate", "sigmoid", edge)
    inside = net.op(f"{name}.inside", "multiply", net.op(f"{name}.rest", "complement", gate), context)
    near = net.op(f"{name}.near", "multiply", gate, fine)
    fine = net.conv(f"{name}.detail", net.add(f"{name}.detail_sum", inside, fine), 4 * WIDTH, 1, layers="conv_bn")
    context = net.conv(f"{name}.context", net.add(f"{name}.context_sum", context, near), 4 * WIDTH, 1, layers="conv_bn")
    return net.add(f"{name}.sum", fine, context)


def _head(net: Layers, name: str, x: Value) -> Value:
    """Scores: batch norm, ReLU, 3x3 with batch norm and ReLU, 1x1."""
    return net.classifier(f"{name}.scores", net.conv(f"{name}.conv", net.op(f"{name}.norm", "bn_relu", x), 128))


def official_keys(graph: Graph) -> OfficialKeys:
    """Names in the official code (XuJiacong/PIDNet), whose auxiliary head is `seghead_p`."""
    return named_tensors(graph, _official)


def official_extras(graph: Graph) -> Mapping[str, str | None]:
    """The head of the branch of boundaries, which is left out."""
    del graph
    norms = [f"bn{i}.{tensor}" for i in (1, 2) for tensor in NORM_TENSORS]
    return dict.fromkeys(f"seghead_d.{name}" for name in ("conv1.weight", "conv2.weight", "conv2.bias", *norms))


STAGES = {"context": "layer{}", "detail": "layer{}_", "boundary": "layer{}_d"}
PAIRS = {"compression": "compression{}", "query": "pag{}.f_y", "key": "pag{}.f_x", "conv": "diff{}"}
"""Node -> official convolution and batch norm, `.0` and `.1` there, of a stage."""
FUSION = {"detail": "dfm.conv_p", "context": "dfm.conv_i"}
HEADS = {"head": "final_layer", "aux8": "seghead_p"}
HEAD_PARTS = {"norm": {"bn": "bn1"}, "conv": {"conv": "conv1", "bn": "bn2"}, "scores": {"conv": "conv2"}}


def _official(path: str) -> Mapping[str, str]:
    """Path of a module -> official prefixes of its convolution and of its batch norm."""
    part, *rest = path.split(".")
    if part == "stem":
        first = 3 * int(rest[0])
        return {"conv": f"conv1.{first}", "bn": f"conv1.{first + 1}"}
    if part in STAGES:
        stage, *block, layer = rest
        number = "" if (part, stage) == ("boundary", "3") else f".{block[0] if block else 0}"
        return layer_of_block(STAGES[part].format(stage) + number, layer)
    if part == "pyramid":
        name = rest[0].replace("process", "scale_process")
        first = 1 if name in ("scale1", "scale2", "scale3", "scale4") else 0
        return {"bn": f"spp.{name}.{first}", "conv": f"spp.{name}.{first + 2}"}
    if part in HEADS:
        return {layer: f"{HEADS[part]}.{name}" for layer, name in HEAD_PARTS[rest[0]].items()}
    prefix = FUSION[rest[0]] if part == "fusion" else PAIRS[rest[1]].format(rest[0])
    return {"conv": f"{prefix}.0", "bn": f"{prefix}.1"}


NETWORKS = {
    "pidnet_s": HandMade(stem_channels=WIDTH, describe=describe, official_keys=official_keys, official_extras=official_extras)
}
