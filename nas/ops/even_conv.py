"""Convolutions whose kernel has an even side."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class EvenConv(nn.Conv2d):
    """Convolution whose windows begin at their pixel along each even side, and read zeros beyond the lower and the right edge.

    The 2x2 convolution of stride 2 of Paszke et al., "ENet", 2016, arXiv:1606.02147, for maps of any size.

    Args:
        As of `nn.Conv2d`, with a padding of 0 along even sides.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)].
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name of the method that is overridden
        """Apply the convolution."""
        lower, right = (self._beyond(size, side) for side, size in enumerate(input.shape[2:]))
        return super().forward(functional.pad(input, (0, right, 0, lower)) if lower or right else input)

    def _beyond(self, size: int, side: int) -> int:
        """Pixels that the last window reads beyond the edge, of a side of `size` pixels."""
        if self.kernel_size[side] % 2:
            return 0
        stride = self.stride[side]
        last = (-(-size // stride) - 1) * stride
        return max(0, last + self.dilation[side] * (self.kernel_size[side] - 1) + 1 - size)
