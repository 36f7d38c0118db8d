"""Shares of batches whose gradients are added up in the loss of all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nas.data.dataset import IGNORE_INDEX
from nas.distributed.ranks import ALONE, Ranks
from nas.losses.cross_entropy import pixel_weights


def batch_shares(
    labels: Sequence[Tensor], weights: Tensor | None = None, *, ignore_index: int = IGNORE_INDEX, ranks: Ranks = ALONE
) -> Tensor:
    """Share of each batch in the pixels of all batches: s_k = W_k / sum_j W_j, W_k the weight of the pixels that count.

    A weighted mean over all batches is then sum_k s_k * mean_k, so that the gradient of cross-entropy is that of one large
    batch. A mean of means would favour batches with few labelled pixels. Without any pixel that counts the shares are 0.

    Args:
        labels: B tensors int64, each [N, H, W] or [N].
        weights: Weights of the classes [K]; None: all the same.
        ignore_index: Label of what does not count.
        ranks: Processes that share each batch.

    Returns:
        float32 [B].
    """
    sums = torch.stack([pixel_weights(label, weights, ignore_index=ignore_index).sum(dtype=torch.float32) for label in labels])
    sums = ranks.sum(sums)
    total = sums.sum()
    return sums / total.where(total > 0, 1.0)
