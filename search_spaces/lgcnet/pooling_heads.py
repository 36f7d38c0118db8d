"""The heads without decisions: ASPP and PPM, on the last cell (LGCNet, Table X)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nas.ops import OpSpec
from nas.space.graph import NetworkBuilder, Value, map_spec


def describe_aspp(builder: NetworkBuilder, value: Value, *, channels: int, rates: Sequence[int]) -> Value:
    """Atrous spatial pyramid pooling (Chen et al., Rethinking Atrous Convolution, DeepLabV3).

    A 1x1 convolution, a 3x3 convolution for each dilation and global average pooling, side by side, each `channels` wide; their
    concatenation is brought back to `channels` by a 1x1 convolution. Convolutions are ReLU-conv-BN, as a cell's output wants it
    [reading].

    Args:
        builder: Where to.
        value: Output of the last cell.
        channels: Width of each branch and of the result.
        rates: Dilations.
    """
    pointwise = map_spec("relu_conv_bn", value, value, channels)
    branches = [builder.op("aspp.conv", pointwise, value)]
    for rate in rates:
        branches.append(builder.op(f"aspp.rate_{rate}", replace(pointwise, kernel=3, dilation=rate), value))
    branches.append(builder.op("aspp.pool", _pool(value, channels, bins=1), value))
    joined = builder.concat("aspp.concat", branches)
    return builder.op("aspp.out", map_spec("relu_conv_bn", joined, joined, channels), joined)


def describe_ppm(builder: NetworkBuilder, value: Value, *, channels: int, bins: Sequence[int]) -> Value:
    """Pyramid pooling module (Zhao et al., PSPNet).

    Each level pools to a grid, goes to 1 / levels of the input's channels and is resized back; input and levels are concatenated
    and brought to `channels` by a 3x3 convolution (ReLU-conv-BN [reading]).

    Args:
        builder: Where to.
        value: Output of the last cell.
        channels: Width of the result.
        bins: Bins a side of each level.
    """
    width = max(1, value.channels // len(bins))
    levels = [builder.op(f"ppm.bins_{count}", _pool(value, width, bins=count), value) for count in bins]
    joined = builder.concat("ppm.concat", [value, *levels])
    return builder.op("ppm.out", replace(map_spec("relu_conv_bn", joined, joined, channels), kernel=3), joined)


def _pool(value: Value, channels: int, *, bins: int) -> OpSpec:
    return replace(map_spec("grid_pool", value, value, channels), kernel=bins)
