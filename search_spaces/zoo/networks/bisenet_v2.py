"""BiSeNetV2: a wide and shallow detail branch, a narrow and deep semantic branch, guided aggregation of both at 1/8."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

DETAIL = ((64, 2), (64, 3), (128, 3))
"""Channels and convolutions of the stages of the detail branch; the first convolution of each has a stride of 2."""
SEMANTIC = ((32, 2), (64, 2), (128, 4))
"""Channels and gather-and-expand layers of the stages of the semantic branch; the first layer of each has a stride of 2."""
EXPANSION = 6


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/8.

    Yu, Gao, Wang, Yu, Shen, Sang, "BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time Semantic Segmentation",
    IJCV 2021, arXiv:2004.02147. The third-party implementation that is measured has an activation after the depthwise convolutions
    before a projection, after the context embedding and after the aggregation, and up-samples to the nearest pixel inside of the
    aggregation. Its auxiliary heads double the size of their map and have as many channels as a score has pixels.
    """
    details = [net.image]
    for number, (channels, count) in enumerate(DETAIL):
        x = details[-1]
        for layer in range(count):
            x = net.conv(f"detail.{number}.{layer}", x, channels, stride=2 if layer == 0 else 1)
        details.append(x)
    maps = [details[1], _stem(net, "semantic.stem")]
    for number, (channels, count) in enumerate(SEMANTIC):
        x = maps[-1]
        for layer in range(count):
            name = f"semantic.{number}.{layer}"
            x = _gather_and_halve(net, name, x, channels) if layer == 0 else _gather(net, name, x)
        maps.append(x)
    x = _aggregate(net, "aggregation", details[-1], _embed_context(net, "context", x))
    x = net.op("head.dropout", "dropout_10", net.conv("head.conv", x, 1024))
    auxiliary = {
        f"aux{stride}": _auxiliary_head(net, f"aux{stride}", maps[level], maps[level - 1], stride)
        for level, stride in ((1, 4), (2, 8), (3, 16), (4, 32))
    }
    return Outputs(scores=net.classifier("head.classifier", x), auxiliary=auxiliary)


def _stem(net: Layers, name: str) -> Value:
    """The image at 1/4: strided convolutions beside max pooling (section 4.2 of the paper)."""
    x = net.conv(f"{name}.conv", net.image, 16, stride=2)
    left = net.conv(f"{name}.left.1", net.conv(f"{name}.left.0", x, 8, 1), 16, stride=2)
    return net.conv(f"{name}.fuse", net.concat(f"{name}.concat", [left, net.pool(f"{name}.right", x, 3)]), 16)


def _gather(net: Layers, name: str, x: Value) -> Value:
    """Gather and expand at a stride of 1: 3x3, depthwise 3x3 to more channels, 1x1, and the input."""
    y = net.depthwise(f"{name}.expand", net.conv(f"{name}.gather", x, x.channels), times=EXPANSION)
    y = net.conv(f"{name}.project", y, x.channels, 1, layers="conv_bn")
    return net.relu(f"{name}.relu", net.add(f"{name}.sum", y, x))


def _gather_and_halve(net: Layers, name: str, x: Value, channels: int) -> Value:
    """Gather and expand at a stride of 2: two depthwise convolutions, and a separable convolution of the input."""
    y = net.conv(f"{name}.gather", x, x.channels)
    y = net.depthwise(f"{name}.expand", y, layers="conv_bn", stride=2, times=EXPANSION)
    y = net.conv(f"{name}.project", net.depthwise(f"{name}.filter", y), channels, 1, layers="conv_bn")
    shortcut = net.depthwise(f"{name}.shortcut.depthwise", x, layers="conv_bn", stride=2)
    shortcut = net.conv(f"{name}.shortcut.pointwise", shortcut, channels, 1, layers="conv_bn")
    return net.relu(f"{name}.relu", net.add(f"{name}.sum", y, shortcut))


def _embed_context(net: Layers, name: str, x: Value) -> Value:
    """The average of each map, added to all of its pixels."""
    vector = net.op(f"{name}.norm", "bn", net.global_pool(f"{name}.pool", x))
    vector = net.conv(f"{name}.vector", vector, x.channels, 1)
    return net.conv(f"{name}.conv", net.op(f"{name}.sum", "shift", x, vector), x.channels)


def _aggregate(net: Layers, name: str, detail: Value, semantic: Value) -> Value:
    """Each branch gates the other at its own resolution; the sum of both at 1/8 (section 4.3 of the paper)."""
    fine = _separable(net, f"{name}.fine.detail", detail)
    gate = net.conv(f"{name}.fine.semantic", semantic, 128, layers="conv_bn")
    gate = net.op(f"{name}.fine.gate", "sigmoid", net.resize(f"{name}.fine.up", gate, detail, kind="resize_nearest"))
    fine = net.op(f"{name}.fine.gated", "multiply", fine, gate)
    coarse = net.conv(f"{name}.coarse.detail", detail, 128, layers="conv_bn", stride=2)
    coarse = net.pool(f"{name}.coarse.pool", coarse, 3, kind="avg_pool")
    gate = net.op(f"{name}.coarse.gate", "sigmoid", _separable(net, f"{name}.coarse.semantic", semantic))
    coarse = net.op(f"{name}.coarse.gated", "multiply", coarse, gate)
    coarse = net.resize(f"{name}.coarse.up", coarse, detail, kind="resize_nearest")
    return net.conv(f"{name}.conv", net.add(f"{name}.sum", fine, coarse), 128)


def _separable(net: Layers, name: str, x: Value) -> Value:
    """Depthwise 3x3 with batch norm, then 1x1 without."""
    x = net.depthwise(f"{name}.depthwise", x, layers="conv_bn")
    return net.conv(f"{name}.pointwise", x, 128, 1, layers="conv")


def _auxiliary_head(net: Layers, name: str, x: Value, finer: Value, stride: int) -> Value:
    """Scores at twice the resolution of a map of the semantic branch."""
    x = net.op(f"{name}.dropout", "dropout_10", net.conv(f"{name}.conv", x, 128))
    x = net.conv(f"{name}.fine", net.resize(f"{name}.up", x, finer, kind="resize_nearest"), stride**2)
    return net.classifier(f"{name}.classifier", x)


NETWORKS = {"bisenet_v2": HandMade(stem_channels=64, describe=describe)}
