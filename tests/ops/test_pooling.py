"""Pooling by hand on small maps."""

from __future__ import annotations

import pytest
import torch

from nas.ops import OpSpec, build
from nas.ops.pooling_sizes import columns

X = torch.arange(15.0).reshape(1, 1, 3, 5)


def pooled(kind: str, **fields: int) -> list[list[float]]:
    spec = OpSpec(kind=kind, in_channels=1, height=3, width=5, out_channels=1, out_height=1, out_width=1, **fields)
    return build(spec)(X)[0, 0].tolist()


def test_windows_of_two_pixels_are_cut_off_at_the_edge():
    assert pooled("max_pool", kernel=2, stride=2) == [[6, 8, 9], [11, 13, 14]]
    assert pooled("avg_pool", kernel=2, stride=2) == [[3, 5, 6.5], [10.5, 12.5, 14]]


def test_windows_of_three_pixels_are_centred_and_count_zeros_around_the_map():
    assert pooled("avg_pool", kernel=3, stride=2)[0] == pytest.approx(
        [(0 + 1 + 5 + 6) / 9, (1 + 2 + 3 + 6 + 7 + 8) / 9, (3 + 4 + 8 + 9) / 9]
    )


def test_a_grid_of_square_bins_follows_the_shape_of_the_map():
    assert columns(3, 30, 50) == 5
    assert pooled("square_bin_pool", kernel=3) == X[0, 0].tolist()
    assert pooled("bin_pool", kernel=1) == [[7.0]]


def test_bins_of_a_fraction_share_pixels_at_odd_sizes():
    assert pooled("shrinking_pool", stride=2) == [[3, 4.5, 6], [8, 9.5, 11]]


def test_extremes_and_statistics():
    assert pooled("global_max_pool") == [[14.0]]
    x = torch.tensor([[1.0, -4.0], [3.0, 2.0]]).reshape(1, 2, 1, 2)
    spec = OpSpec(kind="channel_statistics", in_channels=2, height=1, width=2, out_channels=2, out_height=1, out_width=2)
    assert build(spec)(x)[0, :, 0].tolist() == [[2.0, -1.0], [3.0, 2.0]]
