"""Multiply-accumulates of each kind of operation, as pure functions of its spec.

Counted are the products of convolutions and those of matrices in attention, for one image. Batch norm, activations, pooling,
resizing, additions and copies have nothing to multiply by and count zero here; a latency table measures them like everything else.
"""

from __future__ import annotations

import math

from nas.ops.spec import OpSpec
from nas.ops.zoomed_specs import conv_specs, zoomed_specs


def _out_pixels(spec: OpSpec) -> int:
    return spec.out_height * spec.out_width


def conv_macs(spec: OpSpec) -> int:
    """K_h * K_w * Cin / groups * Cout * H_out * W_out."""
    return math.prod(spec.kernels) * spec.in_channels // spec.groups * spec.out_channels * _out_pixels(spec)


def deconv_macs(spec: OpSpec) -> int:
    """Every input pixel is spread over k x k output pixels: k^2 * Cin / groups * Cout * H * W."""
    return spec.kernel**2 * spec.in_channels // spec.groups * spec.out_channels * spec.height * spec.width


def channel_conv_macs(spec: OpSpec) -> int:
    """A kernel of k channels moves along the channels of one pixel: k * C."""
    return spec.kernel * spec.in_channels


def fast_attention_macs(spec: OpSpec) -> int:
    """Values by keys, and the result by queries, of d = Cin channels each: 2 d Cout H W."""
    return 2 * spec.in_channels * spec.out_channels * _out_pixels(spec)


def relu_linear_attention_macs(spec: OpSpec) -> int:
    """The same for each head of d = Cout / heads channels, with the sum of similarities as one more value: 2 d (d + 1) H W."""
    depth = spec.out_channels // spec.groups
    return 2 * spec.groups * depth * (depth + 1) * _out_pixels(spec)


def softmax_attention_macs(spec: OpSpec) -> int:
    """Queries by keys, then weights by values: (Cin + Cout) (H W)^2, whatever the heads."""
    return (spec.in_channels + spec.out_channels) * _out_pixels(spec) ** 2


def patch_conv_macs(spec: OpSpec) -> int:
    """Cin * Cout at every pixel, whichever patch has it."""
    return spec.in_channels * spec.out_channels * _out_pixels(spec)


def patch_depthwise_macs(spec: OpSpec) -> int:
    """9 * C at every pixel that goes out."""
    return 9 * spec.in_channels * _out_pixels(spec)


def sep_conv_macs(spec: OpSpec) -> int:
    """Depthwise k * k * Cin * H_out * W_out plus pointwise Cin * Cout * H_out * W_out."""
    return (spec.kernel**2 + spec.out_channels) * spec.in_channels * _out_pixels(spec)


def grid_pool_macs(spec: OpSpec) -> int:
    """The 1x1 convolution on bins x bins pixels: Cin * Cout * bins^2."""
    return spec.in_channels * spec.out_channels * spec.kernel**2


def transposed_conv_macs(spec: OpSpec) -> int:
    """Every input pixel is spread over 4x4 output pixels: 16 * Cin * Cout * H * W."""
    return 16 * spec.in_channels * spec.out_channels * spec.height * spec.width


def pointwise_macs(spec: OpSpec) -> int:
    """A 1x1 convolution at the output's size: Cin * Cout * H_out * W_out."""
    return spec.in_channels * spec.out_channels * _out_pixels(spec)


def inverted_residual_macs(spec: OpSpec) -> int:
    """MACs with h = e Cin: Cin h / g at the input's size, then (k^2 + Cout / g) h at the output's."""
    hidden = spec.expansion * spec.in_channels
    expand = spec.in_channels * hidden // spec.groups * spec.height * spec.width
    rest = (spec.kernel**2 + spec.out_channels // spec.groups) * hidden * spec.out_height * spec.out_width
    return expand + rest


def conv_2x_macs(spec: OpSpec) -> int:
    """9 (Cin + Cout) Cout at the output's size."""
    return sum(conv_macs(one) for one in conv_specs(spec))


def conv_downup_macs(spec: OpSpec) -> int:
    """9 Cin Cout at the halved size."""
    return sum(conv_macs(one) for one in zoomed_specs(spec, convolutions=1))


def conv_2x_downup_macs(spec: OpSpec) -> int:
    """9 (Cin + Cout) Cout at the halved size."""
    return sum(conv_macs(one) for one in zoomed_specs(spec, convolutions=2))


def no_macs(spec: OpSpec) -> int:  # noqa: ARG001
    """Operations without kernel weights."""
    return 0
