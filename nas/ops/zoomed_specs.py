"""The convolutions of FasterSeg's operators, and the sizes at which they compute.

Chen, Gong, Liu, Zhang, Li, Wang, "FasterSeg: Searching for Faster Real-time Semantic Segmentation", ICLR 2020, arXiv:1912.10917,
as in the official code.
"""

from __future__ import annotations

from dataclasses import replace

from nas.ops.spec import OpSpec, out_size


def conv_specs(spec: OpSpec) -> tuple[OpSpec, OpSpec]:
    """The two convolutions of `conv_2x`: Cin -> Cout with the stride, Cout -> Cout without."""
    inner = replace(spec, in_channels=spec.out_channels, height=spec.out_height, width=spec.out_width, stride=1)
    return spec, inner


def zoomed_specs(spec: OpSpec, *, convolutions: int) -> tuple[OpSpec, ...]:
    """The one or two convolutions of a zoomed operator, on the halved map."""
    height, width = half_size(spec.height, spec.stride), half_size(spec.width, spec.stride)
    first = replace(spec, height=height, width=width, out_height=height, out_width=width, stride=1)
    return (first, replace(first, in_channels=spec.out_channels))[:convolutions]


def half_size(size: int, stride: int) -> int:
    """Pixels on which a zoomed operator computes.

    Half of an odd side is rounded down where the map is resized back. Where it stays small it is rounded up, as in every operation
    of stride 2 [reading]: the official code meets no odd side there. One pixel is kept.

    >>> half_size(7, 1), half_size(7, 2), half_size(1, 1)
    (3, 4, 1)
    """
    return out_size(size, 2) if stride == 2 else max(1, size // 2)
