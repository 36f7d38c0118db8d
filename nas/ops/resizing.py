"""Changes of size beside the bilinear one of decoders: to the nearest pixel, to a fraction of the size, by a margin of zeros."""

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


class Pad(nn.Module):
    """Zeros around a map, in a margin of k pixels.

    What goes up in the official code of Hu et al., "Real-time Semantic Segmentation with Fast Attention", RA-L 2021,
    arXiv:2007.03815, whose 1x1 convolution is padded.

    Args:
        spec: Margin k (as its kernel).

    Shapes:
        [N, C, H, W] -> [N, C, H + 2 k, W + 2 k].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.margin = spec.kernel

    def forward(self, x: Tensor) -> Tensor:
        """Pad."""
        return functional.pad(x, (self.margin, self.margin, self.margin, self.margin))


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
