"""Labels at the size of an output that is smaller than the images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def labels_at(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Labels [N, H, W] -> [N, h, w] int64, nearest pixel (FasterSeg's search: labels at an eighth of the size).

    Args:
        labels: int64.
        size: (h, w).
    """
    if labels.shape[1:] == tuple(size):
        return labels
    return functional.interpolate(labels[:, None].float(), size=tuple(size), mode="nearest")[:, 0].long()
