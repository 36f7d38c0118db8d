"""TopFormer-T: a pyramid of tokens by inverted residuals, a transformer on its average at 1/64, injection into three scales."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

PYRAMID = (
    ((3, 1, 16, 1), (3, 4, 16, 2), (3, 3, 16, 1)),
    ((5, 3, 32, 2), (5, 3, 32, 1)),
    ((3, 3, 64, 2), (3, 3, 64, 1)),
    ((5, 6, 96, 2), (5, 6, 96, 1)),
)
"""Kernel, expansion, channels and stride of the inverted residuals up to the maps at 1/4, 1/8, 1/16 and 1/32."""
BLOCKS, HEADS = 4, 4
KEYS, VALUES = 16, 32
"""Channels of each head."""
MLP_EXPANSION = 2
FUSED = 128


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/8.

    Zhang, Huang, Luo, Zhang, Chen, Liu, Yu, Shen, "TopFormer: Token Pyramid Transformer for Mobile Semantic Segmentation", CVPR
    2022, arXiv:2204.05525. As in the official configuration for ADE20K, a depthwise 1x1 convolution follows the sum of the scales.
    The stochastic depth of the official training is left out.
    """
    maps = _token_pyramid(net)
    tokens = [net.op(f"tokens.{number}", "shrinking_pool", x, stride=2 ** (4 - number)) for number, x in enumerate(maps)]
    x = net.concat("tokens.concat", tokens)
    for number in range(BLOCKS):
        x = _transformer_block(net, f"block.{number}", x)
    scales = [_inject(net, f"injection.{number}", maps[number], _part(net, number, x, maps)) for number in (1, 2, 3)]
    scales = [net.resize(f"head.{number}.up", y, scales[0]) for number, y in enumerate(scales)]
    x = net.depthwise("head.fuse", net.add("head.sum", *scales), 1)
    return Outputs(scores=net.classifier("head.classifier", net.op("head.dropout", "channel_dropout_10", x)))


def _token_pyramid(net: Layers) -> list[Value]:
    """Maps at 1/4, 1/8, 1/16 and 1/32 (section 3.1 of the paper)."""
    x = net.conv("stem", net.image, 16, stride=2)
    maps = []
    for stage, blocks in enumerate(PYRAMID):
        for block, (kernel, expansion, channels, stride) in enumerate(blocks):
            name = f"stage.{stage}.{block}"
            if expansion == 1:
                y = net.conv(f"{name}.project", net.depthwise(f"{name}.depthwise", x, kernel), channels, 1, layers="conv_bn")
            else:
                y = net.op(
                    f"{name}.op", "inverted_residual", x, channels=channels, kernel=kernel, stride=stride, expansion=expansion
                )
            x = net.add(f"{name}.sum", x, y) if stride == 1 and channels == x.channels else y
        maps.append(x)
    return maps


def _transformer_block(net: Layers, name: str, x: Value) -> Value:
    """Attention, and a perceptron with a depthwise 3x3, each added to its input (section 3.2)."""
    query, key, value = (
        net.conv(f"{name}.{which}", x, HEADS * depth, 1, layers="conv_bn")
        for which, depth in (("query", KEYS), ("key", KEYS), ("value", VALUES))
    )
    y = net.op(f"{name}.attention", "softmax_attention", query, key, value, channels=value.channels, groups=HEADS)
    x = net.add(f"{name}.attended", x, net.conv(f"{name}.project", y, x.channels, 1, layers="relu6_conv_bn"))
    y = net.conv(f"{name}.expand", x, MLP_EXPANSION * x.channels, 1, layers="conv_bn")
    y = net.depthwise(f"{name}.filter", y, layers="conv_bias_relu6")
    return net.add(f"{name}.sum", x, net.conv(f"{name}.reduce", y, x.channels, 1, layers="conv_bn"))


def _part(net: Layers, number: int, semantics: Value, maps: list[Value]) -> Value:
    """The channels that came from one map of the pyramid."""
    widths = [x.channels for x in maps]
    rest = net.op(f"injection.{number}.rest", "last_channels", semantics, channels=sum(widths[number:]))
    if rest.channels == widths[number]:
        return rest
    return net.op(f"injection.{number}.part", "first_channels", rest, channels=widths[number])


def _inject(net: Layers, name: str, local: Value, semantics: Value) -> Value:
    """Semantics gate a map of the pyramid and are added to it (section 3.3)."""
    y = net.conv(f"{name}.local", local, FUSED, 1, layers="conv_bn")
    gate = net.conv(f"{name}.gate", semantics, FUSED, 1, layers="conv_bn_hsigmoid")
    gated = net.op(f"{name}.gated", "multiply", y, net.resize(f"{name}.gate_up", gate, local))
    added = net.conv(f"{name}.global", semantics, FUSED, 1, layers="conv_bn")
    return net.add(f"{name}.sum", gated, net.resize(f"{name}.global_up", added, local))


NETWORKS = {"topformer_t": HandMade(stem_channels=16, describe=describe)}
