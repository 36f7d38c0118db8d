"""FasterSeg's operators: one or two 3x3 convolutions, at full or at half resolution.

Chen, Gong, Liu, Zhang, Li, Wang, "FasterSeg: Searching for Faster Real-time Semantic Segmentation", ICLR 2020, arXiv:1912.10917,
as in the official code: no operator adds its input, and resizing leaves the centres of corner pixels in place (align_corners True).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.ops.modules import ConvBNReLU, same_conv
from nas.ops.spec import OpSpec
from nas.ops.zoomed_specs import conv_specs, half_size, zoomed_specs


class ConvBN(nn.Module):
    """Convolution and batch norm: y = BN(W * x).

    A part of the zoomed operators of Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917, before the resizing.

    Args:
        spec: Channels, kernel and stride s.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.conv = same_conv(spec, spec.in_channels, spec.out_channels)
        self.bn = nn.BatchNorm2d(spec.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        output: Tensor = self.bn(self.conv(x))
        return output


class Conv2x(nn.Module):
    """Double convolution: y = relu(BN(W2 * relu(BN(W1 * x)))), of which W1 has the stride.

    Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917 (conv_2x in the official code).

    Args:
        spec: Channels, kernel and stride s.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        first, second = conv_specs(spec)
        self.first = ConvBNReLU(first)
        self.second = ConvBNReLU(second)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        output: Tensor = self.second(self.first(x))
        return output


class ConvDownUp(nn.Module):
    """Zoomed convolution: y = relu(up(BN(W * down(x)))), down to half of the size, up to the size that came in.

    Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917 (conv_downup in the official code). With stride 2 nothing is resized back.

    Args:
        spec: Channels, kernel and stride s.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.stride = spec.stride
        (first,) = zoomed_specs(spec, convolutions=1)
        self.first = ConvBN(first)

    def forward(self, x: Tensor) -> Tensor:
        """Apply all."""
        return _back(self.first(_halved(x, self.stride)), x, self.stride)


class Conv2xDownUp(nn.Module):
    """Zoomed double convolution: y = relu(up(BN(W2 * relu(BN(W1 * down(x)))))), down and up as for `ConvDownUp`.

    Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917 (conv_2x_downup in the official code). With stride 2 nothing is resized
    back.

    Args:
        spec: Channels, kernel and stride s.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.stride = spec.stride
        first, second = zoomed_specs(spec, convolutions=2)
        self.first = ConvBNReLU(first)
        self.second = ConvBN(second)

    def forward(self, x: Tensor) -> Tensor:
        """Apply all."""
        return _back(self.second(self.first(_halved(x, self.stride))), x, self.stride)


def _halved(x: Tensor, stride: int) -> Tensor:
    height, width = x.shape[2:]
    return _resized(x, (half_size(height, stride), half_size(width, stride)))


def _back(x: Tensor, like: Tensor, stride: int) -> Tensor:
    """ReLU after the resizing, where there is one."""
    height, width = like.shape[2:]
    return torch.relu(x if stride == 2 else _resized(x, (height, width)))


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)
