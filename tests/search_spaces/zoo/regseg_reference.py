"""RegSeg once more, in plain PyTorch under the names of the official code."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SIXTEENTH = [[1], [1, 2], *[[1, 4]] * 4, *[[1, 14]] * 7]
"""Dilations of the blocks at 1/16 behind the first one."""


def holder(**parts: nn.Module) -> nn.Module:
    """A module without a forward pass of its own."""
    module = nn.Module()
    for name, part in parts.items():
        module.add_module(name, part)
    return module


class Normed(nn.Module):
    """Convolution, batch norm and ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


class Block(nn.Module):
    """The D block."""

    def __init__(self, c_in: int, c_out: int, dilations: list[int], stride: int = 1) -> None:
        super().__init__()
        width = c_out // len(dilations)
        wide = [nn.Conv2d(width, width, 3, stride, d, d, width // 16, bias=False) for d in dilations]
        self.conv2 = wide[0] if len(wide) == 1 else holder(convs=nn.ModuleList(wide))
        self.conv1, self.conv3 = nn.Conv2d(c_in, c_out, 1, bias=False), nn.Conv2d(c_out, c_out, 1, bias=False)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)
        self.se = holder(conv1=nn.Conv2d(c_out, c_in // 4, 1), conv2=nn.Conv2d(c_in // 4, c_out, 1))
        self.stride, self.wide = stride, len(wide)
        if c_in != c_out:
            self.shortcut = holder(conv=nn.Conv2d(c_in, c_out, 1, bias=False), bn=nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        if self.wide == 1:
            y = self.conv2(y)
        else:
            y = torch.cat([conv(part) for conv, part in zip(self.conv2.convs, y.chunk(2, dim=1), strict=True)], dim=1)
        y = self.bn2(y).relu()
        squeezed = self.se.conv1(y.mean(dim=(2, 3), keepdim=True)).relu()
        y = self.bn3(self.conv3(y * self.se.conv2(squeezed).sigmoid()))
        if self.stride == 2:
            x = functional.avg_pool2d(x, 2, 2, ceil_mode=True)
        return (y + (self.shortcut.bn(self.shortcut.conv(x)) if hasattr(self, "shortcut") else x)).relu()


class RegSeg(nn.Module):
    """Images [N, 3, H, W] -> scores at 1/4."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.stem = Normed(3, 32, 3, 2)
        sixteenth = [Block(128, 256, [1], 2), *(Block(256, 256, d) for d in SIXTEENTH[:-1]), Block(256, 320, SIXTEENTH[-1])]
        self.body = holder(
            stage4=Block(32, 48, [1], 2),
            stage8=nn.Sequential(Block(48, 128, [1], 2), Block(128, 128, [1]), Block(128, 128, [1])),
            stage16=nn.Sequential(*sixteenth),
        )
        self.decoder = holder(
            head16=Normed(320, 128), head8=Normed(128, 128), head4=Normed(48, 8), conv8=Normed(128, 64, 3), conv4=Normed(72, 64, 3)
        )
        self.decoder.classifier = nn.Conv2d(64, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        fourth = self.body.stage4(self.stem(images))
        eighth = self.body.stage8(fourth)
        decoder = self.decoder
        high, low = decoder.head8(eighth), decoder.head16(self.body.stage16(eighth))
        x = decoder.conv8(high + functional.interpolate(low, high.shape[2:], mode="bilinear"))
        x = functional.interpolate(x, fourth.shape[2:], mode="bilinear")
        return decoder.classifier(decoder.conv4(torch.cat([x, decoder.head4(fourth)], dim=1)))
