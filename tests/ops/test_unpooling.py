"""Unpooling equals that of PyTorch by indices, with ties and at odd sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nas.ops import OpSpec, build


def positions_and_unpool(x: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    channels, height, width = x.shape[1:]
    small = {"in_channels": channels, "out_channels": channels, "kernel": 2, "stride": 2}
    half = (-(-height // 2), -(-width // 2))
    pool = OpSpec(kind="pool_positions", height=height, width=width, out_height=half[0], out_width=half[1], **small)
    unpool = OpSpec(kind="unpool", height=half[0], width=half[1], out_height=height, out_width=width, **small)
    positions = build(pool)(x)
    return positions, build(unpool)(values, positions, x)


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (1, 1), (2, 9)])
def test_values_come_back_where_pytorch_puts_them_although_maxima_are_tied(size: tuple[int, int]):
    torch.manual_seed(0)
    x = torch.randint(-2, 2, (2, 3, *size)).float().relu()
    pooled, indices = functional.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
    values = torch.randn_like(pooled)
    expected = functional.max_unpool2d(values, indices, 2, 2, output_size=size)
    assert torch.equal(positions_and_unpool(x, values)[1], expected)


def test_positions_are_counted_row_by_row_and_the_first_of_equals_counts():
    x = torch.tensor([[0.0, 1.0, 5.0, 5.0, 1.0], [2.0, 2.0, 5.0, 5.0, 3.0], [0.0, 0.0, 1.0, 2.0, -1.0]]).reshape(1, 1, 3, 5)
    positions, spread = positions_and_unpool(x, torch.ones(1, 1, 2, 3))
    assert positions[0, 0].tolist() == [[2, 0, 2], [0, 1, 0]]
    assert spread[0, 0].tolist() == [[0, 0, 1, 0, 0], [1, 0, 0, 0, 1], [1, 0, 0, 1, 1]]


def test_gradients_go_to_the_values_alone():
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    values = torch.randn(1, 2, 2, 2, requires_grad=True)
    weights = torch.randn(1, 2, 4, 4)
    positions, spread = positions_and_unpool(x, values)
    (spread * weights).sum().backward()
    assert not positions.requires_grad
    assert x.grad is None
    assert values.grad is not None
    indices = functional.max_pool2d(x, 2, 2, return_indices=True)[1]
    assert torch.equal(values.grad, weights.flatten(2).gather(2, indices.flatten(2)).reshape(1, 2, 2, 2))
