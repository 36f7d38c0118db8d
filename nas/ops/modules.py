"""The modules that operations are made of. Each takes [N, C, H, W] tensors of any size and keeps no state beside parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.ops.even_conv import EvenConv
from nas.ops.spec import OpSpec


def fan_out_init(conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Draw the weights of a convolution from N(0, 2 / fan_out), fan_out = Cout k^2 whatever the groups.

    He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015, arXiv:1502.01852. Fan-out is [reading] for LGCNet, and what the
    official code of SqueezeNAS does.

    Args:
        conv: The convolution, whose weights change in place.
    """
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")


def pixels_read(x: Tensor, stride: int) -> tuple[Tensor, int]:
    """Pixels that a 1x1 convolution with a stride reads of a map, and the stride that is left.

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
    """1x1 convolution with a stride: y[:, i, j] = W x[:, s i, s j] + b.

    The projection of a shortcut in He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
    arXiv:1512.03385.

    Args:
        As of `nn.Conv2d`, with a kernel of 1 and without padding.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)].
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name of the method that is overridden
        """Apply the convolution to the pixels that it reads."""
        x, stride = pixels_read(input, self.stride[0])
        return functional.conv2d(x, self.weight, self.bias, stride, groups=self.groups)


class ConvBNReLU(nn.Module):
    """Convolution, batch norm, ReLU: y = max(0, BN(W * x)).

    The order of Ioffe, Szegedy, "Batch Normalization", ICML 2015, arXiv:1502.03167. LGCNet (section III-A) begins with three
    convolutional layers; that they have this form is [reading].

    Args:
        spec: Channels, kernel, stride s, dilation and groups.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.conv = same_conv(spec, spec.in_channels, spec.out_channels)
        self.bn = nn.BatchNorm2d(spec.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the three in that order."""
        return functional.relu(self.bn(self.conv(x)))


class ReLUConvBN(nn.Module):
    """ReLU, convolution, batch norm: y = BN(W * max(0, x)).

    The order of the cells of Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, arXiv:1806.09055. LGCNet
    lists the 3x3 convolution (Table II) and the 1x1 convolution (Table III); it does not state the order [reading].

    Args:
        spec: Channels, kernel, stride s, dilation and groups.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.conv = same_conv(spec, spec.in_channels, spec.out_channels)
        self.bn = nn.BatchNorm2d(spec.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the three in that order."""
        output: Tensor = self.bn(self.conv(functional.relu(x)))
        return output


class ReLUSepConvBN(nn.Module):
    """Separable convolution, with a dilation d: y = BN(P (D *_d max(0, x))), D depthwise, P pointwise.

    Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017, arXiv:1610.02357. LGCNet lists it without
    dilation and with d = 2, 4, 8 (Table II), and 12 (Table III). One depthwise stage is [reading].

    Args:
        spec: Channels, kernel of D, stride s of D, dilation d.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)].
    """

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
    """Factorised reduction: y = BN([W1 x[:, 0::2, 0::2], W2 x[:, 1::2, 1::2]]), each 1x1 convolution to half of the channels.

    As in the code of Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, arXiv:1806.09055. An odd side is
    padded by one pixel at its end [reading], so that both halves have ceil(size / 2) pixels. Subclasses add the activation.

    Args:
        spec: Channels that come in and go out.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / 2), ceil(W / 2)].
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
    """Skip connection of stride 2: a shifted reduction of max(0, x).

    The order of the cells of Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, arXiv:1806.09055. LGCNet
    names the skip connection (Table II); its form at stride 2 is [reading].

    Args:
        spec: Channels that come in and go out.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / 2), ceil(W / 2)].
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, ceil(H / 2), ceil(W / 2)]."""
        return self.reduced(functional.relu(x))


class ReduceBNReLU(ShiftedReduce):
    """Skip of stride 2 in FasterSeg's supernet: a shifted reduction, then ReLU.

    Chen et al., "FasterSeg: Searching for Faster Real-time Semantic Segmentation", ICLR 2020, arXiv:1912.10917, as in the official
    code.

    Args:
        spec: Channels that come in and go out.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / 2), ceil(W / 2)].
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, ceil(H / 2), ceil(W / 2)]."""
        return functional.relu(self.reduced(x))


class MaxPool(nn.Module):
    """Max pooling, padded like a convolution: y[c, i, j] = the largest x[c, s i + u, s j + v], |u|, |v| <= k // 2.

    The 3x3 max pooling of Cheng et al., LGCNet, 2023, arXiv:2302.08481, Table II. That no batch norm follows it is [reading].
    Windows of an even k begin at their pixel, 0 <= u, v < k, and those that reach over the edge are cut off there.

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
        even = self.kernel % 2 == 0
        return functional.max_pool2d(x, self.kernel, self.stride, padding=0 if even else self.kernel // 2, ceil_mode=even)


class GridPool(nn.Module):
    """Global pooling to a grid of b x b bins, 1x1 convolution, bilinear resizing: y = up(W pool_b(x) + b0).

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, Table III (b = 1, 2, 5), as in the pyramid of Zhao et al., "Pyramid Scene Parsing
    Network", CVPR 2017, arXiv:1612.01105. The convolution has a bias and no batch norm [reading]: one bin of one image has no
    variance to normalise by.

    Args:
        spec: Channels, bins a side (as its kernel), stride s of the output.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)].
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
    """Bilinear resizing of the first input to the height and width of the second.

    The interpolation of Up2 in Cheng et al., LGCNet, 2023, arXiv:2302.08481, section III-C. That it is bilinear, with align_corners
    False, is [reading].

    Shapes:
        x [N, C, H, W], like [N, *, H', W'] -> [N, C, H', W'].
    """

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """[N, C, H, W], [N, *, H', W'] -> [N, C, H', W']."""
        return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


class TransposedConv(nn.Module):
    """Transposed convolution that doubles the size: y = BN(crop(W^T * max(0, x))).

    The deconvolution of Up2 in Cheng et al., LGCNet, 2023, arXiv:2302.08481, section III-C. The kernel of 4x4, the order and the
    crop to the size of the second input are [reading].

    Args:
        spec: Channels that come in and go out.

    Shapes:
        x [N, Cin, H, W], like [N, *, H', W'] -> [N, Cout, H', W'], H' in {2H - 1, 2H}, W' likewise.
    """

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
    """Scores of the classes of each pixel: s = W x + b, a 1x1 convolution.

    Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, arXiv:1411.4038.

    Args:
        spec: Channels that come in; channels that go out are the classes K.

    Shapes:
        [N, Cin, H, W] -> [N, K, H, W].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.conv = nn.Conv2d(spec.in_channels, spec.out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution."""
        output: Tensor = self.conv(x)
        return output


class Add(nn.Module):
    """Sum of maps of one shape: x_i = sum_{j < i} o_{j,i}(x_j), in which the terms are given.

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, eq. 2. The sum of n maps is n - 1 binary additions.

    Shapes:
        Each [N, C, H, W] -> [N, C, H, W].
    """

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        """Each [N, C, H, W] -> [N, C, H, W]."""
        for other in others:
            first = first + other
        return first


class Concat(nn.Module):
    """Concatenation along the channels.

    The output node of a cell in Cheng et al., LGCNet, 2023, arXiv:2302.08481, section III-B.

    Shapes:
        Each [N, C_i, H, W] -> [N, sum C_i, H, W].
    """

    def forward(self, *maps: Tensor) -> Tensor:
        """Each [N, C_i, H, W] -> [N, sum C_i, H, W]."""
        return torch.cat(maps, dim=1)


class Argmax(nn.Module):
    """Label of each pixel: the class of the largest score.

    The prediction of Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
    arXiv:1411.4038.

    Shapes:
        [N, K, H, W] -> [N, 1, H, W] int64.
    """

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
    return padded_conv(spec, in_channels, out_channels, groups=spec.groups if groups is None else groups, bias=False)


def padded_conv(spec: OpSpec, in_channels: int, out_channels: int, *, groups: int, bias: bool) -> nn.Conv2d:
    """A convolution padded so that the output has ceil(size / stride) pixels."""
    height, width = spec.kernels
    odd_height, odd_width = height % 2, width % 2
    kind = nn.Conv2d if odd_height and odd_width else EvenConv
    if height == width == 1 and spec.stride > 1:
        kind = StridedPointwise
    conv = kind(
        in_channels,
        out_channels,
        (height, width),
        stride=spec.stride,
        padding=(spec.dilation * (height // 2) * odd_height, spec.dilation * (width // 2) * odd_width),
        dilation=spec.dilation,
        groups=groups,
        bias=bias,
    )
    fan_out_init(conv)
    return conv
