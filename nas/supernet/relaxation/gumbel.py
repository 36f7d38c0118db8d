"""The concrete (Gumbel-Softmax) distribution, its straight-through form, and the plain softmax."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gumbel_noise(shape: Sequence[int], *, generator: torch.Generator) -> Tensor:
    """Gumbel(0, 1) noise: G = -log(-log U), U ~ Uniform(0, 1), in float32 on the CPU.

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, eq. 4. U is drawn in float64 and kept away from 0 and 1, so that the noise is
    finite.

    Args:
        shape: Of the noise.
        generator: Source of U, on the CPU.

    Returns:
        float32 of that shape.
    """
    u = torch.rand(tuple(shape), generator=generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    return (-torch.log(-torch.log(u))).float()


def gumbel_softmax(logits: Tensor, noise: Tensor, tau: float) -> Tensor:
    """Concrete distribution: Z = softmax((log alpha + G) / tau).

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, eq. 4; Maddison et al., "The Concrete Distribution: A Continuous Relaxation of
    Discrete Random Variables", ICLR 2017, arXiv:1611.00712.

    Args:
        logits: log alpha, [..., q].
        noise: Gumbel noise G, broadcastable to [..., q].
        tau: Temperature > 0.

    Returns:
        z, [..., q], positive, summing to 1 over the last axis.
    """
    return torch.softmax((logits + noise) / tau, dim=-1)


def straight_through(logits: Tensor, noise: Tensor, tau: float) -> Tensor:
    """Straight-through Gumbel-Softmax: one-hot(argmax_k (log alpha_k + G_k)), with the gradient of `gumbel_softmax`.

    Jang, Gu, Poole, "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017, arXiv:1611.01144. Dong, Yang, "Searching for a
    Robust Neural Architecture in Four GPU Hours", CVPR 2019, arXiv:1910.04465 (GDAS), run the chosen option alone.

    Args:
        logits: log alpha, [..., q].
        noise: Gumbel noise G, broadcastable to [..., q].
        tau: Temperature > 0, of the gradient.

    Returns:
        z, [..., q], exactly 0 and 1.
    """
    soft = gumbel_softmax(logits, noise, tau)
    hard = torch.zeros_like(soft).scatter_(-1, soft.detach().argmax(dim=-1, keepdim=True), 1.0)
    return hard + (soft - soft.detach())


def softmax(logits: Tensor, noise: Tensor, tau: float) -> Tensor:
    """Softmax without noise or temperature: z_k = exp(alpha_k) / sum_j exp(alpha_j).

    Liu, Simonyan, Yang, "DARTS", ICLR 2019, arXiv:1806.09055; alpha and beta of FasterSeg (arXiv:1912.10917).

    Args:
        logits: alpha, [..., q].
        noise: Its shape alone is read.
        tau: Not used.

    Returns:
        z, [..., q], broadcast to the shape of the noise.
    """
    return torch.softmax(logits, dim=-1).expand(torch.broadcast_shapes(logits.shape, noise.shape))
