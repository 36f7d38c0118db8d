"""The supernet's skip of stride 2: which pixels it takes, what it counts."""

from __future__ import annotations

import pytest
import torch

from nas.ops import OpSpec, build, macs
from tests.random_weights import as_if_trained


def reduction(height: int, width: int, *, channels: tuple[int, int]) -> OpSpec:
    sizes = {"height": height, "width": width, "out_height": -(-height // 2), "out_width": -(-width // 2)}
    return OpSpec(kind="reduce_bn_relu", in_channels=channels[0], out_channels=channels[1], stride=2, **sizes)


@pytest.mark.parametrize("size", [(6, 4), (7, 5), (1, 1), (2, 3)])
def test_half_of_the_channels_see_even_pixels_and_half_odd_ones_and_a_padded_side_counts_as_zero(size):
    spec = reduction(*size, channels=(4, 7))
    module = as_if_trained(build(spec)).double()
    x = torch.randn(2, 4, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shape = (2, 4, spec.out_height, spec.out_width)
    odd = torch.zeros(shape, dtype=torch.float64)
    inside = x[:, :, 1::2, 1::2]
    odd[:, :, : inside.shape[2], : inside.shape[3]] = inside
    maps = []
    for pixels, conv in ((x[:, :, ::2, ::2], module.conv_even), (odd, module.conv_odd)):
        maps.append(torch.einsum("nchw,oc->nohw", pixels, conv.weight[:, :, 0, 0]))
    assert [one.shape[1] for one in maps] == [4, 3]
    bn = module.bn
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    y = (torch.cat(maps, dim=1) - bn.running_mean[:, None, None]) * scale[:, None, None] + bn.bias[:, None, None]
    torch.testing.assert_close(module(x), y.clamp(min=0), rtol=1e-9, atol=1e-9)


def test_macs_are_those_of_one_pointwise_convolution_at_the_output():
    assert macs(reduction(7, 5, channels=(4, 6))) == 4 * 6 * 4 * 3
    assert sum(parameter.numel() for parameter in build(reduction(7, 5, channels=(4, 6))).parameters()) == 4 * 6 + 2 * 6
