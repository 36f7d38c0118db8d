"""Pooling beside the max pooling of candidates: averages of windows and of grids, extremes of maps and of channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.ops.pooling_sizes import columns
from nas.ops.spec import OpSpec


class AvgPool(nn.Module):
    """Average pooling: windows of an odd k are centred and count the zeros around the map, those of an even k begin at their pixel.

    Windows of an even k that reach over the edge are averages of the pixels inside. k = 3 is the shortcut of STDC (Fan et al.,
    "Rethinking BiSeNet For Real-time Semantic Segmentation", CVPR 2021, arXiv:2104.13188), k = 2 the pooling of DenseNet (Huang et
    al., CVPR 2017, arXiv:1608.06993).

    Args:
        spec: Kernel k and stride s.

    Shapes:
        [N, C, H, W] -> [N, C, ceil(H / s), ceil(W / s)].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.kernel = spec.kernel
        self.stride = spec.stride

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        if self.kernel % 2:
            return functional.avg_pool2d(x, self.kernel, self.stride, padding=self.kernel // 2)
        return functional.avg_pool2d(x, self.kernel, self.stride, ceil_mode=True)


class BinPool(nn.Module):
    """Average pooling to a grid of b x b bins.

    The pooling of Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, arXiv:1612.01105.

    Args:
        spec: Bins a side (as its kernel).

    Shapes:
        [N, C, H, W] -> [N, C, b, b].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.bins = spec.kernel

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        return functional.adaptive_avg_pool2d(x, (self.bins, self.bins))


class ShrinkingPool(nn.Module):
    """Average pooling to 1 / s of the size, by bins that share pixels where s divides no side.

    The aggregation of the token pyramid of Zhang et al., "TopFormer", CVPR 2022, arXiv:2204.05525, section 3.1.

    Args:
        spec: Stride s.

    Shapes:
        [N, C, H, W] -> [N, C, ceil(H / s), ceil(W / s)].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.stride = spec.stride

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        size = (-(-x.shape[2] // self.stride), -(-x.shape[3] // self.stride))
        return functional.adaptive_avg_pool2d(x, size)


class SquareBinPool(BinPool):
    """Average pooling to a grid of b rows of nearly square bins.

    The spatial pyramid of Orsic et al., "In Defense of Pre-trained ImageNet Architectures for Real-time Semantic Segmentation of
    Road-driving Images", CVPR 2019, arXiv:1903.08469.

    Args:
        spec: Rows b (as its kernel).

    Shapes:
        [N, C, H, W] -> [N, C, b, max(1, round(b W / H))].
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        height, width = x.shape[2:]
        return functional.adaptive_avg_pool2d(x, (self.bins, columns(self.bins, height, width)))


class GlobalMaxPool(nn.Module):
    """Largest value of each map.

    The second description of a channel in Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018, arXiv:1807.06521.

    Shapes:
        [N, C, H, W] -> [N, C, 1, 1].
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        return x.amax(dim=(2, 3), keepdim=True)


class ChannelStatistics(nn.Module):
    """Mean and largest value over the channels of each pixel, in this order.

    What spatial attention reads in Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018, arXiv:1807.06521.

    Shapes:
        [N, C, H, W] -> [N, 2, H, W].
    """

    def forward(self, x: Tensor) -> Tensor:
        """Describe each pixel."""
        return torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
