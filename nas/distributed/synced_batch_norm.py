"""Batch norm over the batches of all ranks, on any device; PyTorch's own refuses the CPU.

    mu = sum_r n_r mu_r / n,   sigma^2 = sum_r (n_r sigma_r^2 + n_r (mu_r - mu)^2) / n,   y = w (x - mu) / sqrt(sigma^2 + eps) + b

with n_r values of a channel on rank r, n of all (Chan, Golub, LeVeque 1979: nothing is cancelled). Ranks may have batches of
different sizes. The gradient is that of one batch norm over the whole batch, for a loss that is the sum of what the ranks compute:

    dx = w / sqrt(sigma^2 + eps) * (dy - sum(dy) / n - xhat sum(dy xhat) / n),   sums over all ranks

Forward and backward take one collective each, of 2 C + 1 and 2 C numbers for C channels.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from nas.distributed.ranks import Ranks


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """A batch norm whose statistics in training are those of all ranks; its state and its evaluation are those of any other.

    Args:
        norm: The batch norm whose parameters and buffers are taken over.
        ranks: The processes that share a batch.
    """

    def __init__(self, norm: nn.BatchNorm2d, ranks: Ranks) -> None:
        super().__init__(
            norm.num_features,
            eps=norm.eps,
            momentum=norm.momentum,
            affine=norm.affine,
            track_running_stats=norm.track_running_stats,
        )
        self.ranks = ranks
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name of the base class
        """[N, C, H, W] -> the same shape."""
        if not self.training:
            return super().forward(input)
        mean, variance, count = _statistics(input.detach(), self.ranks)
        self._follow(mean, variance, count)
        return cast("Tensor", _Normalise.apply(input, self.weight, self.bias, mean, variance, count, self.eps, self.ranks))

    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Let the running statistics follow by one batch, as PyTorch does."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        factor = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = variance * (count / (count - 1).clamp(min=1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), factor)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), factor)


def synchronise_batch_norms(module: nn.Module, ranks: Ranks) -> None:
    """Replace all batch norms below a module by synchronised ones with the same parameters, in place; one process: leave them."""
    if not ranks.are_several:
        return
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                parent.register_module(name, SyncedBatchNorm2d(child, ranks))


def _statistics(x: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [C], biased variance [C] and number of values of a channel [] over all ranks, at least in float32."""
    x = x.float() if x.element_size() < 4 else x
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    number = mean.new_full((1,), x.numel() // x.shape[1])
    means, variances, numbers = ranks.gather(torch.cat([mean, variance, number])).split([len(mean), len(mean), 1], dim=1)
    count = numbers.sum()
    overall = (numbers * means).sum(dim=0) / count
    return overall, (numbers * (variances + (means - overall) ** 2)).sum(dim=0) / count, count


class _Normalise(torch.autograd.Function):
    """The normalisation by given statistics, which depend on the inputs of all ranks."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
        ranks: Ranks,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps, ctx.ranks, ctx.has_bias = eps, ranks, bias is not None
        return functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        # With the statistics held: w / sqrt(sigma^2 + eps) dy, and this rank's sums of dy xhat and dy.
        held, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad.contiguous(memory_format=_format(x)), x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        inverse = (variance + ctx.eps).rsqrt()
        sum_xhat, sum_grad = (ctx.ranks.sum(torch.stack([grad_weight, grad_bias])) / count).unbind()
        scale = inverse if weight is None else inverse * weight
        slope = -scale * inverse * sum_xhat
        offset = -scale * sum_grad - slope * mean
        held = torch.addcmul(held.to(slope.dtype), x.to(slope.dtype), slope.view(1, -1, 1, 1)).add_(offset.view(1, -1, 1, 1))
        of_affine = (None if weight is None else grad_weight, grad_bias if ctx.has_bias else None)
        return held.to(x.dtype), *of_affine, None, None, None, None, None


def _format(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
