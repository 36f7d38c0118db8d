"""Parts of decoders beside convolutions with batch norm: gates from pooled windows, plain convolutions, resizing by corners."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.ops.modules import padded_conv, same_conv
from nas.ops.spec import OpSpec


class PlainConv(nn.Module):
    """Convolution with bias: y = W * x + b, without batch norm or activation.

    Scores of the classes in the LR-ASPP of Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244; initialised by
    `fan_out_init`, as in the official code of SqueezeNAS.

    Args:
        spec: Channels, kernel, stride s, dilation and groups.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.conv = padded_conv(spec, spec.in_channels, spec.out_channels, groups=spec.groups, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution."""
        output: Tensor = self.conv(x)
        return output


class BareConv(nn.Module):
    """Convolution without bias: y = W * x, without batch norm or activation.

    The channel attention in the official code of Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917, which never runs it.

    Args:
        spec: Channels, kernel, stride s, dilation and groups.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.conv = same_conv(spec, spec.in_channels, spec.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution."""
        output: Tensor = self.conv(x)
        return output


class ConvSigmoid(PlainConv):
    """Gate from 0 to 1: y = sigmoid(W * x + b).

    The gate of LR-ASPP, Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244.

    Args:
        spec: Channels, kernel, stride s, dilation and groups.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)].
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        return torch.sigmoid(super().forward(x))


class WindowPool(nn.Module):
    """Average pooling over windows of k x k pixels, without padding; a side shorter than k is one window [reading].

    The pooling of LR-ASPP, Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244. The official code of SqueezeNAS
    has k = 49 and strides of 16 and 20.

    Args:
        spec: Kernel k, stride along the height, and along the width where that is another one (`stride_width`).

    Shapes:
        [N, C, H, W] -> [N, C, h, w], h = (H - min(k, H)) // stride + 1, and w likewise with its stride.
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.kernel = spec.kernel
        self.strides = (spec.stride, spec.stride_width or spec.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        height, width = x.shape[2:]
        return functional.avg_pool2d(x, (min(self.kernel, height), min(self.kernel, width)), self.strides)


class GlobalPool(nn.Module):
    """Average of each map: y_c = 1 / (H W) sum_{i,j} x[c, i, j].

    The image-level feature of ASPP, Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv:1706.05587.

    Shapes:
        [N, C, H, W] -> [N, C, 1, 1].
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        return functional.adaptive_avg_pool2d(x, 1)


class Multiply(nn.Module):
    """Product of two maps, pixel by pixel: y = a b.

    How LR-ASPP applies its gate, Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244.

    Shapes:
        Both [N, C, H, W] -> [N, C, H, W].
    """

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Both [N, C, H, W] -> [N, C, H, W]."""
        return first * second


class ResizeCorners(nn.Module):
    """Bilinear resizing to the size of the second input that leaves the centres of corner pixels in place (align_corners True).

    As in the official code of FasterSeg (Chen et al., ICLR 2020, arXiv:1912.10917), and for the logits of SqueezeNAS (Shaw et al.,
    ICCV Workshops 2019, arXiv:1908.01748).

    Shapes:
        x [N, C, H, W], like [N, *, H', W'] -> [N, C, H', W'].
    """

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """[N, C, H, W], [N, *, H', W'] -> [N, C, H', W']."""
        return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)
