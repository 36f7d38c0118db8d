"""Patch-wise dynamic convolutions: a map is cut into a grid of patches, and each has kernels of its own, which another map holds.

Nirkin, Wolf, Hassner, "HyperSeg: Patch-wise Hypernetwork for Real-time Semantic Segmentation", CVPR 2021, arXiv:2012.11582.
Patches stay at their places in the map. The kernel of a spec is the side of the patches that come in.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.ops.spec import OpSpec

TAPS = 3
"""Side of depthwise kernels."""


class Coordinates(nn.Module):
    """A map behind its coordinates: columns, then rows, each from -1 to 1.

    Liu et al., "An Intriguing Failing of Convolutional Neural Networks and the CoordConv Solution", NeurIPS 2018, arXiv:1807.03247.

    Shapes:
        [N, C, H, W] -> [N, 2 + C, H, W].
    """

    def forward(self, x: Tensor) -> Tensor:
        """Prepend them."""
        height, width = x.shape[2:]
        zeros = x[:, :1].detach().clamp(0, 0)
        columns = zeros + self._ends(width, x)
        rows = zeros + self._ends(height, x)[:, None]
        return torch.cat([columns, rows, x], dim=1)

    def _ends(self, count: int, like: Tensor) -> Tensor:
        """Numbers from -1 to 1, as of `torch.linspace`, which scripts for PyTorch before 1.11 do not have in its present form."""
        steps = torch.arange(count, dtype=like.dtype, device=like.device)
        return steps * (2 / max(1, count - 1)) - 1


class PatchHalo(nn.Module):
    """Each patch with one pixel of its surroundings on every side; around the map, its second row or column.

    The padding of Nirkin et al., HyperSeg, CVPR 2021, arXiv:2012.11582.

    Args:
        spec: Side s of a patch (as its kernel).

    Shapes:
        [N, C, h s, w s] -> [N, C, h (s + 2), w (s + 2)].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.side = spec.kernel

    def forward(self, x: Tensor) -> Tensor:
        """Copy pixels."""
        x = self._spread(functional.pad(x, (1, 1, 1, 1), mode="reflect"))
        return self._spread(x.transpose(2, 3)).transpose(2, 3)

    def _spread(self, x: Tensor) -> Tensor:
        """The rows of each patch: [N, C, h s + 2, W] -> [N, C, h (s + 2), W]."""
        (channels, height, width), side = x.shape[1:], self.side
        rows, last = (height - 2) // side, height - 1
        inner = x[:, :, : height - 2].reshape(-1, channels, rows, side, width)
        after = [part.reshape(-1, channels, rows, 1, width) for part in (x[:, :, side:last:side], x[:, :, side + 1 :: side])]
        return torch.cat([inner, *after], dim=3).reshape(-1, channels, rows * (side + 2), width)


class PatchConv(nn.Module):
    """1x1 convolution whose weights differ from patch to patch: y_p = W_p x_p.

    Nirkin et al., HyperSeg, CVPR 2021, arXiv:2012.11582.

    Args:
        spec: Channels; side s of a patch (as its kernel).

    Shapes:
        x [N, Cin, h s, w s], kernels [N, Cout Cin, h, w] -> [N, Cout, h s, w s].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.side, self.out_channels = spec.kernel, spec.out_channels

    def forward(self, x: Tensor, kernels: Tensor) -> Tensor:
        """Multiply in each patch."""
        (channels, side), (rows, columns) = (x.shape[1], self.side), kernels.shape[2:]
        patches = x.reshape(-1, channels, rows, side, columns, side).permute(0, 2, 4, 1, 3, 5)
        patches = patches.reshape(-1, rows * columns, channels, side * side)
        products = kernels.permute(0, 2, 3, 1).reshape(-1, rows * columns, self.out_channels, channels) @ patches
        products = products.reshape(-1, rows, columns, self.out_channels, side, side).permute(0, 3, 1, 4, 2, 5)
        return products.reshape(-1, self.out_channels, rows * side, columns * side)


class PatchDepthwise(nn.Module):
    """Depthwise 3x3 convolution without padding whose kernels differ from patch to patch.

    Nirkin et al., HyperSeg, CVPR 2021, arXiv:2012.11582.

    Args:
        spec: Side s of a patch that comes in (as its kernel).

    Shapes:
        x [N, C, h s, w s], kernels [N, 9 C, h, w] -> [N, C, h (s - 2), w (s - 2)].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.side = spec.kernel

    def forward(self, x: Tensor, kernels: Tensor) -> Tensor:
        """Sum over the taps."""
        (channels, side), (rows, columns) = (x.shape[1], self.side - TAPS + 1), kernels.shape[2:]
        patches = x.reshape(-1, channels, rows, self.side, columns, self.side)
        taps = kernels.reshape(-1, channels, TAPS * TAPS * rows, 1, columns, 1).split(rows, dim=2)
        total: Tensor = patches[:, :, :, :side, :, :side] * taps[0]
        for number, tap in enumerate(taps[1:], start=1):
            row, column = divmod(number, TAPS)
            total = total + patches[:, :, :, row : row + side, :, column : column + side] * tap
        return total.reshape(-1, channels, rows * side, columns * side)
