"""JetSeg once more, in plain PyTorch with the official parameter names; it computes what it throws away, too."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SETTINGS = {"workstation": (32, 512, 1024, (0, 2, 4, 2)), "agx": (16, 256, 256, (0, 2, 4, 2)), "nano": (8, 64, 64, (0, 0, 1, 1))}
"""Mode -> base width, caps of widths and of expansions, residual blocks a size in stages 0 to 3."""
CONVOLUTIONS = {
    (0, False): (-7, 1, -5, 3),
    (1, False): (3, -5, 1, -7),
    (2, False): (3, -5),
    (3, False): (1,),
    (1, True): (-7, 3),
    (2, True): (-5, 3),
    (3, True): (3,),
}
"""(Stage, residual) -> kernel sizes of the depthwise convolutions; negative: an asymmetric pair."""


def group_count(first: int, second: int) -> int:
    common = math.gcd(first, second)
    divisors = [number for number in range(1, common + 1) if common % number == 0]
    distances = [abs(number - sum(divisors) / len(divisors)) for number in divisors]
    return divisors[distances.index(min(distances))]


def rectified_exponential(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * torch.exp(x))


class REU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return rectified_exponential(x)


class Shuffle(nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


class JetConv(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stage: int, *, residual: bool, stride: int = 1) -> None:
        super().__init__()
        self.ops, self.residual = nn.ModuleDict(), residual
        for signed in CONVOLUTIONS[stage, residual]:
            size, dilation = abs(signed), {7: 3, 5: 2}.get(-signed, 1)
            level = 0 if residual else {7: 3, 5: 2}.get(size, 1)
            padding = dilation * (size - 1) // 2
            shared = {"groups": channels_in, "bias": False}
            if signed > 0:
                self.ops[f"lvl_{level}_ks{size}_standard"] = nn.Conv2d(channels_in, channels_in, size, padding=padding, **shared)
                continue
            for side, pick in (("l", (1, 0)), ("r", (0, 1))):
                along, across = ((size, padding, dilation), (1, 0, 1)) if pick == (1, 0) else ((1, 0, 1), (size, padding, dilation))
                kernels, paddings, dilations = zip(along, across, strict=True)
                self.ops[f"lvl_{level}_ks{size}_asymmetric_side_{side}"] = nn.Conv2d(
                    channels_in, channels_in, kernels, padding=paddings, dilation=dilations, **shared
                )
        groups = group_count(channels_in, channels_out)
        self.pw = nn.Conv2d(channels_in, channels_out, 1, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for convolution in self.ops.values():
            y = convolution(y)
        y = self.pw(y)
        return y + x if self.residual else y


class CBAM(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel_gate, self.spatial_gate = nn.Module(), nn.Module()
        self.channel_gate.fc1 = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.channel_gate.fc2 = nn.Conv2d(channels // 8, channels, 1, bias=False)
        self.spatial_gate.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.adaptive_avg_pool2d(x, 1), functional.adaptive_max_pool2d(x, 1)
        x = x * sum(self.channel_gate.fc2(self.channel_gate.fc1(one).relu()) for one in pooled).sigmoid()
        both = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], 1)
        return x * self.spatial_gate.conv(both).sigmoid()


class SAM(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.conv1(x).sigmoid()
        return x * gate * (functional.adaptive_avg_pool2d(gate, 1) + functional.adaptive_max_pool2d(gate, 1))


class ECA(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        size = math.floor((math.log2(channels) + 1) / 2)
        size += size % 2 == 0
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3)).unsqueeze(1)
        return x * self.conv(pooled).sigmoid().squeeze(1)[:, :, None, None]


class JetBlock(nn.Module):
    def __init__(self, widths: tuple[int, int, int], stage: int, attention: type | None, *, residual: bool, stride: int) -> None:
        super().__init__()
        (narrow, inside, out), self.residual = widths, residual
        if stage == 0:
            first = JetConv(narrow, out, 0, residual=False, stride=2)
            self.ops = nn.ModuleList([first, nn.BatchNorm2d(out), REU()])
            return
        groups = group_count(narrow, inside)
        self.ops = nn.ModuleList(
            [
                nn.Conv2d(narrow, inside, 1, stride, groups=groups, bias=False),
                nn.BatchNorm2d(inside),
                REU(),
                Shuffle(groups),
                JetConv(inside, inside, stage, residual=residual),
                attention(inside),
                REU(),
                nn.Conv2d(inside, out, 1, groups=group_count(inside, out), bias=False),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        for op in self.ops:
            x = op(x) + x if self.residual else op(x)
        return x


class ConvNormREU(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return rectified_exponential(self.bn(self.conv(x)))


class JetSeg(nn.Module):
    """Images [N, 3, H, W] -> logits [N, 32, H, W] of a mode configured for a larger side."""

    def __init__(self, mode: str, side: int) -> None:
        super().__init__()
        base, cap, inner_cap, repeats = SETTINGS[mode]
        sides = [side]
        while sides[-1] > 16:
            sides.append(math.ceil(sides[-1] / 2))
        third, blocks, width, heads = len(sides) // 3, [], 3, []
        for number, size in enumerate(sides):
            stage = 0 if number == 0 else 1 if number < third else 2 if number < 2 * third else 3
            attention = CBAM if number < third else SAM if number < 2 * third else ECA
            for _ in range(repeats[stage]):
                blocks.append(JetBlock((width, width, width), stage, attention, residual=True, stride=1))
            if number in (third - 1, 2 * third - 1, len(sides) - 1):
                heads.append((size, width))
            out = min((base, width + base, width + 2 * base, 2 * width)[stage], cap)
            inside = min(2 * width, inner_cap)
            blocks.append(JetBlock((width, inside, out), stage, attention, residual=False, stride=2 if size > 16 else 1))
            width = out
        self.halvings = [round(math.log2(side / size)) for size, _ in heads]
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.encoder = nn.ModuleList(blocks)
        self.decoder.heads = nn.ModuleList(nn.ModuleDict({"head": ConvNormREU(width, cap)}) for _, width in reversed(heads))
        self.decoder.conv, self.decoder.last_conv = ConvNormREU(cap, cap), ConvNormREU(2 * cap, cap)
        self.decoder.classifier = nn.Sequential(nn.Conv2d(cap, 32, 1))

    def forward(self, images: Tensor) -> Tensor:
        x, last_of_size = images, {}
        for block in self.encoder.encoder:
            x = block(x)
            last_of_size[x.shape[2]] = x
        features = [last_of_size[math.ceil(images.shape[2] / 2**halvings)] for halvings in reversed(self.halvings)]
        maps = [module["head"](one) for module, one in zip(self.decoder.heads, features, strict=True)]
        for deeper, finer in zip(maps, maps[1:], strict=False):
            total = finer + functional.interpolate(deeper, finer.shape[2:], mode="bilinear")
        joined = torch.cat([self.decoder.conv(total), maps[-1]], dim=1)
        scores = self.decoder.classifier(self.decoder.last_conv(joined))
        return functional.interpolate(scores, images.shape[2:], mode="bilinear")
