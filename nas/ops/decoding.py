"""What decoders need beside convolutions with batch norm: gates from pooled windows, plain convolutions, resizing by corners."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.ops.modules import fan_out_init, same_conv
from nas.ops.spec import OpSpec


class PlainConv(nn.Module):
    """Convolution with bias and nothing behind it: [N, Cin, H, W] -> [N, Cout, ceil(H / stride), ceil(W / stride)]."""

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            spec.in_channels,
            spec.out_channels,
            spec.kernel,
            stride=spec.stride,
            padding=spec.dilation * (spec.kernel // 2),
            dilation=spec.dilation,
            groups=spec.groups,
        )
        fan_out_init(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution."""
        output: Tensor = self.conv(x)
        return output


class BareConv(nn.Module):
    """Convolution without bias and nothing behind it: [N, Cin, H, W] -> [N, Cout, ceil(H / stride), ceil(W / stride)]."""

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.conv = same_conv(spec, spec.in_channels, spec.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution."""
        output: Tensor = self.conv(x)
        return output


class ConvSigmoid(PlainConv):
    """Convolution with bias, then a sigmoid: a gate from 0 to 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        return torch.sigmoid(super().forward(x))


class WindowPool(nn.Module):
    """Averages over windows of k x k pixels, without padding; a side shorter than k is one window.

    [N, C, H, W] -> [N, C, h, w], h = (H - min(k, H)) // stride + 1, and w likewise with `stride_width`.
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.kernel = spec.kernel
        self.strides = (spec.stride, spec.stride_width or spec.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        height, width = x.shape[2:]
        return functional.avg_pool2d(x, (min(self.kernel, height), min(self.kernel, width)), self.strides)


def windows(size: int, kernel: int, stride: int) -> int:
    """Number of windows along a side.

    >>> windows(64, 49, 16), windows(128, 49, 20), windows(30, 49, 16)
    (1, 4, 1)
    """
    return (size - min(kernel, size)) // stride + 1


class GlobalPool(nn.Module):
    """The average of each map: [N, C, H, W] -> [N, C, 1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        return functional.adaptive_avg_pool2d(x, 1)


class Multiply(nn.Module):
    """Product of two maps of one shape, pixel by pixel."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Both [N, C, H, W] -> [N, C, H, W]."""
        return first * second


class ResizeCorners(nn.Module):
    """Bilinear resizing to the size of the second input that leaves the centres of corner pixels in place (align_corners True)."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """[N, C, H, W], [N, *, H', W'] -> [N, C, H', W']."""
        return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)
