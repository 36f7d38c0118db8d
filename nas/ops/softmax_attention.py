"""Attention of every pixel to every other, with softmax: its cost grows with the square of the number of pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.ops.spec import OpSpec


class SoftmaxAttention(nn.Module):
    """Attention of several heads without a scale: y_i = sum_j softmax_j(q_i^T k_j) v_j.

    Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, eq. 1, as the official code of Zhang et al.,
    "TopFormer", CVPR 2022, arXiv:2204.05525, has it: the division by the root of a head's channels is left out.

    Args:
        spec: Channels of queries and keys, channels of values, heads (as its groups).

    Shapes:
        q [N, C, H, W], k [N, C, H, W], v [N, D, H, W] -> [N, D, H, W].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.heads = spec.groups

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend."""
        channels, height, width = value.shape[1:]
        depth, pixels = query.shape[1] // self.heads, height * width
        queries = query.reshape(-1, self.heads, depth, pixels).transpose(2, 3)  # [N, heads, H W, C / heads]
        weights = torch.softmax(torch.matmul(queries, key.reshape(-1, self.heads, depth, pixels)), dim=3)
        values = value.reshape(-1, self.heads, channels // self.heads, pixels).transpose(2, 3)
        attended = torch.matmul(weights, values).transpose(2, 3)  # [N, heads, D / heads, H W]
        return attended.reshape(-1, channels, height, width)
