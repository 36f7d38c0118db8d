"""Candidate operations by name: the one list that all spaces choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nas.ops.spec import OpSpec, out_size


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeShape:
    """The change of a map's shape along an edge (i, j) of a cell.

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, section III-B: each edge has the candidates of one set, all with the same shapes.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        height: Height that comes in, in pixels.
        width: Width that comes in, in pixels.
        stride: 1 or 2; height and width leave as ceil(size / stride).

    Shapes:
        [N, in_channels, height, width] -> [N, out_channels, ceil(height / stride), ceil(width / stride)].
    """

    in_channels: int
    out_channels: int
    height: int
    width: int
    stride: int = 1

    def spec(self, kind: str, *, kernel: int = 1, dilation: int = 1) -> OpSpec:
        """An operation of this shape."""
        return OpSpec(
            kind=kind,
            in_channels=self.in_channels,
            height=self.height,
            width=self.width,
            out_channels=self.out_channels,
            out_height=out_size(self.height, self.stride),
            out_width=out_size(self.width, self.stride),
            kernel=kernel,
            stride=self.stride,
            dilation=dilation,
        )


def _skip(edge: EdgeShape) -> OpSpec:
    """The map itself where its shape stays; else the factorised reduction (stride 2) or a 1x1 convolution (channels)."""
    if edge.stride > 1:
        return edge.spec("factorized_reduce")
    if edge.in_channels != edge.out_channels:
        return edge.spec("relu_conv_bn")
    return edge.spec("identity")


def _max_pool(edge: EdgeShape) -> OpSpec:
    if edge.in_channels != edge.out_channels:
        raise ValueError(f"max_pool_3x3 keeps the channels: got {edge.in_channels} -> {edge.out_channels}, expected them equal")
    return edge.spec("max_pool", kernel=3)


def _conv(kernel: int) -> Callable[[EdgeShape], OpSpec]:
    return lambda edge: edge.spec("relu_conv_bn", kernel=kernel)


def _sep_conv(dilation: int) -> Callable[[EdgeShape], OpSpec]:
    return lambda edge: edge.spec("relu_sep_conv_bn", kernel=3, dilation=dilation)


def _grid_pool(bins: int) -> Callable[[EdgeShape], OpSpec]:
    return lambda edge: edge.spec("grid_pool", kernel=bins)


CANDIDATE_OPS: dict[str, Callable[[EdgeShape], OpSpec]] = {
    "max_pool_3x3": _max_pool,
    "skip_connect": _skip,
    "none": lambda edge: edge.spec("none"),
    "conv_1x1": _conv(1),
    "conv_3x3": _conv(3),
    "sep_conv_3x3": _sep_conv(1),
    "dil_sep_conv_3x3_d2": _sep_conv(2),
    "dil_sep_conv_3x3_d4": _sep_conv(4),
    "dil_sep_conv_3x3_d8": _sep_conv(8),
    "dil_sep_conv_3x3_d12": _sep_conv(12),
    "global_pool_1x1": _grid_pool(1),
    "global_pool_2x2": _grid_pool(2),
    "global_pool_5x5": _grid_pool(5),
}

LIGHT_OPS = frozenset({"none", "skip_connect", "max_pool_3x3", "global_pool_1x1", "global_pool_2x2", "global_pool_5x5"})
"""Zero, skip and pooling: a search that chooses little else has collapsed."""


def candidate_specs(names: tuple[str, ...], edge: EdgeShape) -> Mapping[str, OpSpec]:
    """The spec of each named candidate on an edge, in the given order.

    Raises:
        ValueError: If a name is unknown.
    """
    unknown = [name for name in names if name not in CANDIDATE_OPS]
    if unknown:
        raise ValueError(f"got candidate operations {unknown}, expected some of {', '.join(CANDIDATE_OPS)}")
    return {name: CANDIDATE_OPS[name](edge) for name in names}
