"""Gates and what else works on channels: products and sums that are broadcast, blends, shuffles and slices of channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.ops.spec import OpSpec


class Shift(nn.Module):
    """Sum of a map and of one pixel: y[c, i, j] = x[c, i, j] + v[c].

    The context embedding of Yu et al., "BiSeNet V2", IJCV 2021, arXiv:2004.02147.

    Shapes:
        x [N, C, H, W], v [N, C, 1, 1] -> [N, C, H, W].
    """

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """Add."""
        return x + vector


class Blend(nn.Module):
    """Blend of two maps by a gate of pixels: y = a x + (1 - a) z.

    The unified attention fusion of Peng et al., "PP-LiteSeg", 2022, arXiv:2204.02681, eq. 1, and the pixel-attention-guided fusion
    of Xu et al., "PIDNet", CVPR 2023, arXiv:2206.02066.

    Shapes:
        x [N, C, H, W], z [N, C, H, W], a [N, 1, H, W] -> [N, C, H, W].
    """

    def forward(self, x: Tensor, other: Tensor, gate: Tensor) -> Tensor:
        """Blend."""
        return gate * x + (1 - gate) * other


class Complement(nn.Module):
    """What a gate keeps out: y = 1 - x.

    The boundary-attention-guided fusion of Xu et al., "PIDNet", CVPR 2023, arXiv:2206.02066, Fig. 7.

    Shapes:
        [N, C, H, W] -> [N, C, H, W].
    """

    def forward(self, x: Tensor) -> Tensor:
        """Subtract from one."""
        return 1 - x


class ChannelDot(nn.Module):
    """Sigmoid of the scalar product of two maps at each pixel: a = sigmoid(sum_c x_c y_c).

    The gate of the pixel-attention-guided fusion of Xu et al., "PIDNet", CVPR 2023, arXiv:2206.02066.

    Shapes:
        Both [N, C, H, W] -> [N, 1, H, W].
    """

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Multiply, sum, squash."""
        return torch.sigmoid((x * other).sum(dim=1, keepdim=True))


class ChannelConvSigmoid(nn.Module):
    """Gate of channels from their neighbours: a = sigmoid(w * v), a convolution of k channels without bias.

    Wang et al., "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks", CVPR 2020, arXiv:1910.03151.

    Args:
        spec: Kernel k.

    Shapes:
        [N, C, 1, 1] -> [N, C, 1, 1].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, spec.kernel, padding=spec.kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve along the channels."""
        channels = x.shape[1]
        return torch.sigmoid(self.conv(x.reshape(-1, 1, channels)).reshape(-1, channels, 1, 1))


class ChannelShuffle(nn.Module):
    """Shuffle of channels: channel i of group j becomes channel j of group i.

    Zhang et al., "ShuffleNet", CVPR 2018, arXiv:1707.01083.

    Args:
        spec: Groups.

    Shapes:
        [N, C, H, W] -> [N, C, H, W].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.groups = spec.groups

    def forward(self, x: Tensor) -> Tensor:
        """Shuffle."""
        channels, height, width = x.shape[1:]
        grouped = x.reshape(-1, self.groups, channels // self.groups, height, width)
        return grouped.transpose(1, 2).reshape(-1, channels, height, width)


class FirstChannels(nn.Module):
    """The first channels of a map, as many as go out.

    The split of Gao, "Rethinking Dilated Convolution for Real-time Semantic Segmentation", 2021, arXiv:2111.09957.

    Args:
        spec: Channels c that go out.

    Shapes:
        [N, C, H, W] -> [N, c, H, W].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.channels = spec.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Slice."""
        return x[:, : self.channels]


class LastChannels(FirstChannels):
    """The last channels of a map, as many as go out; see `FirstChannels`.

    The other part of the split of Gao, 2021, arXiv:2111.09957.

    Args:
        spec: Channels c that go out.

    Shapes:
        [N, C, H, W] -> [N, c, H, W].
    """

    def forward(self, x: Tensor) -> Tensor:
        """Slice."""
        return x[:, x.shape[1] - self.channels :]
