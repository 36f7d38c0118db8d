"""Unpooling in a file and in PyTorch is compared at the file's positions, which are checked on their own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.exporting.file_positions import give_positions, shortfall, steered
from nas.exporting.onnx_check import Agreement, compare
from nas.exporting.onnx_graph import trace_onnx
from nas.ops.unpooling import PoolPositions, Unpool


class Pooled(nn.Module):
    """Keeps the image where its windows are largest, or, by `sign` -1, smallest."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.positions, self.unpool, self.sign = PoolPositions(), Unpool(), sign

    def forward(self, images: Tensor) -> Tensor:
        values = functional.avg_pool2d(images, 2, ceil_mode=True)
        return self.unpool(values, self.positions(self.sign * images), images)


def checked(of_file: nn.Module, reference: nn.Module, size: tuple[int, int]) -> Agreement:
    model = trace_onnx(of_file, {"images": torch.zeros(1, 3, *size)}, output="logits", opset=17)
    outputs = len(model.graph.output)
    found = compare(model, reference, size=size, precision="fp32", output="logits")
    assert len(model.graph.output) == outputs
    return found


def test_positions_stay_below_the_largest_value_by_so_much_of_the_map():
    x = torch.tensor([[4.0, 3.0, 1.0], [0.0, -8.0, 1.0]]).reshape(1, 1, 2, 3)
    assert shortfall(x, torch.tensor([[0.0, 2.0]]).reshape(1, 1, 1, 2)) == 0
    assert shortfall(x, torch.tensor([[1.0, 0.0]]).reshape(1, 1, 1, 2)) == 1 / 8
    assert shortfall(x, torch.tensor([[3.0, 0.0]]).reshape(1, 1, 1, 2)) == 12 / 8
    assert shortfall(x, torch.tensor([[0.0, 1.0]]).reshape(1, 1, 1, 2)) == math.inf


def test_a_network_goes_on_from_positions_that_it_is_given():
    network, images = Pooled(), torch.ones(1, 3, 2, 2)
    with steered(network, [np.full((1, 3, 1, 1), 2.0)]) as found:
        assert network(images)[0, 0].tolist() == [[0, 0], [1, 0]]
    assert found.shortfall == 0
    assert network(images)[0, 0].tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("size", [(8, 12), (7, 9)])
def test_a_file_passes_with_positions_of_largest_values_and_with_no_others(size: tuple[int, int]):
    same = checked(Pooled().eval(), Pooled().eval(), size)
    assert same.passed
    assert same.max_abs_difference < 1e-6
    other = checked(Pooled(-1.0).eval(), Pooled().eval(), size)
    assert other.max_abs_difference == math.inf
    assert not other.passed


def test_positions_become_outputs():
    model = trace_onnx(Pooled().eval(), {"images": torch.zeros(1, 3, 4, 4)}, output="logits", opset=17)
    names = give_positions(model)
    assert [value.name for value in model.graph.output] == ["logits", *names]
    assert len(names) == 1
