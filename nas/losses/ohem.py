"""Online bootstrapping: cross-entropy over the hard pixels of a batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nas.distributed.ranks import ALONE, Ranks
from nas.losses.cross_entropy import pixel_losses, pixel_weights, weighted_mean


def ohem(
    logits: Tensor,
    label: Tensor,
    *,
    weights: Tensor | None = None,
    threshold: float = 0.7,
    min_kept_share: float = 1 / 16,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Online bootstrapping (OHEM): the mean cross-entropy over the pixels whose true class is given too small a probability.

    Wu, Shen, van den Hengel, "High-performance Semantic Segmentation Using Very Deep Fully Convolutional Networks",
    arXiv:1604.04339. With p_i the softmax probability of the true class of pixel i, 1 where the label does not count,

        m    = max(1, floor(min_kept_share * N * H * W))
        t    = max(threshold, the m-th smallest p over the whole batch)
        kept = {valid i: p_i <= t}
        loss = 1 / |kept| * sum over kept of -ln p_i

    so at least m pixels are kept, and all valid ones where there are fewer than m. A batch without a valid pixel gives
    exactly 0 with zero gradients; a NaN logit of a valid pixel gives NaN. Computed on -ln p, without a copy to the host.

    Weights w of the classes have no say in which pixels are kept; the loss is then the weighted mean over those,
    sum over kept of w[label_i] * -ln p_i / sum over kept of w[label_i], as in FasterSeg.

    LGCNet (arXiv:2302.08481, section IV-A) names the strategy without its constants: both are [reading], taken from the official
    code of FasterSeg.

    Args:
        logits: [N, K, H, W].
        label: int64 [N, H, W]; class id or 255 for pixels that do not count.
        weights: [K], at least 0; None: all the same.
        threshold: Largest probability at which a pixel still counts as hard, in (0, 1] [reading].
        min_kept_share: Share of all pixels of the batch that is kept at least, in [0, 1] [reading].
        ranks: Processes that share the batch; m and t are of the whole batch, and this process's part of the mean is returned.

    Returns:
        Scalar.
    """
    losses = pixel_losses(logits, label)
    min_kept = max(1, int(min_kept_share * losses.numel() * ranks.count))
    # The m-th smallest probability is the m-th largest loss.
    bound = _kth_largest(losses.detach().flatten(), min_kept, ranks).clamp(max=-math.log(threshold))
    # "not below" rather than "at or above": a NaN must be kept and seen, not dropped.
    hard = ~(losses.detach() < bound)
    return weighted_mean(losses, pixel_weights(label, weights) * hard, ranks)


def _kth_largest(values: Tensor, k: int, ranks: Ranks) -> Tensor:
    """The k-th largest of the values of all ranks, which have equally many, [n] -> []; only those in question are exchanged."""
    if ranks.are_several:
        values = ranks.gather(torch.topk(values, min(k, values.numel())).values).flatten()
    return values.kthvalue(values.numel() - k + 1).values
