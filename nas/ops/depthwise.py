"""A dilated depthwise convolution with a fast gradient on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_NARROW_PADDING = 4
"""Pixels of padding up to which oneDNN is as fast as without."""


def depthwise(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Dilated depthwise convolution of stride 1, padded to keep the size: y[c, p] = sum_t w[c, t] x[c, p + d t].

    Yu, Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", ICLR 2016, arXiv:1511.07122, for each channel by itself.

    oneDNN has no fast backward pass for dilated depthwise convolutions (PyTorch 2.13: 4 to 10 times the forward pass). On a CPU the
    gradient of the maps is therefore a convolution with the kernel turned by 180 degrees.

    Args:
        x: [N, C, H, W].
        weight: [C, 1, k, k], k odd.
        dilation: Pixels d between taps.

    Returns:
        [N, C, H, W].
    """
    if x.device.type == "cpu" and dilation > 1 and not torch.is_autocast_enabled("cpu"):
        result: Tensor = _DilatedDepthwise.apply(x, weight, dilation)
        return result
    return functional.conv2d(x, weight, padding=dilation * (weight.shape[-1] // 2), dilation=dilation, groups=x.shape[1])


class _DilatedDepthwise(torch.autograd.Function):
    """`depthwise` with gradients of its own: dL/dx is a dilated depthwise convolution of dL/dy with the turned kernel.

    The convolution is that of Yu, Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", ICLR 2016, arXiv:1511.07122.

    Shapes:
        x [N, C, H, W], weight [C, 1, k, k] -> [N, C, H, W].
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.dilation = dilation
        ctx.save_for_backward(x, weight)
        return _same_conv(x, weight, dilation)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_x = _same_conv(grad, weight.flip(2, 3), ctx.dilation) if ctx.needs_input_grad[0] else None
        of_weight = _weight_gradient(x, grad, weight, ctx.dilation) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, None


def _same_conv(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """The convolution itself. Wide padding is made beforehand, because oneDNN is 2 to 4 times slower with it."""
    padding = dilation * (weight.shape[-1] // 2)
    if padding > _NARROW_PADDING:
        x, padding = functional.pad(x, (padding, padding, padding, padding)), 0
    return functional.conv2d(x, weight, padding=padding, dilation=dilation, groups=x.shape[1])


def _weight_gradient(x: Tensor, grad: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """PyTorch's own gradient of the kernel: [C, 1, k, k]."""
    padding = dilation * (weight.shape[-1] // 2)
    _, of_weight, _ = torch.ops.aten.convolution_backward(
        grad,
        x,
        weight,
        None,
        [1, 1],
        [padding, padding],
        [dilation, dilation],
        False,  # noqa: FBT003  (not transposed; the operator takes no keywords here)
        [0, 0],
        x.shape[1],
        [False, True, False],
    )
    assert isinstance(of_weight, Tensor)
    return of_weight
