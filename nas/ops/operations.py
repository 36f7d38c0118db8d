"""Operations: one table from kind to module, inputs and MACs, shared by all spaces, by profiling and by deployment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.ops import decoding, mac_counts, modules, zoomed
from nas.ops.inverted_residual import InvertedResidual, inverted_residual_macs
from nas.ops.spec import OpSpec

InputShapes = tuple[tuple[int, int, int], ...]


def _one_input(spec: OpSpec) -> InputShapes:
    return ((spec.in_channels, spec.height, spec.width),)


def _input_and_target(spec: OpSpec) -> InputShapes:
    return (*_one_input(spec), (1, spec.out_height, spec.out_width))


def _two_inputs(spec: OpSpec) -> InputShapes:
    return _one_input(spec) * 2


def _concat_inputs(spec: OpSpec) -> InputShapes:
    """The first map as stated, the rest of the output's channels shared out over the other maps."""
    rest, others = spec.out_channels - spec.in_channels, spec.groups - 1
    widths = [rest // others + (i < rest % others) for i in range(others)] if others else []
    return tuple((c, spec.height, spec.width) for c in (spec.in_channels, *widths))


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
    input_shapes: Callable[[OpSpec], InputShapes] = _one_input


OPERATIONS: dict[str, Operation] = {
    "conv_bn_relu": Operation(modules.ConvBNReLU, mac_counts.conv_macs),
    "relu_conv_bn": Operation(modules.ReLUConvBN, mac_counts.conv_macs),
    "relu_sep_conv_bn": Operation(modules.ReLUSepConvBN, mac_counts.sep_conv_macs),
    "inverted_residual": Operation(InvertedResidual, inverted_residual_macs),
    "conv_2x": Operation(zoomed.Conv2x, zoomed.conv_2x_macs),
    "conv_downup": Operation(zoomed.ConvDownUp, zoomed.conv_downup_macs),
    "conv_2x_downup": Operation(zoomed.Conv2xDownUp, zoomed.conv_2x_downup_macs),
    "reduce_bn_relu": Operation(modules.ReduceBNReLU, mac_counts.pointwise_macs),
    "factorized_reduce": Operation(modules.FactorizedReduce, mac_counts.pointwise_macs),
    "max_pool": Operation(modules.MaxPool, mac_counts.no_macs),
    "grid_pool": Operation(modules.GridPool, mac_counts.grid_pool_macs),
    "transposed_conv": Operation(modules.TransposedConv, mac_counts.transposed_conv_macs, _input_and_target),
    "resize": Operation(lambda spec: modules.Resize(), mac_counts.no_macs, _input_and_target),  # noqa: ARG005
    "classifier": Operation(modules.Classifier, mac_counts.pointwise_macs),
    "fan_out_classifier": Operation(decoding.PlainConv, mac_counts.conv_macs),
    "plain_conv": Operation(decoding.PlainConv, mac_counts.conv_macs),
    "bare_conv": Operation(decoding.BareConv, mac_counts.conv_macs),
    "conv_sigmoid": Operation(decoding.ConvSigmoid, mac_counts.conv_macs),
    "window_pool": Operation(decoding.WindowPool, mac_counts.no_macs),
    "global_pool": Operation(lambda spec: decoding.GlobalPool(), mac_counts.no_macs),  # noqa: ARG005
    "resize_corners": Operation(lambda spec: decoding.ResizeCorners(), mac_counts.no_macs, _input_and_target),  # noqa: ARG005
    "multiply": Operation(lambda spec: decoding.Multiply(), mac_counts.no_macs, _two_inputs),  # noqa: ARG005
    "add": Operation(lambda spec: modules.Add(), mac_counts.no_macs, _two_inputs),  # noqa: ARG005
    "concat": Operation(lambda spec: modules.Concat(), mac_counts.no_macs, _concat_inputs),  # noqa: ARG005
    "argmax": Operation(lambda spec: modules.Argmax(), mac_counts.no_macs),  # noqa: ARG005
    "identity": Operation(lambda spec: nn.Identity(), mac_counts.no_macs),  # noqa: ARG005
    "none": Operation(lambda spec: nn.Identity(), mac_counts.no_macs),  # noqa: ARG005
}


def _operation(spec: OpSpec) -> Operation:
    try:
        return OPERATIONS[spec.kind]
    except KeyError:
        raise ValueError(f"got operation kind {spec.kind!r}, expected one of {', '.join(OPERATIONS)}") from None


def build(spec: OpSpec) -> nn.Module:
    """The module that runs `spec`: the one that is profiled, searched, retrained and deployed."""
    return _operation(spec).build(spec)


def macs(spec: OpSpec) -> int:
    """Multiply-accumulates of `spec` for one image."""
    return _operation(spec).macs(spec)


def example_inputs(spec: OpSpec, *, batch: int = 1, generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
    """Random inputs of `spec`, each [batch, C, H, W] float32."""
    shapes = _operation(spec).input_shapes(spec)
    return tuple(torch.randn(batch, *shape, generator=generator) for shape in shapes)
