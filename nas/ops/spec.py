"""`OpSpec`: everything that determines what one operation costs and how it is built."""

from __future__ import annotations

import re
from dataclasses import dataclass

_KEY = re.compile(
    r"(?P<kind>[a-z][a-z0-9_]*) in=(?P<ic>\d+)x(?P<ih>\d+)x(?P<iw>\d+) out=(?P<oc>\d+)x(?P<oh>\d+)x(?P<ow>\d+)"
    r" k=(?P<k>\d+) s=(?P<s>\d+) d=(?P<d>\d+) g=(?P<g>\d+)(?: e=(?P<e>\d+))?(?: sw=(?P<sw>\d+))?(?: kw=(?P<kw>\d+))?"
)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class OpSpec:
    """One operation at one shape: the key of an entry in a latency table, hashable.

    The lookup table of Cheng et al., LGCNet, 2023, arXiv:2302.08481, section III-C, records the latency of each candidate
    operation.

    Args:
        kind: A key of `nas.ops.OPERATIONS`.
        in_channels: Channels of the (first) input.
        height: Height of the (first) input in pixels.
        width: Width of the (first) input in pixels.
        out_channels: Channels of the output.
        out_height: Height of the output in pixels.
        out_width: Width of the output in pixels.
        kernel: Kernel size; for pooling to a grid, the number of bins a side; of patch-wise operations, the side of a
            patch.
        stride: Stride.
        dilation: Dilation.
        groups: Groups of the convolution; for concatenation, the number of inputs.
        expansion: Channels inside over channels that come in.
        stride_width: Stride along the width where it is another one; 0: `stride`.
        kernel_width: Kernel size along the width where it is another one; 0: `kernel`.

    Shapes:
        [N, in_channels, height, width] -> [N, out_channels, out_height, out_width].
    """

    kind: str
    in_channels: int
    height: int
    width: int
    out_channels: int
    out_height: int
    out_width: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    expansion: int = 1
    stride_width: int = 0
    kernel_width: int = 0

    @property
    def kernels(self) -> tuple[int, int]:
        """Kernel size along the height and along the width."""
        return self.kernel, self.kernel_width or self.kernel

    @property
    def key(self) -> str:
        """The key of this operation in a latency table: every field, readable; `e`, `sw` and `kw` only where they say something.

        >>> OpSpec(kind="conv", in_channels=8, height=45, width=60, out_channels=16, out_height=23, out_width=30,
        ...        kernel=3, stride=2).key
        'conv in=8x45x60 out=16x23x30 k=3 s=2 d=1 g=1'
        """
        optional = (f" e={self.expansion}" if self.expansion != 1 else "") + (
            f" sw={self.stride_width}" if self.stride_width else ""
        )
        optional += f" kw={self.kernel_width}" if self.kernel_width else ""
        return (
            f"{self.kind} in={self.in_channels}x{self.height}x{self.width}"
            f" out={self.out_channels}x{self.out_height}x{self.out_width}"
            f" k={self.kernel} s={self.stride} d={self.dilation} g={self.groups}{optional}"
        )

    @classmethod
    def from_key(cls, key: str) -> OpSpec:
        """The spec that a key states.

        Raises:
            ValueError: If the text is not a key.
        """
        match = _KEY.fullmatch(key)
        if match is None:
            raise ValueError(f"got operation key {key!r}, expected 'KIND in=CxHxW out=CxHxW k=K s=S d=D g=G [e=E] [sw=SW] [kw=KW]'")
        number = {name: int(text) for name, text in match.groupdict().items() if name != "kind" and text is not None}
        return cls(
            kind=match["kind"],
            in_channels=number["ic"],
            height=number["ih"],
            width=number["iw"],
            out_channels=number["oc"],
            out_height=number["oh"],
            out_width=number["ow"],
            kernel=number["k"],
            stride=number["s"],
            dilation=number["d"],
            groups=number["g"],
            expansion=number.get("e", 1),
            stride_width=number.get("sw", 0),
            kernel_width=number.get("kw", 0),
        )


def out_size(size: int, stride: int) -> int:
    """Pixels that every operation of the given stride leaves of `size` pixels: ceil(size / stride)."""
    return -(-size // stride)


def windows(size: int, kernel: int, stride: int) -> int:
    """Number of windows of average pooling along a side, without padding; a side shorter than the kernel is one.

    >>> windows(64, 49, 16), windows(128, 49, 20), windows(30, 49, 16)
    (1, 4, 1)
    """
    return (size - min(kernel, size)) // stride + 1


DROPOUTS = {
    "dropout_10": 0.1,
    "dropout_20": 0.2,
    "channel_dropout_1": 0.01,
    "channel_dropout_2": 0.02,
    "channel_dropout_3": 0.03,
    "channel_dropout_10": 0.1,
    "channel_dropout_20": 0.2,
    "channel_dropout_30": 0.3,
}
"""Kinds that drop values, or whole channels, in training -> probability."""
FREE_KINDS = frozenset({"identity", "none", *DROPOUTS})
"""Kinds that a derived network does not execute at all: the value is passed on, or nothing is. Nothing else costs zero."""


def is_free(spec: OpSpec) -> bool:
    """Whether a derived network executes nothing for `spec`, so that it costs zero by definition."""
    return spec.kind in FREE_KINDS
