"""Cross-entropy over the pixels that have a class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nas.data.dataset import IGNORE_INDEX
from nas.distributed.ranks import ALONE, Ranks


def cross_entropy(
    logits: Tensor, label: Tensor, *, weights: Tensor | None = None, ignore_index: int = IGNORE_INDEX, ranks: Ranks = ALONE
) -> Tensor:
    """Cross-entropy: the mean over the valid pixels of -ln p, p the softmax probability of the true class.

    The term CE(a, w) of Cheng et al., LGCNet, 2023, arXiv:2302.08481, eq. 10; pixel by pixel as in Long, Shelhamer, Darrell, "Fully
    Convolutional Networks for Semantic Segmentation", CVPR 2015, arXiv:1411.4038.

    With weights w of the classes it is the weighted mean sum_i w[label_i] * -ln p_i / sum_i w[label_i], as in PyTorch. A batch
    without a valid pixel, or none of positive weight, gives exactly 0, connected to the graph with zero gradients.

    Args:
        logits: [N, K, H, W], or [N, K] for whole images.
        label: int64 [N, H, W] or [N]; class id or `ignore_index` for what does not count.
        weights: [K], at least 0; None: all the same.
        ignore_index: Label of what does not count.
        ranks: Processes that share a batch: the mean is over the pixels of all, and this process's part of it is returned.

    Returns:
        Scalar.
    """
    losses = pixel_losses(logits, label, ignore_index=ignore_index)
    return weighted_mean(losses, pixel_weights(label, weights, ignore_index=ignore_index), ranks)


def pixel_losses(logits: Tensor, label: Tensor, *, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """-ln p of each pixel, p the softmax probability of the true class; 0 where the label does not count.

    Args:
        logits: [N, K, H, W] or [N, K]; half precision is raised to float32, which sums over a batch need.
        label: int64 [N, H, W] or [N]; class id or `ignore_index`.
        ignore_index: Label of what does not count.

    Returns:
        Shape of the label.
    """
    if logits.element_size() < 4:
        logits = logits.float()
    return functional.cross_entropy(logits, label, ignore_index=ignore_index, reduction="none")


def pixel_weights(label: Tensor, weights: Tensor | None, *, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Weight of each pixel: 0 where the label does not count, else that of its class.

    Args:
        label: int64 [N, H, W] or [N]; class id or `ignore_index`.
        weights: [K]; None: all the same.
        ignore_index: Label of what does not count.

    Returns:
        Shape of the label: bool without weights, else their type.
    """
    valid = label != ignore_index
    if weights is None:
        return valid
    return torch.where(valid, weights[label.where(valid, 0)], 0.0)


def weighted_mean(losses: Tensor, weights: Tensor, ranks: Ranks = ALONE) -> Tensor:
    """Sum of weight times loss over the sum of weights, 0 where that is 0; both of one shape; bool weights pick.

    A loss that does not count must be finite: times zero it is zero. With several ranks the sum of weights is that of all of them,
    and the sum over ranks of what is returned is the mean: a mean of means would favour ranks with few pixels that count.
    """
    if weights.dtype == torch.bool:
        return torch.where(weights, losses, 0.0).sum() / ranks.sum(weights.sum()).clamp(min=1)
    weights = weights.to(losses.dtype)
    total = ranks.sum(weights.sum())
    return (weights * losses).sum() / total.where(total > 0, 1.0)
