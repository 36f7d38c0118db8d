"""DFANet-A: three passes of one light trunk, each fed with what the pass before found, and a decoder of sums."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

STAGES = ((48, 3), (96, 6), (192, 3))
"""Channels and blocks of the stages of a pass, each of which begins with stride 2."""
ATTENTION = 1000
"""Channels inside the attention, the classes of ImageNet."""
DECODER = 64


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/4.

    Li, Xiong, Fan, Sun, "DFANet: Deep Feature Aggregation for Real-Time Semantic Segmentation", CVPR 2019, arXiv:1904.02216. There
    is no official code. This is the network that was counted, a third-party one (huaifeng1993/DFANet), in which two maps of the
    decoder share a convolution, a slip that leaves another one unused. No open version reaches the 7.8 M parameters of the paper,
    which prints 3.4 GMACs at 1024x1024, where this network has 7.6.
    """
    x = net.conv("stem", net.image, 8, stride=2)
    passes: list[list[Value]] = []
    for number in range(3):
        before = passes[-1] if passes else []
        if before:
            up = net.resize(f"pass.{number}.up", before[-1], before[0], kind="resize_corners")
            x = net.concat(f"pass.{number}.input", [before[0], up])
        outputs: list[Value] = []
        for stage, (channels, blocks) in enumerate(STAGES):
            if before and outputs:
                x = net.concat(f"pass.{number}.concat{stage}", [x, before[stage]])
            for block in range(blocks):
                x = _block(net, f"pass.{number}.stage{stage}.{block}", x, channels, stride=1 if block else 2)
            outputs.append(x)
        passes.append([*outputs, _attention(net, f"pass.{number}.attention", x)])
    shallow = _reduced(net, "decoder.shallow", [one[0] for one in passes], passes[0][0], shared=None)
    x = net.conv("decoder.conv", net.add("decoder.shallow.sum", *shallow), DECODER)
    deep = _reduced(net, "decoder.deep", [one[-1] for one in passes], x, shared=(2, 1))
    scores = net.op("classifier", "fan_out_classifier", net.add("decoder.sum", x, *deep), channels=net.num_classes, kernel=3)
    return Outputs(scores=scores, resize="resize_corners")


def _block(net: Layers, name: str, x: Value, channels: int, *, stride: int) -> Value:
    """Three separable convolutions beside a bare 1x1."""
    y = x
    for number, width in enumerate((channels // 4, channels // 4, channels), start=1):
        y = net.depthwise(f"{name}.depthwise{number}", y, layers="conv_bias", stride=stride if number == 1 else 1)
        y = net.conv(f"{name}.pointwise{number}", y, width, 1, layers="conv_bias_bn_relu")
    return net.add(f"{name}.sum", y, net.conv(f"{name}.shortcut", x, channels, 1, layers="conv", stride=stride))


def _attention(net: Layers, name: str, x: Value) -> Value:
    """Channels weighted by what a classifier makes of their averages."""
    gate = net.conv(f"{name}.reduce", net.global_pool(f"{name}.pool", x), ATTENTION, 1, layers="conv")
    gate = net.conv(f"{name}.expand", net.relu(f"{name}.relu", gate), x.channels, 1, layers="conv")
    return net.op(f"{name}.gated", "gate_channels", x, net.op(f"{name}.sigmoid", "sigmoid", gate))


def _reduced(net: Layers, name: str, values: list[Value], like: Value, *, shared: tuple[int, int] | None) -> list[Value]:
    """Maps of few channels at the size of `like`; of `shared`, the first one has the convolution of the second."""
    maps = []
    for number, value in enumerate(values):
        module = f"{name}.{shared[1]}" if shared and number == shared[0] else None
        y = net.conv(f"{name}.{number}", value, DECODER, 1, module=module)
        maps.append(net.resize(f"{name}.up{number}", y, like, kind="resize_corners"))
    return maps


NETWORKS = {"dfanet_a": HandMade(stem_channels=8, describe=describe)}
