"""DABNet built once more in plain PyTorch, under the names of the official checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def prelu_norm(channels: int) -> nn.Module:
    """Batch norm and PReLU."""
    both = nn.Sequential()
    both.add_module("bn", nn.BatchNorm2d(channels, eps=1e-3))
    both.add_module("acti", nn.PReLU(channels))
    return both


def conv(before: int, after: int, kernel: tuple[int, int], *, active: bool = True, **settings: int) -> nn.Sequential:
    """Convolution without bias, and what follows it."""
    dilation = settings.get("dilation", 1)
    padding = (dilation * (kernel[0] // 2), dilation * (kernel[1] // 2))
    layer = nn.Sequential()
    layer.add_module("conv", nn.Conv2d(before, after, kernel, padding=padding, bias=False, **settings))
    if active:
        layer.add_module("bn_prelu", prelu_norm(after))
    return layer


class Module(nn.Module):
    """The asymmetric bottleneck."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        half = channels // 2
        self.bn_relu_1 = prelu_norm(channels)
        self.conv3x3 = conv(channels, half, (3, 3))
        self.dconv3x1 = conv(half, half, (3, 1), groups=half)
        self.dconv1x3 = conv(half, half, (1, 3), groups=half)
        self.ddconv3x1 = conv(half, half, (3, 1), groups=half, dilation=dilation)
        self.ddconv1x3 = conv(half, half, (1, 3), groups=half, dilation=dilation)
        self.bn_relu_2 = prelu_norm(half)
        self.conv1x1 = conv(half, channels, (1, 1), active=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3x3(self.bn_relu_1(x))
        both = self.dconv1x3(self.dconv3x1(y)) + self.ddconv1x3(self.ddconv3x1(y))
        return x + self.conv1x1(self.bn_relu_2(both))


class Down(nn.Module):
    """Half the size."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.pools = before < after
        self.conv3x3 = conv(before, after - before if self.pools else after, (3, 3), active=False, stride=2)
        self.bn_prelu = prelu_norm(after)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3x3(x)
        return self.bn_prelu(torch.cat([y, functional.max_pool2d(x, 2)], dim=1) if self.pools else y)


class DABNet(nn.Module):
    """[N, 3, H, W], sides that give even maps at 1/2 and 1/4 -> logits of 19 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.init_conv = nn.Sequential(conv(3, 32, (3, 3), stride=2), conv(32, 32, (3, 3)), conv(32, 32, (3, 3)))
        self.bn_prelu_1, self.bn_prelu_2, self.bn_prelu_3 = prelu_norm(35), prelu_norm(131), prelu_norm(259)
        self.downsample_1, self.downsample_2 = Down(35, 64), Down(131, 128)
        self.DAB_Block_1, self.DAB_Block_2 = nn.Sequential(), nn.Sequential()
        for number in range(3):
            self.DAB_Block_1.add_module(f"DAB_Module_1_{number}", Module(64, 2))
        for number in range(6):
            self.DAB_Block_2.add_module(f"DAB_Module_2_{number}", Module(128, 4 * 2 ** (number // 2)))
        self.classifier = nn.Sequential(conv(259, 19, (1, 1), active=False))

    def forward(self, images: Tensor) -> Tensor:
        halves = [images]
        for _ in range(3):
            halves.append(functional.avg_pool2d(halves[-1], 3, stride=2, padding=1))
        x = self.bn_prelu_1(torch.cat([self.init_conv(images), halves[1]], dim=1))
        x = self.downsample_1(x)
        x = self.bn_prelu_2(torch.cat([self.DAB_Block_1(x), x, halves[2]], dim=1))
        x = self.downsample_2(x)
        x = self.bn_prelu_3(torch.cat([self.DAB_Block_2(x), x, halves[3]], dim=1))
        return functional.interpolate(self.classifier(x), images.shape[2:], mode="bilinear", align_corners=False)
