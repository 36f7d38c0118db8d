"""Losses by name. Each takes logits [N, K, H, W] and labels int64 [N, H, W] (255: ignored) and returns a scalar."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from torch import Tensor

from nas.distributed.ranks import ALONE, Ranks
from nas.losses.cross_entropy import cross_entropy
from nas.losses.ohem import ohem


class Loss(Protocol):
    """A pure function of a batch: logits and labels -> scalar.

    The cross-entropy term CE(a, w) of Cheng et al., LGCNet, 2023, arXiv:2302.08481, eq. 10, is one.

    Shapes:
        logits [N, K, H, W], labels [N, H, W] int64 -> [].
    """

    def __call__(self, logits: Tensor, label: Tensor, /, *, weights: Tensor | None = None, ranks: Ranks = ALONE) -> Tensor:
        """Scalar loss, classes weighted by `weights` [K]; exactly 0 with zero gradients for a batch in which no pixel counts.

        Of a batch that `ranks` share, each returns its part: the sum over ranks is the loss of the whole batch.
        """


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "ohem": ohem,
}
"""Every loss that `train.loss=` knows."""


def loss_of(name: str, ranks: Ranks) -> Loss:
    """The loss of that name, of batches that `ranks` share."""
    return partial(LOSSES[name], ranks=ranks) if ranks.are_several else LOSSES[name]


__all__ = ["LOSSES", "Loss", "cross_entropy", "loss_of", "ohem"]
