"""The skip of stride 2 in FasterSeg's supernet (Chen et al., ICLR 2020, arXiv 1912.10917): a reduction that ends in ReLU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.ops.modules import fan_out_init
from nas.ops.spec import OpSpec


class ReduceBNReLU(nn.Module):
    """Two 1x1 convolutions of stride 2 on maps shifted by one pixel, each to half of the channels, concatenated; batch norm, ReLU.

    An odd side is padded by one pixel at its end, so that both halves have ceil(size / 2) pixels [reading]: the official code meets
    even sides only.
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        half = spec.out_channels // 2
        self.conv_even = nn.Conv2d(spec.in_channels, spec.out_channels - half, 1, stride=2, bias=False)
        self.conv_odd = nn.Conv2d(spec.in_channels, half, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(spec.out_channels)
        fan_out_init(self.conv_even)
        fan_out_init(self.conv_odd)

    def forward(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, ceil(H / 2), ceil(W / 2)]."""
        height, width = x.shape[2:]
        x = functional.pad(x, (0, width % 2, 0, height % 2))
        return functional.relu(self.bn(torch.cat([self.conv_even(x), self.conv_odd(x[:, :, 1:, 1:])], dim=1)))
