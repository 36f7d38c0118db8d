"""Gumbel-Softmax and its straight-through form."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gumbel_noise(shape: Sequence[int], *, generator: torch.Generator) -> Tensor:
    """Gumbel(0, 1) noise -log(-log U), U ~ Uniform(0, 1), in float32 on the CPU.

    U is drawn in float64 and kept away from 0 and 1, so that the noise is finite.
    """
    u = torch.rand(tuple(shape), generator=generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    return (-torch.log(-torch.log(u))).float()


def gumbel_softmax(logits: Tensor, noise: Tensor, tau: float) -> Tensor:
    """Concrete distribution z = softmax((log alpha + G) / tau) (LGCNet, eq. 4; Maddison et al. 2017).

    Args:
        logits: log alpha, [..., q].
        noise: Gumbel noise G, broadcastable to [..., q].
        tau: Temperature > 0.

    Returns:
        z, [..., q], positive, summing to 1 over the last axis.
    """
    return torch.softmax((logits + noise) / tau, dim=-1)


def straight_through(logits: Tensor, noise: Tensor, tau: float) -> Tensor:
    """One-hot argmax of the perturbed logits with the gradient of `gumbel_softmax` (Jang et al. 2017; GDAS).

    The values are exactly 0 and 1.
    """
    soft = gumbel_softmax(logits, noise, tau)
    hard = torch.zeros_like(soft).scatter_(-1, soft.detach().argmax(dim=-1, keepdim=True), 1.0)
    return hard + (soft - soft.detach())


def softmax(logits: Tensor, noise: Tensor, tau: float) -> Tensor:  # noqa: ARG001
    """Plain softmax without noise or temperature, broadcast to the shape of the noise (FasterSeg's alpha and beta)."""
    return torch.softmax(logits, dim=-1).expand(torch.broadcast_shapes(logits.shape, noise.shape))
