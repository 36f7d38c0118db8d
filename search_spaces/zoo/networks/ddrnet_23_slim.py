"""DDRNet-23-slim: a branch that stays at 1/8 beside one that goes on to 1/64, fused twice both ways, and pyramid pooling."""

from __future__ import annotations

from collections.abc import Mapping

from nas.space.graph import Graph, Value
from search_spaces.zoo.hand_made import HandMade, OfficialKeys, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.official_names import layer_of_block, named_tensors
from search_spaces.zoo.pyramids import averaged_scales
from search_spaces.zoo.trunks import Residual, basic_stage, bottleneck

WIDTH = 32
HIGH = 2 * WIDTH
"""Channels of the branch at 1/8."""


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/8.

    Hong, Pan, Sun, Jia, "Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation of Road Scenes",
    arXiv:2101.06085, 2021, as in the official code: the two convolutions of the stem have biases, and what goes up to the branch at
    1/8 is taken before the other branch has received anything. The official code leaves the scores at 1/8.
    """
    x = net.conv("stem.0", net.image, WIDTH, stride=2, layers="conv_bias_bn_relu")
    x = net.conv("stem.1", x, WIDTH, stride=2, layers="conv_bias_bn_relu")
    x = basic_stage(net, "low.1", x, WIDTH, 2).out
    low = high = basic_stage(net, "low.2", x, 2 * WIDTH, 2, stride=2).out
    auxiliary = {}
    for stage in (3, 4):
        low, high = _exchange(
            net,
            f"exchange.{stage}",
            basic_stage(net, f"low.{stage}", low, 2**stage * WIDTH // 2, 2, stride=2),
            basic_stage(net, f"high.{stage}", high, HIGH, 2),
            steps=stage - 2,
        )
        if stage == 3:
            auxiliary["aux8"] = _head(net, "aux8", high)
        low, high = net.relu(f"exchange.{stage}.low_relu", low), net.relu(f"exchange.{stage}.high_relu", high)
    high = bottleneck(net, "high.5.0", high, HIGH).sum
    context = _pyramid(net, "pyramid", bottleneck(net, "low.5.0", low, low.channels, stride=2).sum)
    return Outputs(scores=_head(net, "head", net.add("head.sum", net.resize("head.up", context, high), high)), auxiliary=auxiliary)


def _exchange(net: Layers, name: str, low: Residual, high: Residual, *, steps: int) -> tuple[Value, Value]:
    """Both branches with what the other one gives: upwards a 1x1 convolution, downwards so many 3x3 ones of stride 2."""
    up = net.conv(f"{name}.up", low.out, HIGH, 1, layers="conv_bn")
    down = high.out
    for step in range(steps):
        last = step == steps - 1
        channels = low.sum.channels if last else low.sum.channels // 2
        down = net.conv(f"{name}.down.{step}", down, channels, stride=2, layers="conv_bn" if last else "conv_bn_relu")
    up = net.resize(f"{name}.resize", up, high.sum)
    return net.add(f"{name}.low", low.sum, down), net.add(f"{name}.high", high.sum, up)


def _pyramid(net: Layers, name: str, x: Value) -> Value:
    """Deep aggregation pyramid pooling: averages of growing windows, each added to the result of the smaller one, then 3x3."""
    first, wider = averaged_scales(net, name, x, 128)
    levels = [first]
    for i, level in enumerate(wider, 1):
        levels.append(net.conv(f"{name}.process{i}", net.add(f"{name}.sum{i}", level, levels[-1]), 128, layers="bn_relu_conv"))
    context = net.conv(f"{name}.compression", net.concat(f"{name}.concat", levels), 4 * WIDTH, 1, layers="bn_relu_conv")
    return net.add(f"{name}.sum", context, net.conv(f"{name}.shortcut", x, 4 * WIDTH, 1, layers="bn_relu_conv"))


def _head(net: Layers, name: str, x: Value) -> Value:
    """Scores: batch norm, ReLU, 3x3 with batch norm and ReLU, 1x1."""
    x = net.conv(f"{name}.conv", net.op(f"{name}.norm", "bn_relu", x), 64)
    return net.classifier(f"{name}.scores", x)


def official_keys(graph: Graph) -> OfficialKeys:
    """Names in the official code (ydhongHIT/DDRNet), whose auxiliary head is `seghead_extra`."""
    return named_tensors(graph, _official)


HEADS = {"head": "final_layer", "aux8": "seghead_extra"}
HEAD_PARTS = {"norm": {"bn": "bn1"}, "conv": {"conv": "conv1", "bn": "bn2"}, "scores": {"conv": "conv2"}}


def _official(path: str) -> Mapping[str, str]:
    """Path of a module -> official prefixes of its convolution and of its batch norm."""
    part, *rest = path.split(".")
    if part == "stem":
        first = 3 * int(rest[0])
        return {"conv": f"conv1.{first}", "bn": f"conv1.{first + 1}"}
    if part in ("low", "high"):
        return layer_of_block(f"layer{rest[0]}{'_' if part == 'high' else ''}.{rest[1]}", rest[2])
    if part == "exchange":
        stage, direction, *step = rest
        prefix = f"{'compression' if direction == 'up' else 'down'}{stage}"
        first = 3 * int(step[0]) if step else 0
        return {"conv": f"{prefix}.{first}", "bn": f"{prefix}.{first + 1}"}
    if part == "pyramid":
        first = 1 if rest[0] in ("scale1", "scale2", "scale3", "scale4") else 0
        return {"bn": f"spp.{rest[0]}.{first}", "conv": f"spp.{rest[0]}.{first + 2}"}
    return {layer: f"{HEADS[part]}.{name}" for layer, name in HEAD_PARTS[rest[0]].items()}


NETWORKS = {"ddrnet_23_slim": HandMade(stem_channels=WIDTH, describe=describe, official_keys=official_keys)}
