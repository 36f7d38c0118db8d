"""DDRNet-23-slim once more, in plain PyTorch under the names of the official code; sides of images are multiples of 8."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def norm_relu_conv(c_in: int, c_out: int, kernel: int = 1, *before: nn.Module) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(*before, nn.BatchNorm2d(c_in), nn.ReLU(), conv)


def conv_norm(c_in: int, c_out: int, kernel: int = 1, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(c_out)]


def enlarged(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class Block(nn.Module):
    """Convolutions of the given kernels under `conv1`, `bn1`, ...; the second last has the stride of a bottleneck."""

    def __init__(self, widths: list[int], kernels: list[int], strides: list[int]) -> None:
        super().__init__()
        for number, (kernel, stride) in enumerate(zip(kernels, strides, strict=True), 1):
            conv, norm = conv_norm(widths[number - 1], widths[number], kernel, stride)
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", norm)
        self.count = len(kernels)
        if widths[0] != widths[-1] or max(strides) > 1:
            self.downsample = nn.Sequential(*conv_norm(widths[0], widths[-1], 1, max(strides)))

    def forward(self, x: Tensor) -> Tensor:
        """The sum, before its ReLU."""
        y = x
        for number in range(1, self.count + 1):
            y = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(y.relu() if number > 1 else y))
        return y + (self.downsample(x) if hasattr(self, "downsample") else x)


def basic_blocks(c_in: int, c_out: int, stride: int = 1, *, count: int = 2) -> nn.Sequential:
    rest = [Block([c_out, c_out, c_out], [3, 3], [1, 1]) for _ in range(count - 1)]
    return nn.Sequential(Block([c_in, c_out, c_out], [3, 3], [stride, 1]), *rest)


def run(stage: nn.Sequential, x: Tensor) -> Tensor:
    """Blocks with a ReLU between them."""
    for number, block in enumerate(stage):
        x = block(x.relu() if number else x)
    return x


class Pyramid(nn.Module):
    """DAPPM of 512 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.scale0 = norm_relu_conv(512, 128)
        self.scale1 = norm_relu_conv(512, 128, 1, nn.AvgPool2d(5, 2, 2))
        self.scale2 = norm_relu_conv(512, 128, 1, nn.AvgPool2d(9, 4, 4))
        self.scale3 = norm_relu_conv(512, 128, 1, nn.AvgPool2d(17, 8, 8))
        self.scale4 = norm_relu_conv(512, 128, 1, nn.AdaptiveAvgPool2d(1))
        for number in range(1, 5):
            self.add_module(f"process{number}", norm_relu_conv(128, 128, 3))
        self.compression, self.shortcut = norm_relu_conv(640, 128), norm_relu_conv(512, 128)

    def forward(self, x: Tensor) -> Tensor:
        scales = [self.scale0(x)]
        for number in range(1, 5):
            wide = enlarged(self.get_submodule(f"scale{number}")(x), x)
            scales.append(self.get_submodule(f"process{number}")(wide + scales[-1]))
        return self.compression(torch.cat(scales, dim=1)) + self.shortcut(x)


class Head(nn.Module):
    """Scores of the classes."""

    def __init__(self, channels: int, classes: int, width: int = 64) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.bn2(self.conv1(self.bn1(x).relu())).relu())


class DDRNet(nn.Module):
    """Images [N, 3, H, W] -> scores at 1/8 [N, classes, H / 8, W / 8]."""

    def __init__(self, classes: int = 19, *, auxiliary: bool = False) -> None:
        super().__init__()
        stem = [nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU()]
        self.conv1 = nn.Sequential(*stem)
        self.layer1, self.layer2 = basic_blocks(32, 32), basic_blocks(32, 64, 2)
        self.layer3, self.layer4 = basic_blocks(64, 128, 2), basic_blocks(128, 256, 2)
        self.layer5 = nn.Sequential(Block([256, 256, 256, 512], [1, 3, 1], [1, 2, 1]))
        self.layer3_, self.layer4_ = basic_blocks(64, 64), basic_blocks(64, 64)
        self.layer5_ = nn.Sequential(Block([64, 64, 64, 128], [1, 3, 1], [1, 1, 1]))
        self.compression3, self.compression4 = (nn.Sequential(*conv_norm(c, 64)) for c in (128, 256))
        self.down3 = nn.Sequential(*conv_norm(64, 128, 3, 2))
        self.down4 = nn.Sequential(*conv_norm(64, 128, 3, 2), nn.ReLU(), *conv_norm(128, 256, 3, 2))
        self.spp, self.final_layer = Pyramid(), Head(128, classes)
        if auxiliary:
            self.seghead_extra = Head(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        eighth = run(self.layer2, run(self.layer1, self.conv1(images)).relu()).relu()
        deep, fine = run(self.layer3, eighth), run(self.layer3_, eighth)
        deep, fine = deep + self.down3(fine.relu()), fine + enlarged(self.compression3(deep.relu()), fine)
        deep, fine = run(self.layer4, deep.relu()), run(self.layer4_, fine.relu())
        deep, fine = deep + self.down4(fine.relu()), fine + enlarged(self.compression4(deep.relu()), fine)
        fine = self.layer5_(fine.relu())
        return self.final_layer(fine + enlarged(self.spp(self.layer5(deep.relu())), fine))
