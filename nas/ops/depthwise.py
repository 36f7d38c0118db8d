"""A dilated depthwise convolution whose gradients are as fast as its forward pass on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


_NARROW_PADDING = 4
"""Pixels of padding up to which oneDNN is as fast as without."""


def depthwise(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Each channel with a k x k kernel of its own, stride 1, padded to keep the size.

    oneDNN has no fast backward pass for dilated depthwise convolutions (PyTorch 2.13: 4 to 10 times the forward pass). On a CPU,
    the gradient of the maps is therefore taken as the convolution with the turned kernel that it is, that of the kernel as one
    product a tap.

    Args:
        x: [N, C, H, W].
        weight: [C, 1, k, k], k odd.
        dilation: Pixels between taps.

    Returns:
        [N, C, H, W].
    """
    if x.device.type == "cpu" and dilation > 1 and not torch.is_autocast_enabled("cpu"):
        result: Tensor = _DilatedDepthwise.apply(x, weight, dilation)  # type: ignore[no-untyped-call]
        return result
    return functional.conv2d(x, weight, padding=dilation * (weight.shape[-1] // 2), dilation=dilation, groups=x.shape[1])


class _DilatedDepthwise(torch.autograd.Function):
    """`depthwise` with gradients of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:  # noqa: ANN401  (PyTorch has no type for it)
        ctx.dilation = dilation
        ctx.save_for_backward(x, weight)
        return _same_conv(x, weight, dilation)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]  # noqa: ANN401
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_x = _same_conv(grad, weight.flip(2, 3), ctx.dilation) if ctx.needs_input_grad[0] else None
        of_weight = _weight_gradient(x, grad, ctx.dilation, weight.shape[-1]) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, None


def _same_conv(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """The convolution itself. Wide padding is made beforehand, for with it oneDNN is 2 to 4 times slower."""
    padding = dilation * (weight.shape[-1] // 2)
    if padding > _NARROW_PADDING:
        x, padding = functional.pad(x, (padding, padding, padding, padding)), 0
    return functional.conv2d(x, weight, padding=padding, dilation=dilation, groups=x.shape[1])


def _weight_gradient(x: Tensor, grad: Tensor, dilation: int, kernel: int) -> Tensor:
    """dL/dw[c, i, j] = sum over n, h, w of grad[n, c, h, w] x[n, c, h + d (i - k//2), w + d (j - k//2)]: [C, 1, k, k]."""
    channels = x.shape[1]
    pixels, grads = x.permute(0, 2, 3, 1), grad.permute(0, 2, 3, 1)
    buffer, ones = torch.empty_like(grads).view(-1), grad.new_ones(1, grads.numel() // channels)
    shifts = [dilation * (tap - kernel // 2) for tap in range(kernel)]
    taps = []
    for down in shifts:
        for right in shifts:
            window = _shifted(_shifted(pixels, 1, down), 2, right)
            met = _shifted(_shifted(grads, 1, -down), 2, -right)
            product = buffer[: window.numel()].view(window.shape)
            torch.mul(window, met, out=product)
            product = product.view(-1, channels)
            taps.append(ones[:, : len(product)] @ product)  # a product with ones: several times faster than a sum
    return torch.cat(taps).t().reshape(channels, 1, kernel, kernel)


def _shifted(x: Tensor, dim: int, by: int) -> Tensor:
    """`x` without its first `by` slices along a dimension, or without its last `-by`."""
    left = max(x.shape[dim] - abs(by), 0)
    return x.narrow(dim, min(max(by, 0), x.shape[dim] - left), left)
