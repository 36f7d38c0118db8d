"""Operations of decoders against loops and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from nas.ops import OpSpec, build
from nas.ops.spec import windows


def spec_of(kind: str, *, out_channels: int = 3, out_size=(7, 5), **changes) -> OpSpec:
    height, width = out_size
    return OpSpec(
        kind=kind,
        in_channels=3,
        height=7,
        width=5,
        out_channels=out_channels,
        out_height=height,
        out_width=width,
        **changes,
    )


@pytest.mark.parametrize("size", [(49, 49), (64, 128), (65, 49), (30, 90), (48, 50), (3, 2)])
def test_window_pool_averages_windows_that_are_cut_to_the_map(size: tuple[int, int]) -> None:
    height, width = size
    x = torch.randn(1, 2, height, width, dtype=torch.float64)
    kernel_height, kernel_width = min(49, height), min(49, width)
    tops, lefts = range(0, height - kernel_height + 1, 16), range(0, width - kernel_width + 1, 20)
    output = build(spec_of("window_pool", kernel=49, stride=16, stride_width=20))(x)
    assert output.shape == (1, 2, len(tops), len(lefts))
    assert (windows(height, 49, 16), windows(width, 49, 20)) == (len(tops), len(lefts))
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            mean = x[..., top : top + kernel_height, left : left + kernel_width].mean(dim=(2, 3))
            torch.testing.assert_close(output[..., i, j], mean)


def test_window_pool_without_a_second_stride_has_one() -> None:
    assert build(spec_of("window_pool", kernel=3, stride=2))(torch.randn(1, 3, 7, 9)).shape == (1, 3, 3, 4)


def test_resizing_by_corners_keeps_the_corners_and_a_ramp() -> None:
    ramp = torch.linspace(0, 1, 5, dtype=torch.float64).expand(1, 1, 7, 5)
    output = build(spec_of("resize_corners", out_size=(13, 9)))(ramp, torch.empty(1, 1, 13, 9))
    torch.testing.assert_close(output, torch.linspace(0, 1, 9, dtype=torch.float64).expand(1, 1, 13, 9))
    centred = build(spec_of("resize", out_size=(13, 9)))(ramp, torch.empty(1, 1, 13, 9))
    assert float((centred - output).abs().max()) > 0.02


def test_a_gate_is_the_logistic_function_of_a_convolution() -> None:
    gate = build(spec_of("conv_sigmoid", out_channels=4))
    x = torch.randn(2, 3, 7, 5)
    expected = 1 / (
        1 + torch.exp(-(torch.einsum("oi,nihw->nohw", gate.conv.weight[:, :, 0, 0], x) + gate.conv.bias[:, None, None]))
    )
    torch.testing.assert_close(gate(x), expected)


def test_global_pool_and_multiply() -> None:
    x, y = torch.randn(2, 3, 7, 5), torch.randn(2, 3, 7, 5)
    torch.testing.assert_close(build(spec_of("global_pool", out_size=(1, 1)))(x), x.sum(dim=(2, 3), keepdim=True) / 35)
    assert torch.equal(build(spec_of("multiply"))(x, y), x * y)


@pytest.mark.parametrize("kind", ["plain_conv", "fan_out_classifier", "conv_sigmoid"])
def test_plain_convolutions_start_normal_by_fan_out_with_a_bias(kind: str) -> None:
    torch.manual_seed(0)
    size = {"in_channels": 96, "height": 8, "width": 8, "out_channels": 64, "out_height": 8, "out_width": 8}
    conv = build(OpSpec(kind=kind, **size)).conv
    assert conv.bias is not None
    assert float(conv.weight.detach().std()) == pytest.approx(math.sqrt(2 / 64), rel=0.05)


def test_a_bare_convolution_has_weights_only() -> None:
    x = torch.randn(2, 3, 7, 5)
    conv = build(spec_of("bare_conv", out_channels=4))
    assert {name: tuple(value.shape) for name, value in conv.state_dict().items()} == {"conv.weight": (4, 3, 1, 1)}
    torch.testing.assert_close(conv(x), torch.einsum("oc,nchw->nohw", conv.conv.weight[:, :, 0, 0], x))
