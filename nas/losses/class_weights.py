"""Weights of classes from how often they occur."""

from __future__ import annotations

import torch
from torch import Tensor

SHIFT = 1.02
"""ENet's constant c: no weight is above 1 / ln(1.02) = 50.5, none below 1 / ln(2.02) = 1.42."""


def inverse_log_share(counts: Tensor, *, shift: float = SHIFT) -> Tensor:
    """Weights of classes: w = 1 / ln(c + p), p the share of a class in all labels that count.

    Paszke, Chaurasia, Kim, Culurciello, "ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation",
    arXiv:1606.02147. Rare classes weigh more, within bounds.

    Args:
        counts: [K], pixels (or images) of each class; not all 0.
        shift: The constant c, above 1.

    Returns:
        float32 [K].

    Raises:
        ValueError: If nothing was counted.

    >>> inverse_log_share(torch.tensor([1, 3]))
    tensor([4.1838, 1.7514])
    """
    total = counts.sum()
    if total <= 0:
        raise ValueError("got counts without a label, expected at least one pixel of a class")
    return (1 / torch.log(shift + counts.double() / total)).float()
