"""Unpooling: where the largest value of each 2x2 window stood, and values put back there."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PoolPositions(nn.Module):
    """Position of the largest value in each window of 2x2 pixels: 0, 1 in the upper row, 2, 3 in the lower one.

    The indices of Badrinarayanan, Kendall, Cipolla, "SegNet", IEEE TPAMI 39(12), 2017, arXiv:1511.00561, as numbers inside a
    window, of the type of the map: comparisons alone make them, which every runtime has. Of equal values it is the first, row by
    row, as in `torch.nn.functional.max_pool2d`. Windows that reach over the edge are cut off there.

    Shapes:
        [N, C, H, W] -> [N, C, ceil(H / 2), ceil(W / 2)], without gradient.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Compare."""
        height, width = x.shape[2:]
        x = x.detach()
        if height % 2 or width % 2:
            x = functional.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
        (upper_left, upper_right), (lower_left, lower_right) = ([x[:, :, i::2, j::2] for j in range(2)] for i in range(2))
        upper = (upper_right > upper_left).to(x.dtype)
        lower = (lower_right > lower_left).to(x.dtype) + 2
        return torch.where(torch.maximum(lower_left, lower_right) > torch.maximum(upper_left, upper_right), lower, upper)


class Unpool(nn.Module):
    """Each value at the position of the largest one of its window of 2x2 pixels, and zeros elsewhere.

    Badrinarayanan, Kendall, Cipolla, "SegNet", IEEE TPAMI 39(12), 2017, arXiv:1511.00561; equals
    `torch.nn.functional.max_unpool2d`. What lies beyond an odd edge is cut off.

    Shapes:
        x [N, C, h, w], positions [N, C, h, w] from 0 to 3, like [N, *, H, W] -> [N, C, H, W], H in {2h - 1, 2h}, W likewise.
    """

    def forward(self, x: Tensor, positions: Tensor, like: Tensor) -> Tensor:
        """Spread."""
        channels, height, width = x.shape[1:]
        first, lower, last = positions < 0.5, positions > 1.5, positions > 2.5
        masks = (first, ~first & ~lower, lower & ~last, last)
        spread = torch.stack([x * mask.to(x.dtype) for mask in masks], dim=2)
        whole = functional.pixel_shuffle(spread.reshape(-1, 4 * channels, height, width), 2)
        return whole[:, :, : like.shape[2], : like.shape[3]]
