"""Resizing beside the bilinear one of decoders: to the nearest pixel, and to a fraction of the size."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from nas.ops.spec import OpSpec


class ResizeNearest(nn.Module):
    """Nearest resizing of the first input to the height and width of the second.

    The up-sampling of BiSeNet's context path in the code of Fan et al., STDC, CVPR 2021, arXiv:2104.13188.

    Shapes:
        x [N, C, H, W], like [N, *, H', W'] -> [N, C, H', W'].
    """

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """[N, C, H, W], [N, *, H', W'] -> [N, C, H', W']."""
        return functional.interpolate(x, size=like.shape[2:], mode="nearest")


class Shrink(nn.Module):
    """Bilinear resizing to 1 / s of the size, without filter: each pixel is one of four neighbours' weighted mean.

    The input of the context branch of Poudel et al., "ContextNet", BMVC 2018, arXiv:1805.04554.

    Args:
        spec: Stride s.

    Shapes:
        [N, C, H, W] -> [N, C, ceil(H / s), ceil(W / s)].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.stride = spec.stride

    def forward(self, x: Tensor) -> Tensor:
        """Resize."""
        size = (-(-x.shape[2] // self.stride), -(-x.shape[3] // self.stride))
        return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
