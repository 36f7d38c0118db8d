"""EfficientViT-B0 for segmentation: inverted residuals, linear attention at 1/16 and 1/32, and a small head at 1/8."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

WIDTHS = (8, 16, 32, 64, 128)
"""Channels of the stem and of the stages at 1/4 to 1/32."""
HEAD_DEPTH = 16
"""Channels of each head of the attention."""
EXPANSION = 4
HEAD = 32


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/8.

    Cai, Li, Hu, Gan, Han, "EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction", ICCV 2023,
    arXiv:2205.14756. The paper leaves open which convolutions have a norm or a bias and how the maps of the head are enlarged
    ("bilinear/bicubic"); the first is read from the official code (mit-han-lab/efficientvit, Apache-2.0), which enlarges by the
    bicubic kernel where this network is bilinear. Published are 0.7 M parameters and 4.4 GMACs at 1024x2048; counted here
    are 0.7067 M and 4.391 GMACs, 0.107 of them products of matrices.
    """
    x = net.conv("stem.conv", net.image, WIDTHS[0], stride=2, layers="conv_bn_hswish")
    y = net.depthwise("stem.depthwise", x, layers="conv_bn_hswish")
    x = net.add("stem.sum", x, net.conv("stem.pointwise", y, x.channels, 1, layers="conv_bn"))
    maps = []
    for number, width in enumerate(WIDTHS[1:], start=1):
        attends = number > 2
        x = _inverted_residual(net, f"stage.{number}.0", x, width, stride=2, inner_norms=not attends)
        for block in (1, 2) if attends else (1,):
            x = _attention(net, f"stage.{number}.{block}", x) if attends else x
            x = _inverted_residual(net, f"stage.{number}.{block}", x, width, inner_norms=not attends)
        maps.append(x)
    eighth, *coarser = (net.conv(f"head.{i}", y, HEAD, 1, layers="conv_bn") for i, y in zip((8, 16, 32), maps[1:], strict=True))
    x = net.add("head.sum", eighth, *(net.resize(f"head.up{i}", y, eighth) for i, y in zip((16, 32), coarser, strict=True)))
    x = _inverted_residual(net, "head.block", x, HEAD)
    return Outputs(scores=net.classifier("classifier", net.conv("head.expand", x, 4 * HEAD, 1, layers="conv_bn_hswish")))


def _inverted_residual(net: Layers, name: str, x: Value, channels: int, *, stride: int = 1, inner_norms: bool = True) -> Value:
    """1x1, depthwise 3x3 and 1x1, with batch norms or biases inside; the input is added where shapes agree."""
    layers = "conv_bn_hswish" if inner_norms else "conv_bias_hswish"
    y = net.conv(f"{name}.expand", x, EXPANSION * x.channels, 1, layers=layers)
    y = net.depthwise(f"{name}.depthwise", y, layers=layers, stride=stride)
    y = net.conv(f"{name}.project", y, channels, 1, layers="conv_bn")
    return net.add(f"{name}.sum", x, y) if stride == 1 else y


def _attention(net: Layers, name: str, x: Value) -> Value:
    """Multi-scale linear attention: heads over the map, and as many over what a 5x5 gathers (Fig. 2), added to the input."""
    heads = x.channels // HEAD_DEPTH
    near = net.conv(f"{name}.qkv", x, 3 * x.channels, 1, layers="conv")
    far = net.depthwise(f"{name}.gather", near, 5, layers="conv")
    far = net.conv(f"{name}.mix", far, far.channels, 1, layers="conv", groups=3 * heads)
    qkv = net.concat(f"{name}.scales", [near, far])
    attended = net.op(f"{name}.attention", "relu_linear_attention", qkv, channels=2 * x.channels, groups=2 * heads)
    return net.add(f"{name}.attended", x, net.conv(f"{name}.join", attended, x.channels, 1, layers="conv_bn"))


NETWORKS = {"efficientvit_b0": HandMade(stem_channels=WIDTHS[0], describe=describe)}
