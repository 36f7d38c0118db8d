"""The modules that operations are made of. Each takes [N, C, H, W] tensors of any size and keeps no state beside parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.ops.spec import OpSpec


def fan_out_init(conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Weights from N(0, 2 / fan_out), fan_out = Cout k^2 whatever the groups (He et al., 2015)."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")


def pixels_read(x: Tensor, stride: int) -> tuple[Tensor, int]:
    """What a 1x1 convolution with a stride reads of a map, and the stride that is left.

    Where gradients are recorded on a CPU (and nothing is exported), the pixels themselves: oneDNN (the one of PyTorch 2.13) writes
    beside its memory in the gradient of the weights of such a convolution, if channels come last and are fewer than 16 (oneDNN
    issue 6035).

    Args:
        x: [N, C, H, W].
        stride: Of the convolution.
    """
    if stride > 1 and torch.is_grad_enabled() and x.device.type == "cpu" and not torch.compiler.is_exporting():
        return x[:, :, ::stride, ::stride], 1
    return x, stride


class StridedPointwise(nn.Conv2d):
    """A 1x1 convolution with a stride: [N, Cin, H, W] -> [N, Cout, ceil(H / stride), ceil(W / stride)]."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name of the method that is overridden
        """Apply the convolution to the pixels that it reads."""
        x, stride = pixels_read(input, self.stride[0])
        return functional.conv2d(x, self.weight, self.bias, stride, groups=self.groups)


class ConvBNReLU(nn.Module):
    """Convolution, batch norm, ReLU: [N, Cin, H, W] -> [N, Cout, ceil(H / stride), ceil(W / stride)]."""

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.conv = same_conv(spec, spec.in_channels, spec.out_channels)
        self.bn = nn.BatchNorm2d(spec.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the three in that order."""
        return functional.relu(self.bn(self.conv(x)))


class ReLUConvBN(nn.Module):
    """ReLU, convolution, batch norm, the order of DARTS's cells: [N, Cin, H, W] -> [N, Cout, ceil(H/s), ceil(W/s)]."""

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.conv = same_conv(spec, spec.in_channels, spec.out_channels)
        self.bn = nn.BatchNorm2d(spec.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the three in that order."""
        output: Tensor = self.bn(self.conv(functional.relu(x)))
        return output


class ReLUSepConvBN(nn.Module):
    """ReLU, depthwise convolution, 1x1 convolution, batch norm: one depthwise stage [reading]."""

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.depthwise = same_conv(spec, spec.in_channels, spec.in_channels, groups=spec.in_channels)
        self.pointwise = nn.Conv2d(spec.in_channels, spec.out_channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(spec.out_channels)
        fan_out_init(self.pointwise)

    def forward(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, ceil(H / stride), ceil(W / stride)]."""
        output: Tensor = self.bn(self.pointwise(self.depthwise(functional.relu(x))))
        return output


class ShiftedReduce(nn.Module):
    """Two 1x1 convolutions of stride 2 on maps shifted by one pixel, each to half of the channels, concatenated; batch norm.

    An odd side is padded by one pixel at its end, so that both halves have ceil(size / 2) pixels. Subclasses say what lies
    before and behind.
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        half = spec.out_channels // 2
        self.conv_even = StridedPointwise(spec.in_channels, spec.out_channels - half, 1, stride=2, bias=False)
        self.conv_odd = StridedPointwise(spec.in_channels, half, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(spec.out_channels)
        fan_out_init(self.conv_even)
        fan_out_init(self.conv_odd)

    def reduced(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, ceil(H / 2), ceil(W / 2)]."""
        height, width = x.shape[2:]
        x = functional.pad(x, (0, width % 2, 0, height % 2))
        output: Tensor = self.bn(torch.cat([self.conv_even(x), self.conv_odd(x[:, :, 1:, 1:])], dim=1))
        return output


class FactorizedReduce(ShiftedReduce):
    """ReLU, then a shifted reduction, the order of DARTS's cells."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, ceil(H / 2), ceil(W / 2)]."""
        return self.reduced(functional.relu(x))


class ReduceBNReLU(ShiftedReduce):
    """A shifted reduction, then ReLU: the skip of stride 2 in FasterSeg's supernet (Chen et al., ICLR 2020, arXiv 1912.10917)."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, ceil(H / 2), ceil(W / 2)]."""
        return functional.relu(self.reduced(x))


class MaxPool(nn.Module):
    """Max pooling, padded like a convolution: [N, C, H, W] -> [N, C, ceil(H / stride), ceil(W / stride)]."""

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.kernel = spec.kernel
        self.stride = spec.stride

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        return functional.max_pool2d(x, self.kernel, self.stride, padding=self.kernel // 2)


class GridPool(nn.Module):
    """Average pooling to a grid of bins, 1x1 convolution, bilinear resizing to ceil(size / stride).

    The convolution has a bias and no batch norm [reading]: one bin of one image has no variance to normalise by.
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.bins = spec.kernel
        self.stride = spec.stride
        self.conv = nn.Conv2d(spec.in_channels, spec.out_channels, 1)
        fan_out_init(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, ceil(H / stride), ceil(W / stride)]."""
        size = (-(-x.shape[2] // self.stride), -(-x.shape[3] // self.stride))
        pooled = self.conv(functional.adaptive_avg_pool2d(x, self.bins))
        return functional.interpolate(pooled, size=size, mode="bilinear", align_corners=False)


class Resize(nn.Module):
    """Bilinear resizing (align_corners False) of the first input to the height and width of the second."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """[N, C, H, W], [N, *, H', W'] -> [N, C, H', W']."""
        return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


class TransposedConv(nn.Module):
    """ReLU, transposed convolution 4x4 that doubles the size [reading], crop to the size of the second input, batch norm."""

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(spec.in_channels, spec.out_channels, 4, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(spec.out_channels)
        fan_out_init(self.conv)

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """[N, Cin, H, W], [N, *, H', W'] -> [N, Cout, H', W'] with H' in {2H - 1, 2H}, W' likewise."""
        up = self.conv(functional.relu(x))
        output: Tensor = self.bn(up[:, :, : like.shape[2], : like.shape[3]])
        return output


class Classifier(nn.Module):
    """1x1 convolution with bias to the classes: [N, Cin, H, W] -> [N, classes, H, W]."""

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.conv = nn.Conv2d(spec.in_channels, spec.out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution."""
        output: Tensor = self.conv(x)
        return output


class Add(nn.Module):
    """Sum of maps of one shape; n maps are n - 1 binary additions."""

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        """Each [N, C, H, W] -> [N, C, H, W]."""
        for other in others:
            first = first + other
        return first


class Concat(nn.Module):
    """Concatenation along the channels."""

    def forward(self, *maps: Tensor) -> Tensor:
        """Each [N, C_i, H, W] -> [N, sum C_i, H, W]."""
        return torch.cat(maps, dim=1)


class Argmax(nn.Module):
    """The label of each pixel: [N, classes, H, W] -> [N, 1, H, W] int64."""

    def forward(self, logits: Tensor) -> Tensor:
        """Take a largest logit."""
        return predicted_labels(logits)[:, None]


def predicted_labels(logits: Tensor) -> Tensor:
    """The label of each pixel: [N, classes, H, W] -> [N, H, W] int64.

    By `max`, not `argmax`: across channels PyTorch's CPU kernel of the latter is several times slower.
    """
    return logits.max(dim=1).indices


def same_conv(spec: OpSpec, in_channels: int, out_channels: int, *, groups: int | None = None) -> nn.Conv2d:
    """A convolution without bias, padded so that the output has ceil(size / stride) pixels."""
    kind = StridedPointwise if spec.kernel == 1 and spec.stride > 1 else nn.Conv2d
    conv = kind(
        in_channels,
        out_channels,
        spec.kernel,
        stride=spec.stride,
        padding=spec.dilation * (spec.kernel // 2),
        dilation=spec.dilation,
        groups=spec.groups if groups is None else groups,
        bias=False,
    )
    fan_out_init(conv)
    return conv
