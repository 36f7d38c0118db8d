"""Resizing to the nearest pixel and to a fraction of the size, margins."""

from __future__ import annotations

import torch

from nas.ops import OpSpec, build


def test_nearest_repeats_pixels_and_shrinking_averages_neighbours():
    shape = {"in_channels": 1, "height": 2, "width": 2, "out_channels": 1}
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]]).reshape(1, 1, 2, 2)
    nearest = build(OpSpec(kind="resize_nearest", **shape, out_height=4, out_width=3))
    assert nearest(x, torch.zeros(1, 1, 4, 3))[0, 0].tolist() == [[1, 1, 2], [1, 1, 2], [3, 3, 5], [3, 3, 5]]
    shrink = build(OpSpec(kind="shrink", **shape, out_height=1, out_width=1, stride=2))
    assert shrink(x).tolist() == [[[[2.75]]]]


def test_a_margin_is_of_zeros():
    pad = build(OpSpec(kind="pad", in_channels=1, height=1, width=2, out_channels=1, out_height=3, out_width=4))
    assert pad(torch.ones(1, 1, 1, 2))[0, 0].tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
