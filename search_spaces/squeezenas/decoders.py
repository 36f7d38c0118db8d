"""The two decoders: from the encoder's output E and a low-level feature L to scores of classes, as in SqueezeNAS's official code.

Nothing is padded: maps are resized to the size of the map that they meet, which at sizes divisible by 16 are the official factors.
"""

from __future__ import annotations

from dataclasses import replace

from nas.errors import ConfigError
from nas.ops import OpSpec
from nas.ops.spec import windows
from nas.space.graph import NetworkBuilder, Value, map_spec
from search_spaces.squeezenas.config import SqueezeNASSmallConfig


def describe_lr_aspp(
    builder: NetworkBuilder, features: Value, low: Value, config: SqueezeNASSmallConfig, *, num_classes: int
) -> Value:
    """Append LR-ASPP: s = W1 up(up(sigmoid(W2 pool(E))) relu(BN(W3 E))) + W4 L, each W a 1x1 convolution.

    Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244, as in the official code of Shaw et al., "SqueezeNAS",
    ICCV Workshops 2019, arXiv:1908.01748. W1, W2 and W4 have a bias.

    Args:
        builder: Where to.
        features: E.
        low: L.
        config: Channels and windows.
        num_classes: Classes K.

    Returns:
        Scores, K channels at L's size.

    Shapes:
        E [N, C, H, W], L [N, C', H', W'] -> [N, K, H', W'].
    """
    channels = config.decoder_channels
    branch = _op(builder, "branch", "conv_bn_relu", features, channels=channels)
    pooled = builder.op("decoder.pool", _window_spec(features, config), features)
    gate = _op(builder, "gate", "conv_sigmoid", pooled, channels=channels)
    gate = _resize(builder, "gate_up", gate, branch)
    gated = builder.op("decoder.gated", map_spec("multiply", branch, branch, channels), branch, gate)
    gated = _resize(builder, "gated_up", gated, low)
    scores = _op(builder, "scores", "fan_out_classifier", gated, channels=num_classes)
    low_scores = _op(builder, "low_scores", "fan_out_classifier", low, channels=num_classes)
    return builder.add("decoder.sum", [scores, low_scores])


def describe_aspp(
    builder: NetworkBuilder, features: Value, low: Value, config: SqueezeNASSmallConfig, *, num_classes: int
) -> Value:
    """Append ASPP with a refinement by L: a 1x1 convolution, dilated 3x3 ones and the average of E, joined, resized, joined with L.

    Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv:1706.05587, as in the
    official code of Shaw et al., "SqueezeNAS", ICCV Workshops 2019, arXiv:1908.01748: the dilated convolutions have a group for
    each output channel. The average is one pixel, which bilinear resizing spreads as nearest does.

    Args:
        builder: Where to.
        features: E.
        low: L.
        config: Channels and dilations.
        num_classes: Classes K.

    Returns:
        Scores, K channels at L's size.

    Shapes:
        E [N, C, H, W], L [N, C', H', W'] -> [N, K, H', W'].
    """
    channels = config.decoder_channels
    branches = [_op(builder, "branch", "conv_bn_relu", features, channels=channels)]
    pointwise = map_spec("conv_bn_relu", features, features, channels)
    for rate in config.aspp_rates:
        spec = replace(pointwise, kernel=3, dilation=rate, groups=channels)
        branches.append(builder.op(f"decoder.rate_{rate}", spec, features))
    pixel = Value(features.index, features.channels, 1, 1)
    average = builder.op("decoder.average", map_spec("global_pool", features, pixel, features.channels), features)
    joined = builder.concat("decoder.join", [*branches, _resize(builder, "spread", average, features)])
    context = _op(builder, "context", "conv_bn_relu", joined, channels=channels)
    context = _resize(builder, "context_up", context, low, kind="resize_corners")
    detail = _op(builder, "detail", "plain_conv", low, channels=low.channels)
    both = builder.concat("decoder.both", [context, detail])
    refine = replace(map_spec("conv_bn_relu", both, both, both.channels), kernel=3, groups=both.channels)
    refined = builder.op("decoder.refine", refine, both)
    return _op(builder, "scores", "fan_out_classifier", refined, channels=num_classes)


def _op(builder: NetworkBuilder, name: str, kind: str, value: Value, *, channels: int) -> Value:
    """An operation that keeps the size."""
    return builder.op(f"decoder.{name}", map_spec(kind, value, value, channels), value)


def _resize(builder: NetworkBuilder, name: str, value: Value, like: Value, *, kind: str = "resize") -> Value:
    return builder.op(f"decoder.{name}", map_spec(kind, value, like, value.channels), value, like)


def _window_spec(value: Value, config: SqueezeNASSmallConfig) -> OpSpec:
    """The pooling of the gate.

    Raises:
        ConfigError: If the map is smaller than a window and windows are not to be clamped.
    """
    kernel, (down, across) = config.pool_kernel, config.pool_strides
    if not config.clamp_pool and min(value.height, value.width) < kernel:
        raise ConfigError(
            f"space.clamp_pool: got false with an input whose encoder output has {value.height}x{value.width} pixels, expected at "
            f"least {kernel} a side; give larger inputs (deploy.input, search.crop), or space.clamp_pool=true"
        )
    return OpSpec(
        kind="window_pool",
        in_channels=value.channels,
        height=value.height,
        width=value.width,
        out_channels=value.channels,
        out_height=windows(value.height, kernel, down),
        out_width=windows(value.width, kernel, across),
        kernel=kernel,
        stride=down,
        stride_width=0 if across == down else across,
    )
