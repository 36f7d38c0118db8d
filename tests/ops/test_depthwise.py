"""The depthwise convolution with a gradient of its own, against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from nas.ops.depthwise import depthwise


@pytest.mark.parametrize("dilation", [1, 2, 4, 8])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels last"])
def test_it_is_the_grouped_convolution(dilation: int, memory_format: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(dilation)
    results = []
    x = torch.randn(2, 5, 9, 7, generator=generator).contiguous(memory_format=memory_format)
    weight, probe = torch.randn(5, 1, 3, 3, generator=generator), torch.randn(2, 5, 9, 7, generator=generator)
    for run in (
        lambda a, w: depthwise(a, w, dilation),
        lambda a, w: functional.conv2d(a, w, padding=dilation, dilation=dilation, groups=5),
    ):
        a, w = x.clone().requires_grad_(), weight.clone().requires_grad_()
        y = run(a, w)
        (y * probe).sum().backward()
        results.append((y, a.grad, w.grad))
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dilation", [2, 8])
def test_gradients_are_those_of_finite_differences(dilation: int) -> None:
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, w: depthwise(a, w, dilation), (x, weight))


@pytest.mark.parametrize("frozen", ["x", "weight"])
def test_what_needs_no_gradient_gets_none(frozen: str) -> None:
    x = torch.randn(2, 3, 5, 4, requires_grad=frozen != "x")
    weight = torch.randn(3, 1, 3, 3, requires_grad=frozen != "weight")
    depthwise(x, weight, 2).sum().backward()
    assert (x.grad is None) == (frozen == "x")
    assert (weight.grad is None) == (frozen == "weight")
