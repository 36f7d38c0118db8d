"""DDRNet-23-slim: a branch that stays at 1/8 beside one that goes on to 1/64, fused twice both ways, and pyramid pooling."""

from __future__ import annotations

from collections.abc import Mapping

from nas.space.graph import Graph, Value
from search_spaces.zoo.hand_made import HandMade, OfficialKeys, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.official_names import named_tensors
from search_spaces.zoo.residual_blocks import basic_stage, bottleneck

WIDTH = 32
HIGH = 2 * WIDTH
"""Channels of the branch at 1/8."""
POOLS = ((5, 2), (9, 4), (17, 8))
"""Windows and strides of the pyramid's averages."""


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/8.

    Hong, Pan, Sun, Jia, "Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation of Road Scenes",
    arXiv:2101.06085, 2021, as in the official code: the two convolutions of the stem have biases, and what goes up to the branch at
    1/8 is taken before the other branch has received anything. The official code leaves the scores at 1/8.
    """
    x = net.conv("stem.0", net.image, WIDTH, stride=2, layers="conv_bias_bn_relu")
    x = net.conv("stem.1", x, WIDTH, stride=2, layers="conv_bias_bn_relu")
    x = _stage(net, "low.1", x, WIDTH, stride=1)
    eighth = _stage(net, "low.2", net.relu("low.1.relu", x), 2 * WIDTH, stride=2)
    low = high = net.relu("low.2.relu", eighth)
    auxiliary = {}
    for stage in (3, 4):
        low = _stage(net, f"low.{stage}", low, 2**stage * WIDTH // 2, stride=2)
        high = _stage(net, f"high.{stage}", high, HIGH, stride=1)
        low, high = _exchange(net, f"exchange.{stage}", low, high, steps=stage - 2)
        if stage == 3:
            auxiliary["aux8"] = _head(net, "aux8", high)
        low, high = net.relu(f"exchange.{stage}.low_relu", low), net.relu(f"exchange.{stage}.high_relu", high)
    high = bottleneck(net, "high.5.0", high, HIGH)
    low = net.relu("low.5.relu", bottleneck(net, "low.5.0", low, low.channels, stride=2))
    context = _pyramid(net, "pyramid", low)
    return Outputs(scores=_head(net, "head", net.add("head.sum", net.resize("head.up", context, high), high)), auxiliary=auxiliary)


def _stage(net: Layers, name: str, x: Value, channels: int, *, stride: int) -> Value:
    """Two basic blocks, the second one without ReLU at its end."""
    return basic_stage(net, name, x, channels, 2, stride=stride, relu=False)


def _exchange(net: Layers, name: str, low: Value, high: Value, *, steps: int) -> tuple[Value, Value]:
    """Both branches with what the other one gives: upwards a 1x1 convolution, downwards so many 3x3 ones of stride 2."""
    up = net.conv(f"{name}.up", net.relu(f"{name}.up_relu", low), HIGH, 1, layers="conv_bn")
    down = net.relu(f"{name}.down_relu", high)
    for step in range(steps):
        last = step == steps - 1
        channels = low.channels if last else low.channels // 2
        down = net.conv(f"{name}.down.{step}", down, channels, stride=2, layers="conv_bn" if last else "conv_bn_relu")
    up = net.resize(f"{name}.resize", up, high)
    return net.add(f"{name}.low", low, down), net.add(f"{name}.high", high, up)


def _pyramid(net: Layers, name: str, x: Value) -> Value:
    """Deep aggregation pyramid pooling: averages of growing windows, each added to the result of the smaller one, then 3x3."""
    levels = [net.conv(f"{name}.scale0", x, 128, 1, layers="bn_relu_conv")]
    pooled = [net.pool(f"{name}.pool{i}", x, kernel, kind="avg_pool", stride=stride) for i, (kernel, stride) in enumerate(POOLS, 1)]
    for i, level in enumerate([*pooled, net.global_pool(f"{name}.pool4", x)], 1):
        level = net.resize(f"{name}.up{i}", net.conv(f"{name}.scale{i}", level, 128, 1, layers="bn_relu_conv"), x)
        level = net.add(f"{name}.sum{i}", level, levels[-1])
        levels.append(net.conv(f"{name}.process{i}", level, 128, layers="bn_relu_conv"))
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
        return _official_block(f"layer{rest[0]}{'_' if part == 'high' else ''}.{rest[1]}", rest[2])
    if part == "exchange":
        stage, direction, *step = rest
        prefix = f"{'compression' if direction == 'up' else 'down'}{stage}"
        first = 3 * int(step[0]) if step else 0
        return {"conv": f"{prefix}.{first}", "bn": f"{prefix}.{first + 1}"}
    if part == "pyramid":
        first = 1 if rest[0] in ("scale1", "scale2", "scale3", "scale4") else 0
        return {"bn": f"spp.{rest[0]}.{first}", "conv": f"spp.{rest[0]}.{first + 2}"}
    return {layer: f"{HEADS[part]}.{name}" for layer, name in HEAD_PARTS[rest[0]].items()}


def _official_block(block: str, layer: str) -> Mapping[str, str]:
    """The same for a layer of a residual block."""
    if layer == "shortcut":
        return {"conv": f"{block}.downsample.0", "bn": f"{block}.downsample.1"}
    return {"conv": f"{block}.{layer}", "bn": f"{block}.{layer.replace('conv', 'bn')}"}


NETWORKS = {"ddrnet_23_slim": HandMade(stem_channels=WIDTH, describe=describe, official_keys=official_keys)}
