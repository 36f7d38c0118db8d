"""Operations: one table from kind to module, inputs and MACs, shared by all spaces, by profiling and by deployment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.ops import attention, decoding, gates, modules, patchwise, pooling, resizing, unpooling, zoomed
from nas.ops.chains import CHAINS
from nas.ops.dropout import build_dropout
from nas.ops.inverted_residual import InvertedResidual
from nas.ops.kinds import KINDS, InputShapes, kind_of
from nas.ops.layer_chain import build_chain
from nas.ops.softmax_attention import SoftmaxAttention
from nas.ops.spec import DROPOUTS, OpSpec


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of operation: how it is built, counted and fed.

    The table of kinds is that of Liu, Simonyan, Yang, "DARTS", ICLR 2019, arXiv:1806.09055, whose code maps a name to a factory.

    Args:
        build: Makes the module of a spec.
        macs: Multiply-accumulates of a spec for one image.
        input_shapes: (channels, height, width) of each input of a spec.
    """

    build: Callable[[OpSpec], nn.Module]
    macs: Callable[[OpSpec], int]
    input_shapes: Callable[[OpSpec], InputShapes]


MODULES: dict[str, Callable[[OpSpec], nn.Module]] = {
    "conv_bn_relu": modules.ConvBNReLU,
    "relu_conv_bn": modules.ReLUConvBN,
    "relu_sep_conv_bn": modules.ReLUSepConvBN,
    "inverted_residual": InvertedResidual,
    "conv_2x": zoomed.Conv2x,
    "conv_downup": zoomed.ConvDownUp,
    "conv_2x_downup": zoomed.Conv2xDownUp,
    "reduce_bn_relu": modules.ReduceBNReLU,
    "factorized_reduce": modules.FactorizedReduce,
    "max_pool": modules.MaxPool,
    "grid_pool": modules.GridPool,
    "transposed_conv": modules.TransposedConv,
    "resize": lambda spec: modules.Resize(),  # noqa: ARG005
    "classifier": modules.Classifier,
    "fan_out_classifier": decoding.PlainConv,
    "plain_conv": decoding.PlainConv,
    "bare_conv": decoding.BareConv,
    "conv_sigmoid": decoding.ConvSigmoid,
    "window_pool": decoding.WindowPool,
    "global_pool": lambda spec: decoding.GlobalPool(),  # noqa: ARG005
    "resize_corners": lambda spec: decoding.ResizeCorners(),  # noqa: ARG005
    "multiply": lambda spec: decoding.Multiply(),  # noqa: ARG005
    "add": lambda spec: modules.Add(),  # noqa: ARG005
    "concat": lambda spec: modules.Concat(),  # noqa: ARG005
    "argmax": lambda spec: modules.Argmax(),  # noqa: ARG005
    **dict.fromkeys(CHAINS, build_chain),
    "avg_pool": pooling.AvgPool,
    "bin_pool": pooling.BinPool,
    "shrinking_pool": pooling.ShrinkingPool,
    "square_bin_pool": pooling.SquareBinPool,
    "global_max_pool": lambda spec: pooling.GlobalMaxPool(),  # noqa: ARG005
    "channel_statistics": lambda spec: pooling.ChannelStatistics(),  # noqa: ARG005
    "gate_channels": lambda spec: decoding.Multiply(),  # noqa: ARG005
    "gate_pixels": lambda spec: decoding.Multiply(),  # noqa: ARG005
    "shift": lambda spec: gates.Shift(),  # noqa: ARG005
    "blend": lambda spec: gates.Blend(),  # noqa: ARG005
    "complement": lambda spec: gates.Complement(),  # noqa: ARG005
    "channel_dot": lambda spec: gates.ChannelDot(),  # noqa: ARG005
    "channel_conv_sigmoid": gates.ChannelConvSigmoid,
    "softmax_attention": SoftmaxAttention,
    "channel_shuffle": gates.ChannelShuffle,
    "first_channels": gates.FirstChannels,
    "last_channels": gates.LastChannels,
    "fast_attention": lambda spec: attention.FastAttention(),  # noqa: ARG005
    "relu_linear_attention": attention.ReLULinearAttention,
    "resize_nearest": lambda spec: resizing.ResizeNearest(),  # noqa: ARG005
    "pad": resizing.Pad,
    "shrink": resizing.Shrink,
    "pool_positions": lambda spec: unpooling.PoolPositions(),  # noqa: ARG005
    "unpool": lambda spec: unpooling.Unpool(),  # noqa: ARG005
    "coordinates": lambda spec: patchwise.Coordinates(),  # noqa: ARG005
    "patch_halo": patchwise.PatchHalo,
    "patch_conv": patchwise.PatchConv,
    "patch_depthwise": patchwise.PatchDepthwise,
    **dict.fromkeys(DROPOUTS, build_dropout),
    "identity": lambda spec: nn.Identity(),  # noqa: ARG005
    "none": lambda spec: nn.Identity(),  # noqa: ARG005
}
"""Kind -> what makes its module."""


OPERATIONS: dict[str, Operation] = {name: Operation(MODULES[name], kind.macs, kind.input_shapes) for name, kind in KINDS.items()}
"""Every kind of `KINDS` with its module."""


def build(spec: OpSpec) -> nn.Module:
    """The module that runs `spec`: the one that is profiled, searched, retrained and deployed."""
    kind_of(spec)
    return OPERATIONS[spec.kind].build(spec)


def example_inputs(spec: OpSpec, *, batch: int = 1, generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
    """Random inputs of `spec`, each [batch, C, H, W] float32."""
    return tuple(torch.randn(batch, *shape, generator=generator) for shape in kind_of(spec).input_shapes(spec))
