"""Patch-wise dynamic convolutions against a loop over patches."""

from __future__ import annotations

import torch
from torch.nn import functional

from nas.ops.patchwise import Coordinates, PatchConv, PatchDepthwise, PatchHalo
from tests.contracts.test_op_contract import spec_of_kind

ROWS, COLUMNS = 2, 3


def patch(x: torch.Tensor, row: int, column: int, side: int) -> torch.Tensor:
    return x[:, :, row * side : (row + 1) * side, column * side : (column + 1) * side]


def test_coordinates_send_no_gradient_into_the_map():
    x = torch.zeros(1, 2, 3, 4, requires_grad=True)
    Coordinates()(x)[:, :2].sum().backward()
    assert not x.grad.any()


def test_coordinates_stand_before_the_map_columns_first():
    x = torch.randn(2, 1, 2, 3)
    y = Coordinates()(x)
    assert y[1, 0].tolist() == [[-1, 0, 1], [-1, 0, 1]]
    assert y[1, 1].tolist() == [[-1, -1, -1], [1, 1, 1]]
    assert torch.equal(y[:, 2:], x)


def test_a_patch_gets_the_pixels_around_it_and_reflected_ones_around_the_map():
    x = torch.randn(2, 6, 4, 6)
    y = PatchHalo(spec_of_kind("patch_halo"))(x)
    padded = functional.pad(x, (1, 1, 1, 1), mode="reflect")
    for row in range(ROWS):
        for column in range(COLUMNS):
            expected = padded[:, :, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4]
            assert torch.equal(patch(y, row, column, 4), expected)


def test_each_patch_is_convolved_with_its_own_weights():
    x, kernels = torch.randn(2, 6, 4, 6), torch.randn(2, 60, ROWS, COLUMNS)
    y = PatchConv(spec_of_kind("patch_conv"))(x, kernels)
    for image in range(2):
        for row in range(ROWS):
            for column in range(COLUMNS):
                weight = kernels[image, :, row, column].reshape(10, 6, 1, 1)
                expected = functional.conv2d(patch(x[image : image + 1], row, column, 2), weight)
                torch.testing.assert_close(patch(y[image : image + 1], row, column, 2), expected)


def test_each_patch_is_filtered_with_its_own_kernels_and_loses_its_border():
    x, kernels = torch.randn(2, 6, 8, 12), torch.randn(2, 54, ROWS, COLUMNS)
    y = PatchDepthwise(spec_of_kind("patch_depthwise"))(x, kernels)
    for image in range(2):
        for row in range(ROWS):
            for column in range(COLUMNS):
                weight = kernels[image, :, row, column].reshape(6, 1, 3, 3)
                expected = functional.conv2d(patch(x[image : image + 1], row, column, 4), weight, groups=6)
                torch.testing.assert_close(patch(y[image : image + 1], row, column, 2), expected)
