"""Gates, shuffles and slices by hand."""

from __future__ import annotations

import torch

from nas.ops import OpSpec, build


def module_of(kind: str, *, channels: int = 4, out: int | None = None, **fields: int):
    shape = {"height": 1, "width": 2, "out_height": 1, "out_width": 2}
    return build(OpSpec(kind=kind, in_channels=channels, out_channels=channels if out is None else out, **shape, **fields))


def test_products_and_sums_are_broadcast():
    x, vector, pixels = torch.randn(2, 4, 1, 2), torch.randn(2, 4, 1, 1), torch.randn(2, 1, 1, 2)
    assert torch.equal(module_of("gate_channels")(x, vector), x * vector.expand_as(x))
    assert torch.equal(module_of("gate_pixels")(x, pixels), x * pixels.expand_as(x))
    assert torch.equal(module_of("shift")(x, vector), x + vector.expand_as(x))


def test_a_blend_lies_between_its_maps_and_a_dot_is_squashed():
    x, other = torch.ones(1, 4, 1, 2), torch.zeros(1, 4, 1, 2)
    gate = torch.tensor([0.25, 1.0]).reshape(1, 1, 1, 2)
    assert module_of("blend")(x, other, gate)[0, 0, 0].tolist() == [0.25, 1.0]
    assert module_of("complement")(gate)[0, 0, 0].tolist() == [0.75, 0.0]
    dot = module_of("channel_dot", out=1)(2 * x, x)
    assert torch.allclose(dot, torch.sigmoid(torch.tensor(8.0)).expand(1, 1, 1, 2))


def test_channels_are_shuffled_and_cut():
    x = torch.arange(6.0).reshape(1, 6, 1, 1).expand(1, 6, 1, 2)
    assert module_of("channel_shuffle", channels=6, groups=2)(x)[0, :, 0, 0].tolist() == [0, 3, 1, 4, 2, 5]
    assert module_of("first_channels", channels=6, out=2)(x)[0, :, 0, 0].tolist() == [0, 1]
    assert module_of("last_channels", channels=6, out=4)(x)[0, :, 0, 0].tolist() == [2, 3, 4, 5]


def test_a_gate_of_channels_reads_their_neighbours():
    module = module_of("channel_conv_sigmoid", channels=5, kernel=3)
    with torch.no_grad():
        module.conv.weight.copy_(torch.tensor([1.0, 0.0, -1.0]).reshape(1, 1, 3))
    x = torch.arange(10.0).reshape(2, 5, 1, 1)
    expected = torch.sigmoid(torch.tensor([-1.0, -2.0, -2.0, -2.0, 3.0]))
    assert torch.allclose(module(x)[0, :, 0, 0], expected)
    assert module(x).shape == (2, 5, 1, 1)
