"""SqueezeNAS as the reference describes it: where its files lie, its numbers, and its networks built once more by other means."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.space.genotype import Genotype

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "reference" / "squeezenas"
needs_reference = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the SqueezeNAS reference is not at ../shared/reference/squeezenas"
)

NETWORKS = {
    "lat_small": (465_774, 4_465_098_752, 294),
    "lat_large": (1_918_734, 19_574_636_544, 396),
    "lat_xlarge": (3_059_323, 32_729_202_688, 430),
    "mac_small": (277_598, 3_007_512_576, 366),
    "mac_large": (704_382, 9_386_147_840, 414),
    "mac_xlarge": (1_819_563, 21_838_299_136, 406),
}
"""Network -> parameters, MACs of convolutions at 1024x2048, entries of the state_dict; measured on the official code."""

SUPERNETS = {"small": (3_668_626, 260), "large": (11_581_892, 286), "xlarge": (26_146_457, 286)}
"""Space -> parameters with logits, logits."""

MACROS = {
    "small": (16, "16*4/2 24*4/2 40*4/2 48*4/1 96*4/1", 256, 7),
    "large": (16, "16*1/1 24*4/2 32*4/2 64*4/2 96*4/1 160*4/1 160*1/1", None, 8),
    "xlarge": (48, "24*1/1 32*4/2 48*4/2 96*4/2 144*4/1 240*4/1 320*1/1", None, 4),
}
"""Space -> stem, channels*repeats/stride of the stages, last channels, low-level block, of the official code."""


def conv_norm(in_channels: int, out_channels: int, names: str = "conv bn", **settings) -> nn.Sequential:
    """Convolution without bias and batch norm under the names that the official code gives them."""
    both = nn.Sequential()
    conv, norm = names.split()
    both.add_module(conv, nn.Conv2d(in_channels, out_channels, settings.pop("kernel", 1), bias=False, **settings))
    both.add_module(norm, nn.BatchNorm2d(out_channels))
    return both


class Residual(nn.Module):
    """A block of the official code, under its parameter names."""

    def __init__(self, choice: str, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.adds = stride == 1 and c_in == c_out
        self.is_skip = choice == "skip"
        self.halves = self.is_skip and stride == 2
        if self.halves:
            self.op = nn.Module()
            for half in ("conv_1", "conv_2"):
                self.op.add_module(half, conv_norm(c_in, c_out // 2, "0 1", stride=2))
        elif self.is_skip:
            self.op = nn.Identity() if self.adds else nn.Sequential()
            if not self.adds:
                self.op.op = nn.Sequential(nn.ReLU(), *conv_norm(c_in, c_out, "1 2"))
        else:
            self.op = inverted_residual(choice, c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.halves:
            positive = x.clamp(min=0)
            return torch.cat([self.op.conv_1(positive), self.op.conv_2(positive[:, :, 1:, 1:])], dim=1)
        if self.is_skip and self.adds:
            return x
        return x + self.op(x) if self.adds else self.op(x)


def inverted_residual(choice: str, c_in: int, c_out: int, stride: int) -> nn.Sequential:
    numbers = {part[0]: int(part[1:]) for part in choice.split("_")}
    kernel, groups, dilation = numbers["k"], numbers["g"], numbers.get("d", 1)
    hidden = c_in * numbers["e"]
    filtering = {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": dilation * (kernel - 1) // 2}
    return nn.Sequential(
        *conv_norm(c_in, hidden, groups=groups),
        nn.ReLU(),
        *conv_norm(hidden, hidden, groups=hidden, **filtering),
        nn.ReLU(),
        *conv_norm(hidden, c_out, groups=groups),
    )


class Reference(nn.Module):
    """A network of the reference with the official parameter names: images [N, 3, H, W], sides multiples of 16 -> logits."""

    def __init__(self, genotype: Genotype) -> None:
        super().__init__()
        stem, stages, last, self.low = MACROS[genotype.space.removeprefix("squeezenas_")]
        self.encoder = nn.Module()
        self.encoder.conv1 = conv_norm(3, stem, "0 1", kernel=3, stride=2, padding=1)
        blocks, channels, low_channels = [], stem, 0
        choices = iter(genotype.choices.values())
        for stage in stages.split():
            wide, rest = stage.split("*")
            repeats, stride = rest.split("/")
            for i in range(int(repeats)):
                blocks.append(Residual(next(choices), channels, int(wide), int(stride) if i == 0 else 1))
                channels = int(wide)
                low_channels = channels if len(blocks) == self.low + 1 else low_channels
        self.encoder.residuals = nn.ModuleList(blocks)
        if last is not None:
            self.encoder.last_conv = conv_norm(channels, last, "0 1")
            channels = last
        self.is_aspp = genotype.space.endswith("xlarge")
        self.decoder = nn.Module()
        (self._add_aspp if self.is_aspp else self._add_lr_aspp)(channels, low_channels)

    def _add_lr_aspp(self, channels: int, low_channels: int) -> None:
        self.decoder._1x1_TL = conv_norm(channels, 128)
        self.decoder._1x1_BL = nn.Conv2d(channels, 128, 1)
        self.decoder._1x1_TR = nn.Conv2d(128, 19, 1)
        self.decoder._1x1_BR = nn.Conv2d(low_channels, 19, 1)

    def _add_aspp(self, channels: int, low_channels: int) -> None:
        self.decoder._1x1_1_conv = conv_norm(channels, 160)
        for i, rate in enumerate((6, 12, 18), start=1):
            wide = conv_norm(channels, 160, kernel=3, dilation=rate, padding=rate, groups=160)
            self.decoder.add_module(f"_3x3_{i}_conv", wide)
        self.decoder._1x1_2_conv = conv_norm(4 * 160 + channels, 160)
        self.lowlevel1x1 = nn.Conv2d(low_channels, low_channels, 1)
        both = 160 + low_channels
        self.logits2 = conv_norm(both, both, kernel=3, padding=1, groups=both)
        self.logits3 = nn.Conv2d(both, 19, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = low = self.encoder.conv1(images).relu()
        for i, block in enumerate(self.encoder.residuals):
            x = block(x)
            low = x if i == self.low else low
        if hasattr(self.encoder, "last_conv"):
            x = self.encoder.last_conv(x).relu()
        return self._aspp(x, low) if self.is_aspp else self._lr_aspp(x, low)

    def _lr_aspp(self, x: Tensor, low: Tensor) -> Tensor:
        height, width = x.shape[2:]
        pooled = functional.avg_pool2d(x, (min(49, height), min(49, width)), (16, 20))
        gate = functional.interpolate(self.decoder._1x1_BL(pooled).sigmoid(), (height, width), mode="bilinear")
        gated = functional.interpolate(self.decoder._1x1_TL(x).relu() * gate, scale_factor=2, mode="bilinear")
        scores = self.decoder._1x1_TR(gated) + self.decoder._1x1_BR(low)
        return functional.interpolate(scores, scale_factor=8, mode="bilinear", align_corners=True)

    def _aspp(self, x: Tensor, low: Tensor) -> Tensor:
        names = ("_1x1_1_conv", "_3x3_1_conv", "_3x3_2_conv", "_3x3_3_conv")
        branches = [self.decoder.get_submodule(name)(x).relu() for name in names]
        average = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
        context = self.decoder._1x1_2_conv(torch.cat([*branches, average], dim=1)).relu()
        context = functional.interpolate(context, scale_factor=4, mode="bilinear", align_corners=True)
        refined = self.logits2(torch.cat([context, self.lowlevel1x1(low)], dim=1)).relu()
        return functional.interpolate(self.logits3(refined), scale_factor=4, mode="bilinear", align_corners=True)
