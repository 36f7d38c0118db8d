"""The heads without decisions: ASPP and PPM, on the last cell (LGCNet, arXiv:2302.08481, Table X)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nas.ops import OpSpec
from nas.space.graph import NetworkBuilder, Value, map_spec


def describe_aspp(builder: NetworkBuilder, value: Value, *, channels: int, rates: Sequence[int]) -> Value:
    """Append atrous spatial pyramid pooling: y = W [conv_1x1(x), conv_3x3 of each rate(x), pool(x)].

    Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv:1706.05587. Its width
    and that convolutions are ReLU-conv-BN are [reading]: LGCNet and GAS name the module alone.

    Args:
        builder: Where to.
        value: Output of the last cell.
        channels: Width of each branch and of the result.
        rates: Dilations.

    Shapes:
        [N, C, H, W] -> [N, channels, H, W].
    """
    pointwise = map_spec("relu_conv_bn", value, value, channels)
    branches = [builder.op("aspp.conv", pointwise, value)]
    for rate in rates:
        branches.append(builder.op(f"aspp.rate_{rate}", replace(pointwise, kernel=3, dilation=rate), value))
    branches.append(builder.op("aspp.pool", _pool(value, channels, bins=1), value))
    joined = builder.concat("aspp.concat", branches)
    return builder.op("aspp.out", map_spec("relu_conv_bn", joined, joined, channels), joined)


def describe_ppm(builder: NetworkBuilder, value: Value, *, channels: int, bins: Sequence[int]) -> Value:
    """Append a pyramid pooling module: y = W * [x, up(W_b pool_b(x)) for each count b of bins], W a 3x3 convolution.

    Zhao, Shi, Qi, Wang, Jia, "Pyramid Scene Parsing Network", CVPR 2017, arXiv:1612.01105: each level goes to 1 / levels of the
    channels that come in. That convolutions are ReLU-conv-BN is [reading]: LGCNet names the module alone.

    Args:
        builder: Where to.
        value: Output of the last cell.
        channels: Width of the result.
        bins: Bins a side of each level.

    Shapes:
        [N, C, H, W] -> [N, channels, H, W].
    """
    width = max(1, value.channels // len(bins))
    levels = [builder.op(f"ppm.bins_{count}", _pool(value, width, bins=count), value) for count in bins]
    joined = builder.concat("ppm.concat", [value, *levels])
    return builder.op("ppm.out", replace(map_spec("relu_conv_bn", joined, joined, channels), kernel=3), joined)


def _pool(value: Value, channels: int, *, bins: int) -> OpSpec:
    return replace(map_spec("grid_pool", value, value, channels), kernel=bins)
