"""Cross-entropy over the pixels that have a class."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from nas.data.dataset import IGNORE_INDEX


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Mean over the valid pixels of -ln p, p the softmax probability of the true class.

    A batch without a valid pixel gives exactly 0, connected to the graph with zero gradients.

    Args:
        logits: [N, K, H, W].
        label: int64 [N, H, W]; class id or 255 for pixels that do not count.

    Returns:
        Scalar.
    """
    valid_pixels = (label != IGNORE_INDEX).sum()
    return pixel_losses(logits, label).sum() / valid_pixels.clamp(min=1)


def pixel_losses(logits: Tensor, label: Tensor) -> Tensor:
    """-ln p of each pixel, p the softmax probability of the true class; 0 where the label does not count.

    Args:
        logits: [N, K, H, W]; half precision is raised to float32, for sums over a batch need it.
        label: int64 [N, H, W]; class id or 255.

    Returns:
        [N, H, W].
    """
    if logits.element_size() < 4:
        logits = logits.float()
    return functional.cross_entropy(logits, label, ignore_index=IGNORE_INDEX, reduction="none")
