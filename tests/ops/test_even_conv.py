"""Kernels with even sides by hand."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from nas.ops.even_conv import EvenConv


def test_windows_of_two_pixels_read_zeros_beyond_the_edge():
    conv = EvenConv(3, 4, 2, stride=2)
    x = torch.randn(2, 3, 5, 7)
    padded = torch.zeros(2, 3, 6, 8)
    padded[:, :, :5, :7] = x
    expected = functional.conv2d(padded, conv.weight, conv.bias, 2)
    assert torch.equal(conv(x), expected)
    assert torch.equal(conv(padded), expected)


def test_each_side_is_even_or_odd_on_its_own():
    conv = EvenConv(2, 2, (4, 3), stride=1, padding=(0, 1), dilation=(2, 1), bias=False)
    plain = nn.Conv2d(2, 2, (4, 3), padding=(0, 1), dilation=(2, 1), bias=False)
    plain.load_state_dict(conv.state_dict())
    x = torch.randn(1, 2, 5, 4)
    assert torch.equal(conv(x), plain(functional.pad(x, (0, 0, 0, 6))))
    assert conv(x).shape == x.shape
