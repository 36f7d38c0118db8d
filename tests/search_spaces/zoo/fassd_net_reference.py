"""FASSD-Net, L1 and L2 once more, in plain PyTorch with the official parameter names."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCKS = {"first": (4, 10, 48), "second": (4, 16, 78), "third": (8, 18, 160), "fourth": (8, 24, 214)}
"""Layers, growth and channels out of the dense blocks, as the reference lists them."""


def conv_norm(channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    both = nn.Sequential()
    both.add_module("conv", nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False))
    both.add_module("norm", nn.BatchNorm2d(channels_out))
    both.add_module("relu", nn.ReLU())
    return both


class DenseBlock(nn.Module):
    def __init__(self, channels_in: int, layers: int, growth: int) -> None:
        super().__init__()
        self.layers, self.sources, widths = nn.ModuleList(), [], [channels_in]
        for number in range(1, layers + 1):
            sources, width = [], growth
            for power in range(10):
                if number % 2**power == 0:
                    sources.append(number - 2**power)
                    width = width * 1.7 if power else width
            widths.append(int(int(width + 1) / 2) * 2)
            self.sources.append(sources)
            self.layers.append(conv_norm(sum(widths[source] for source in sources), widths[-1]))

    def forward(self, x: Tensor) -> Tensor:
        results = [x]
        for layer, sources in zip(self.layers, self.sources, strict=True):
            results.append(layer(torch.cat([results[source] for source in sources], dim=1)))
        last = len(self.layers)
        return torch.cat([results[i] for i in range(1, last + 1) if i % 2 or i == last], dim=1)


class Branch(nn.Module):
    def __init__(self, channels_in: int, channels: int, dilation: int) -> None:
        super().__init__()
        self.atrous_conv3x1 = nn.Conv2d(channels_in, channels, (3, 1), padding=(dilation, 0), dilation=dilation, bias=False)
        self.atrous_conv1x3 = nn.Conv2d(channels, channels, (1, 3), padding=(0, dilation), dilation=dilation, bias=False)
        self.bn3x1, self.bn1x3 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn1x3(self.atrous_conv1x3(self.bn3x1(self.atrous_conv3x1(x)).relu())).relu()


class Pyramid(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1x1, self.bn1x1 = nn.Conv2d(channels, half, 1, bias=False), nn.BatchNorm2d(half)
        self.pyBranch2, self.pyBranch3, self.pyBranch4 = (Branch(channels, half, dilation) for dilation in (12, 24, 36))
        self.conv1, self.bn1 = nn.Conv2d(4 * half, channels, 1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.bn1x1(self.conv1x1(x)).relu(), self.pyBranch2(x), self.pyBranch3(x), self.pyBranch4(x)]
        return self.bn1(self.conv1(torch.cat(branches, dim=1))).relu()


class NormPReLU(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn, self.acti = nn.BatchNorm2d(channels, eps=1e-3), nn.PReLU(channels)
        nn.init.uniform_(self.acti.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.acti(self.bn(x))


class ConvNormPReLU(nn.Module):
    def __init__(
        self, channels_in: int, channels_out: int, kernel: tuple[int, int], dilation: int = 1, *, norm: bool = True
    ) -> None:
        super().__init__()
        padding = (dilation * (kernel[0] // 2), dilation * (kernel[1] // 2))
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=padding, dilation=dilation, bias=False)
        if norm:
            self.bn_prelu = NormPReLU(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.bn_prelu(x) if hasattr(self, "bn_prelu") else x


class DilatedAsymmetric(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        half = channels // 2
        self.bn_relu_1, self.bn_relu_2 = NormPReLU(channels), NormPReLU(half)
        self.conv3x3 = ConvNormPReLU(channels, half, (3, 3))
        self.parallel_conv3x3 = ConvNormPReLU(half, half, (3, 3))
        self.parallel_ddconv3x1 = ConvNormPReLU(half, half, (3, 1), dilation)
        self.parallel_ddconv1x3 = ConvNormPReLU(half, half, (1, 3), dilation)
        self.conv1x1 = ConvNormPReLU(half, channels, (1, 1), norm=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3x3(self.bn_relu_1(x))
        y = self.parallel_conv3x3(y) + self.parallel_ddconv1x3(self.parallel_ddconv3x1(y))
        return self.conv1x1(self.bn_relu_2(y)) + x


class FASSDNet(nn.Module):
    """Images [N, 3, H, W] -> logits [N, 19, H, W] of `fassd_net`, `fassd_net_l1` or `fassd_net_l2`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        light = name.endswith("l2")
        self.base = nn.ModuleList(
            [
                conv_norm(3, 16, stride=3 if name.endswith("l1") else 2),
                conv_norm(16, 24, stride=2 if light else 1),
                conv_norm(24, 32, stride=2),
                conv_norm(32, 48),
            ]
        )
        channels = 48
        for (layers, growth, wide), narrow in zip(BLOCKS.values(), (64, 96, 160, 224), strict=True):
            self.base += [DenseBlock(channels, layers, growth), conv_norm(wide, narrow, 1)]
            self.base += [] if narrow == 224 else [nn.AvgPool2d(2)]
            channels = narrow
        self.DAPF = Pyramid(224)
        self.conv1x1_up, self.mda, self.denseBlocksUp = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for block, dilation in (("third", 8), ("second", 4), ("first", 2)):
            layers, growth, wide = BLOCKS[block]
            both = channels + wide
            self.conv1x1_up.append(conv_norm(both, both // 2, 1))
            self.mda.append(DilatedAsymmetric(both // 2, dilation))
            self.denseBlocksUp.append(conv_norm(both // 2, 64) if light else DenseBlock(both // 2, layers, growth))
            channels = 64 if light else wide
        self.finalConv = nn.Conv2d(channels, 19, 1)

    def forward(self, images: Tensor) -> Tensor:
        x, skips = images, []
        for number, part in enumerate(self.base):
            x = part(x)
            if number in (4, 7, 10):
                skips.append(x)
        x = self.DAPF(x)
        for reduce, mda, block in zip(self.conv1x1_up, self.mda, self.denseBlocksUp, strict=True):
            skip = skips.pop()
            x = functional.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=True)
            x = block(mda(reduce(torch.cat([x, skip], dim=1))))
        return functional.interpolate(self.finalConv(x), size=images.shape[2:], mode="bilinear", align_corners=True)
