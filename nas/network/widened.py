"""The convolutions of one candidate on several edges as one convolution, up to but without their batch norms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.ops.depthwise import depthwise
from nas.ops.modules import ReLUConvBN, ReLUSepConvBN, ShiftedReduce
from nas.ops.spec import OpSpec

DENSE_CHANNELS = 32
"""Up to this many channels a separable convolution is run as a dense one: 9 times the products of its 1x1 part, but fewer passes
and no maps in between. Above, the products cost more than the passes."""


class Source(NamedTuple):
    """The map that the edges read, after its ReLU.

    Args:
        full: [N, C, H, W].
        even: Its even rows and columns [N, C, ceil(H / 2), ceil(W / 2)], all that a convolution of stride 2 and even dilation
            reads; None where the stride is 1.
    """

    full: Tensor
    even: Tensor | None


def source_of(x: Tensor, stride: int) -> Source:
    """`x` [N, C, H, W] as convolutions of a stride read it, channels last."""
    return Source(x, x[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last) if stride == 2 else None)


class Term(NamedTuple):
    """One candidate on E edges.

    Args:
        option: Number of the option.
        spec: Its operation, the same on all edges.
        modules: The module of each edge.
    """

    option: int
    spec: OpSpec
    modules: Sequence[nn.Module]


def maps_before_norm(terms: Sequence[Term], source: Source) -> Iterator[Tensor]:
    """Input of each candidate's batch norms, edge beside edge: [N, E * Cout, H', W'].

    Args:
        terms: Candidates of the kinds in `NORMED`.
        source: What they read.
    """
    kernels = _dense_kernels(terms)
    for number, term in enumerate(terms):
        yield _convolved(source, kernels[number], term.spec) if number in kernels else NORMED[term.spec.kind](term, source)


def _convs(term: Term, source: Source) -> Tensor:
    convs = [module.conv for module in term.modules if isinstance(module, ReLUConvBN)]
    return _convolved(source, _side_by_side([conv.weight for conv in convs]), term.spec)


def _separable_convs(term: Term, source: Source) -> Tensor:
    stages = [(m.depthwise.weight, m.pointwise.weight) for m in term.modules if isinstance(m, ReLUSepConvBN)]
    maps = [_pointwise(_filtered(source, depth, term.spec), point) for depth, point in stages]
    return maps[0] if len(maps) == 1 else torch.cat(maps, dim=1)


def _reductions(term: Term, source: Source) -> Tensor:
    """Two shifted 1x1 convolutions of stride 2 are one of 2x2 with a single tap each."""
    height, width = source.full.shape[2:]
    weights = []
    for module in term.modules:
        assert isinstance(module, ShiftedReduce)
        even, odd = functional.pad(module.conv_even.weight, (0, 1, 0, 1)), functional.pad(module.conv_odd.weight, (1, 0, 1, 0))
        weights += [even, odd]
    return functional.conv2d(functional.pad(source.full, (0, width % 2, 0, height % 2)), _side_by_side(weights), stride=2)


NORMED: dict[str, Callable[[Term, Source], Tensor]] = {
    "relu_conv_bn": _convs,
    "relu_sep_conv_bn": _separable_convs,
    "factorized_reduce": _reductions,
}
"""Kinds that begin with a ReLU and end in a batch norm -> what lies in between, for E edges side by side."""


def _dense_kernels(terms: Sequence[Term]) -> dict[int, Tensor]:
    """Of the separable candidates of narrow maps, depthwise and 1x1 convolution as one kernel [E * Cout, Cin, k, k].

    All are made by one product: K[o, i] = point[o, i] depth[i]. They lie in memory as convolutions of maps with channels last
    want them.
    """
    kernels: dict[int, Tensor] = {}
    separable = [i for i, term in enumerate(terms) if term.spec.kind == "relu_sep_conv_bn"]
    narrow = [i for i in separable if terms[i].spec.in_channels <= DENSE_CHANNELS]
    for size in {terms[i].spec.kernel for i in narrow}:
        numbers = [i for i in narrow if terms[i].spec.kernel == size]
        modules = [module for i in numbers for module in terms[i].modules if isinstance(module, ReLUSepConvBN)]
        spec, count = terms[numbers[0]].spec, len(modules)
        depth = torch.cat([m.depthwise.weight for m in modules]).view(count, 1, spec.in_channels, size, size)
        point = torch.cat([m.pointwise.weight for m in modules]).view(count, spec.out_channels, 1, 1, spec.in_channels)
        product = (point * depth.permute(0, 1, 3, 4, 2)).reshape(len(numbers), -1, size, size, spec.in_channels)
        kernels |= dict(zip(numbers, product.permute(0, 1, 4, 2, 3).unbind(), strict=True))
    return kernels


def _side_by_side(weights: Sequence[Tensor]) -> Tensor:
    return weights[0] if len(weights) == 1 else torch.cat(list(weights))


def _convolved(source: Source, weight: Tensor, spec: OpSpec) -> Tensor:
    x, stride, dilation = _reached(source, spec)
    if spec.kernel == 1 and stride == 1:
        return _pointwise(x, weight)
    return functional.conv2d(x, weight, stride=stride, padding=dilation * (spec.kernel // 2), dilation=dilation)


def _filtered(source: Source, weight: Tensor, spec: OpSpec) -> Tensor:
    x, stride, dilation = _reached(source, spec)
    if stride == 1:
        return depthwise(x, weight, dilation)
    padding = dilation * (spec.kernel // 2)
    return functional.conv2d(x, weight, stride=stride, padding=padding, dilation=dilation, groups=x.shape[1])


def _reached(source: Source, spec: OpSpec) -> tuple[Tensor, int, int]:
    """(map, stride, dilation) of a convolution: with stride 2 and an even dilation, or one tap, only every second pixel is read."""
    if source.even is not None and (spec.kernel == 1 or spec.dilation % 2 == 0):
        return source.even, 1, max(spec.dilation // 2, 1)
    return source.full, spec.stride, spec.dilation


def _pointwise(x: Tensor, weight: Tensor) -> Tensor:
    """A 1x1 convolution as one matrix product over pixels."""
    return functional.linear(x.permute(0, 2, 3, 1), weight.flatten(1)).permute(0, 3, 1, 2)
