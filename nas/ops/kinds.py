"""Kinds of operations as costs see them: multiply-accumulates and inputs. Their modules are in `nas.ops.operations`.

Nothing here loads PyTorch, so that a latency is predicted without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nas.ops import mac_counts
from nas.ops.chains import CHAINS, layers_of
from nas.ops.spec import DROPOUTS, OpSpec

InputShapes = tuple[tuple[int, int, int], ...]


def _one_input(spec: OpSpec) -> InputShapes:
    return ((spec.in_channels, spec.height, spec.width),)


def _input_and_target(spec: OpSpec) -> InputShapes:
    return (*_one_input(spec), (1, spec.out_height, spec.out_width))


def _two_inputs(spec: OpSpec) -> InputShapes:
    return _one_input(spec) * 2


def _map_and_vector(spec: OpSpec) -> InputShapes:
    return (*_one_input(spec), (spec.in_channels, 1, 1))


def _map_and_pixels(spec: OpSpec) -> InputShapes:
    return (*_one_input(spec), (1, spec.height, spec.width))


def _two_inputs_and_pixels(spec: OpSpec) -> InputShapes:
    return (*_two_inputs(spec), (1, spec.height, spec.width))


def _two_inputs_and_target(spec: OpSpec) -> InputShapes:
    return (*_two_inputs(spec), (1, spec.out_height, spec.out_width))


def _queries_keys_values(spec: OpSpec) -> InputShapes:
    return (*_two_inputs(spec), (spec.out_channels, spec.height, spec.width))


def _patches_and_kernels(spec: OpSpec) -> InputShapes:
    """A map, and another with the kernels of each of its patches."""
    count = 9 * spec.in_channels if spec.kind == "patch_depthwise" else spec.in_channels * spec.out_channels
    return (*_one_input(spec), (count, spec.height // spec.kernel, spec.width // spec.kernel))


def _concat_inputs(spec: OpSpec) -> InputShapes:
    """The first map as stated, the rest of the output's channels shared out over the other maps."""
    rest, others = spec.out_channels - spec.in_channels, spec.groups - 1
    widths = [rest // others + (i < rest % others) for i in range(others)] if others else []
    return tuple((c, spec.height, spec.width) for c in (spec.in_channels, *widths))


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of operation: how it is counted and fed.

    Args:
        macs: Multiply-accumulates of a spec for one image.
        input_shapes: (channels, height, width) of each input of a spec.
    """

    macs: Callable[[OpSpec], int]
    input_shapes: Callable[[OpSpec], InputShapes] = _one_input


def _chain(name: str) -> Kind:
    """A chain of layers: its convolution is counted."""
    layers = layers_of(name)
    if "deconv" in layers:
        return Kind(mac_counts.deconv_macs, _input_and_target)
    return Kind(mac_counts.conv_macs if "conv" in layers else mac_counts.no_macs)


KINDS: dict[str, Kind] = {
    "conv_bn_relu": Kind(mac_counts.conv_macs),
    "relu_conv_bn": Kind(mac_counts.conv_macs),
    "relu_sep_conv_bn": Kind(mac_counts.sep_conv_macs),
    "inverted_residual": Kind(mac_counts.inverted_residual_macs),
    "conv_2x": Kind(mac_counts.conv_2x_macs),
    "conv_downup": Kind(mac_counts.conv_downup_macs),
    "conv_2x_downup": Kind(mac_counts.conv_2x_downup_macs),
    "reduce_bn_relu": Kind(mac_counts.pointwise_macs),
    "factorized_reduce": Kind(mac_counts.pointwise_macs),
    "max_pool": Kind(mac_counts.no_macs),
    "grid_pool": Kind(mac_counts.grid_pool_macs),
    "transposed_conv": Kind(mac_counts.transposed_conv_macs, _input_and_target),
    "resize": Kind(mac_counts.no_macs, _input_and_target),
    "classifier": Kind(mac_counts.pointwise_macs),
    "fan_out_classifier": Kind(mac_counts.conv_macs),
    "plain_conv": Kind(mac_counts.conv_macs),
    "bare_conv": Kind(mac_counts.conv_macs),
    "conv_sigmoid": Kind(mac_counts.conv_macs),
    "window_pool": Kind(mac_counts.no_macs),
    "global_pool": Kind(mac_counts.no_macs),
    "resize_corners": Kind(mac_counts.no_macs, _input_and_target),
    "multiply": Kind(mac_counts.no_macs, _two_inputs),
    "add": Kind(mac_counts.no_macs, _two_inputs),
    "concat": Kind(mac_counts.no_macs, _concat_inputs),
    "argmax": Kind(mac_counts.no_macs),
    **{name: _chain(name) for name in CHAINS},
    "avg_pool": Kind(mac_counts.no_macs),
    "bin_pool": Kind(mac_counts.no_macs),
    "shrinking_pool": Kind(mac_counts.no_macs),
    "square_bin_pool": Kind(mac_counts.no_macs),
    "global_max_pool": Kind(mac_counts.no_macs),
    "channel_statistics": Kind(mac_counts.no_macs),
    "gate_channels": Kind(mac_counts.no_macs, _map_and_vector),
    "gate_pixels": Kind(mac_counts.no_macs, _map_and_pixels),
    "shift": Kind(mac_counts.no_macs, _map_and_vector),
    "blend": Kind(mac_counts.no_macs, _two_inputs_and_pixels),
    "complement": Kind(mac_counts.no_macs),
    "channel_dot": Kind(mac_counts.no_macs, _two_inputs),
    "channel_conv_sigmoid": Kind(mac_counts.channel_conv_macs),
    "softmax_attention": Kind(mac_counts.softmax_attention_macs, _queries_keys_values),
    "channel_shuffle": Kind(mac_counts.no_macs),
    "first_channels": Kind(mac_counts.no_macs),
    "last_channels": Kind(mac_counts.no_macs),
    "fast_attention": Kind(mac_counts.fast_attention_macs, _queries_keys_values),
    "relu_linear_attention": Kind(mac_counts.relu_linear_attention_macs),
    "resize_nearest": Kind(mac_counts.no_macs, _input_and_target),
    "pad": Kind(mac_counts.no_macs),
    "shrink": Kind(mac_counts.no_macs),
    "pool_positions": Kind(mac_counts.no_macs),
    "unpool": Kind(mac_counts.no_macs, _two_inputs_and_target),
    "coordinates": Kind(mac_counts.no_macs),
    "patch_halo": Kind(mac_counts.no_macs),
    "patch_conv": Kind(mac_counts.patch_conv_macs, _patches_and_kernels),
    "patch_depthwise": Kind(mac_counts.patch_depthwise_macs, _patches_and_kernels),
    **dict.fromkeys(DROPOUTS, Kind(mac_counts.no_macs)),
    "identity": Kind(mac_counts.no_macs),
    "none": Kind(mac_counts.no_macs),
}


def kind_of(spec: OpSpec) -> Kind:
    """The kind of an operation.

    Raises:
        ValueError: If there is none of that name.
    """
    try:
        return KINDS[spec.kind]
    except KeyError:
        raise ValueError(f"got operation kind {spec.kind!r}, expected one of {', '.join(KINDS)}") from None


def sized_by_last_input(kind: str) -> bool:
    """Whether the last input of an operation states the size of the output and nothing else.

    >>> sized_by_last_input("resize"), sized_by_last_input("add")
    (True, False)
    """
    return KINDS[kind].input_shapes in (_input_and_target, _two_inputs_and_target)


def macs(spec: OpSpec) -> int:
    """Multiply-accumulates of `spec` for one image."""
    return kind_of(spec).macs(spec)
