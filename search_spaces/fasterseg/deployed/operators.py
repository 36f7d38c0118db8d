"""The operators of FasterSeg as operations: one `OpSpec` each, which is what a latency table measures.

Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917, as in the official code.
"""

from __future__ import annotations

from dataclasses import replace

from nas.ops import OpSpec, out_size
from nas.space.graph import Value, map_spec

SKIP = "skip"
"""The operator that no derived network has."""
KINDS = {"conv": "conv_bn_relu", "conv_downup": "conv_downup", "conv_2x": "conv_2x", "conv_2x_downup": "conv_2x_downup"}
"""Operator -> kind of operation."""


def operator_spec(op: str, value: Value, channels: int, *, stride: int) -> OpSpec:
    """An operator on a map: 3x3 convolutions, neither dilated nor grouped.

    Args:
        op: A key of `KINDS`.
        value: What it reads.
        channels: Channels that leave it.
        stride: 1 or 2; height and width leave as ceil(size / stride).
    """
    return conv_spec(value, channels, kind=KINDS[op], kernel=3, stride=stride)


def lattice_spec(op: str, value: Value, channels: int, *, stride: int) -> OpSpec:
    """Cost of an operator of the supernet on a map: `operator_spec`, or a skip, which no derived network has (Q6 of the README).

    A skip of stride 2 costs what the supernet runs. One of stride 1, there a 1x1 convolution, costs nothing: its layer is left out.

    Args:
        op: `SKIP` or a key of `KINDS`.
        value: What it reads.
        channels: Channels that leave it.
        stride: 1 or 2.
    """
    if op != SKIP:
        return operator_spec(op, value, channels, stride=stride)
    return conv_spec(value, channels, kernel=1, stride=stride, kind="identity" if stride == 1 else "reduce_bn_relu")


def conv_spec(value: Value, channels: int, *, kernel: int, stride: int = 1, kind: str = "conv_bn_relu") -> OpSpec:
    """Convolution, batch norm, ReLU, or another kind of that shape."""
    target = Value(value.index, channels, out_size(value.height, stride), out_size(value.width, stride))
    return replace(map_spec(kind, value, target, channels), kernel=kernel, stride=stride)
