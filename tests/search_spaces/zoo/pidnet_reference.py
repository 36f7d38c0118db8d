"""PIDNet-S once more, in plain PyTorch under the names of the official code."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.search_spaces.zoo.ddrnet_reference import Block, Head, basic_blocks, conv_norm, enlarged, norm_relu_conv, run


def narrow(c_in: int, width: int, stride: int = 1) -> Block:
    """A bottleneck to twice its width."""
    return Block([c_in, width, width, 2 * width], [1, 3, 1], [1, stride, 1])


def normed(c_in: int, c_out: int, kernel: int = 1) -> nn.Sequential:
    return nn.Sequential(*conv_norm(c_in, c_out, kernel))


class Guide(nn.Module):
    """The pixel-attention-guided fusion."""

    def __init__(self) -> None:
        super().__init__()
        self.f_x, self.f_y = normed(64, 32), normed(64, 32)

    def forward(self, fine: Tensor, context: Tensor) -> Tensor:
        agreement = (self.f_x(fine) * enlarged(self.f_y(context), fine)).sum(dim=1, keepdim=True).sigmoid()
        return torch.lerp(fine, enlarged(context, fine), agreement)


class Pyramid(nn.Module):
    """PAPPM of 512 channels."""

    def __init__(self) -> None:
        super().__init__()
        before = [[], *([nn.AvgPool2d(k, s, k // 2)] for k, s in ((5, 2), (9, 4), (17, 8))), [nn.AdaptiveAvgPool2d(1)]]
        for number, pool in enumerate(before):
            self.add_module(f"scale{number}", norm_relu_conv(512, 96, 1, *pool))
        self.scale_process = nn.Sequential(nn.BatchNorm2d(384), nn.ReLU(), nn.Conv2d(384, 384, 3, padding=1, groups=4, bias=False))
        self.compression, self.shortcut = norm_relu_conv(480, 128), norm_relu_conv(512, 128)

    def forward(self, x: Tensor) -> Tensor:
        first = self.scale0(x)
        scales = [enlarged(self.get_submodule(f"scale{number}")(x), x) + first for number in range(1, 5)]
        wide = self.scale_process(torch.cat(scales, dim=1))
        return self.compression(torch.cat([first, wide], dim=1)) + self.shortcut(x)


class PIDNet(nn.Module):
    """Images [N, 3, H, W] -> scores at 1/8."""

    def __init__(self, classes: int = 19, *, heads: bool = True) -> None:
        super().__init__()
        stem = [nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU()]
        self.conv1 = nn.Sequential(*stem)
        self.layer1, self.layer2 = basic_blocks(32, 32), basic_blocks(32, 64, 2)
        self.layer3, self.layer4 = basic_blocks(64, 128, 2, count=3), basic_blocks(128, 256, 2, count=3)
        self.layer5 = nn.Sequential(narrow(256, 256, 2), narrow(512, 256))
        self.compression3, self.compression4 = normed(128, 64), normed(256, 64)
        self.pag3, self.pag4 = Guide(), Guide()
        self.layer3_, self.layer4_, self.layer5_ = basic_blocks(64, 64), basic_blocks(64, 64), nn.Sequential(narrow(64, 64))
        self.layer3_d = Block([64, 32, 32], [3, 3], [1, 1])
        self.layer4_d, self.layer5_d = nn.Sequential(narrow(32, 32)), nn.Sequential(narrow(64, 64))
        self.diff3, self.diff4 = normed(128, 32, 3), normed(256, 64, 3)
        self.spp = Pyramid()
        self.dfm = nn.ModuleDict({"conv_p": normed(128, 128), "conv_i": normed(128, 128)})
        self.final_layer = Head(128, classes, 128)
        if heads:
            self.seghead_p, self.seghead_d = Head(64, classes, 128), Head(64, 1, 32)

    def forward(self, images: Tensor) -> Tensor:
        x = run(self.layer2, run(self.layer1, self.conv1(images)).relu()).relu()
        p, d = run(self.layer3_, x), self.layer3_d(x)
        x = run(self.layer3, x).relu()
        p, d = self.pag3(p, self.compression3(x)).relu(), (d + enlarged(self.diff3(x), d)).relu()
        p, d = run(self.layer4_, p), self.layer4_d(d)
        x = run(self.layer4, x).relu()
        p, d = self.pag4(p, self.compression4(x)).relu(), (d + enlarged(self.diff4(x), d)).relu()
        p, edge = self.layer5_(p), self.layer5_d(d).sigmoid()
        i = enlarged(self.spp(self.layer5(x)), p)
        return self.final_layer(self.dfm["conv_p"](p + i - edge * i) + self.dfm["conv_i"](i + edge * p))
