"""Attention that is linear in the number of pixels: keys and values are multiplied first, so that no map of pixel pairs exists.

Sums over all pixels leave the range of float16 in large maps: where a training computes in less than float32, these do not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.ops.spec import OpSpec

EPS = 2.0**-14
"""Smallest square of a length, and what is added to a sum of similarities: the smallest normal number of float16.

Official codes have less, which float16 rounds to 0."""


def _in_autocast(x: Tensor) -> bool:
    """Whether PyTorch chooses the precision of what is computed with `x`; of a tensor without content nothing is computed."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


class FastAttention(nn.Module):
    """Attention by cosines without softmax: y = q (k^T v), q and k of length 1 at each pixel.

    Hu, Perazzi, Heilbron, Wang, Lin, Saenko, Sclaroff, "Real-time Semantic Segmentation with Fast Attention", RA-L 2021,
    arXiv:2007.03815, eq. 4, whose official code leaves out the division by the number of pixels.

    Shapes:
        q [N, d, H, W], k [N, d, H, W], v [N, C, H, W] -> [N, C, H, W].
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend."""
        if _in_autocast(value):
            with torch.autocast(value.device.type, enabled=False):
                return self.forward(query.float(), key.float(), value.float())
        channels, height, width = value.shape[1:]
        depth = key.shape[1]
        query = _of_length_one(query).reshape(-1, depth, height * width)
        key = _of_length_one(key).reshape(-1, depth, height * width)
        context = torch.matmul(value.reshape(-1, channels, height * width), key.transpose(1, 2))  # [N, C, d]
        return torch.matmul(context, query).reshape(-1, channels, height, width)


def _of_length_one(x: Tensor) -> Tensor:
    """[N, d, H, W], divided by the length over the channels."""
    return x * x.square().sum(dim=1, keepdim=True).clamp(min=EPS).sqrt().reciprocal()


class ReLULinearAttention(nn.Module):
    """Linear attention of several heads: y_i = sum_j relu(q_i) relu(k_j)^T v_j / sum_j relu(q_i) relu(k_j)^T.

    Cai, Li, Hu, Gan, Han, "EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction", ICCV 2023,
    arXiv:2205.14756, eq. 2.

    Args:
        spec: Heads (as its groups); a third of each head's channels are q, k and v, in this order.

    Shapes:
        [N, 3 C, H, W] -> [N, C, H, W].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.heads, self.channels = spec.groups, spec.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        if _in_autocast(x):
            with torch.autocast(x.device.type, enabled=False):
                return self.forward(x.float())
        height, width = x.shape[2:]
        depth = self.channels // self.heads
        query, key, value = x.reshape(-1, self.heads, 3 * depth, height * width).split(depth, dim=2)
        key = functional.relu(key).transpose(2, 3)  # [N, heads, H W, depth]
        value = functional.pad(value, (0, 0, 0, 1), value=1.0)  # a row of ones sums the similarities
        summed = torch.matmul(torch.matmul(value, key), functional.relu(query))  # [N, heads, depth + 1, H W]
        attended = summed[:, :, :depth] * (summed[:, :, depth:] + EPS).reciprocal()
        return attended.reshape(-1, self.channels, height, width)
