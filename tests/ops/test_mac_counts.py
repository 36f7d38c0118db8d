"""MACs of every operation, counted again on the real forward pass."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from nas.ops import OpSpec, build, example_inputs, macs
from nas.ops.candidates import CANDIDATE_OPS, EdgeShape

GEOMETRIES = [(9, 12, 1), (9, 12, 2), (8, 11, 2)]


def counted_macs(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Products of all convolutions that run, from the shapes that hooks see, for one image."""
    products = 0

    def count(conv: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal products
        assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
        taps = math.prod(conv.kernel_size)
        if isinstance(conv, nn.ConvTranspose2d):
            products += arguments[0][0].numel() * conv.out_channels // conv.groups * taps
        else:
            products += output[0].numel() * conv.in_channels // conv.groups * taps

    handles = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    with torch.no_grad():
        module(*inputs)
    for handle in handles:
        handle.remove()
    return products


@pytest.mark.parametrize(("height", "width", "stride"), GEOMETRIES)
@pytest.mark.parametrize("name", list(CANDIDATE_OPS))
def test_macs_of_a_candidate_are_those_of_its_forward_pass(name: str, height: int, width: int, stride: int) -> None:
    out_channels = 6 if name == "max_pool_3x3" else 10
    edge = EdgeShape(in_channels=6, out_channels=out_channels, height=height, width=width, stride=stride)
    spec = CANDIDATE_OPS[name](edge)
    assert macs(spec) == counted_macs(build(spec).eval(), example_inputs(spec))


@pytest.mark.parametrize("kind", ["conv_bn_relu", "relu_conv_bn"])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_macs_of_a_grouped_convolution(kind: str, groups: int) -> None:
    spec = OpSpec(
        kind=kind,
        in_channels=4,
        height=9,
        width=7,
        out_channels=8,
        out_height=5,
        out_width=4,
        kernel=3,
        stride=2,
        groups=groups,
    )
    assert macs(spec) == counted_macs(build(spec).eval(), example_inputs(spec)) == 9 * 4 * 8 * 20 // groups


@pytest.mark.parametrize(("kind", "size"), [("transposed_conv", (13, 10)), ("resize", (13, 10)), ("classifier", (7, 5))])
def test_macs_of_the_operations_of_heads(kind: str, size: tuple[int, int]) -> None:
    spec = OpSpec(kind=kind, in_channels=3, height=7, width=5, out_channels=3, out_height=size[0], out_width=size[1])
    assert macs(spec) == counted_macs(build(spec).eval(), example_inputs(spec))


def test_macs_do_not_depend_on_the_batch() -> None:
    spec = OpSpec(kind="relu_conv_bn", in_channels=3, height=7, width=5, out_channels=2, out_height=7, out_width=5, kernel=3)
    assert macs(spec) == counted_macs(build(spec).eval(), example_inputs(spec, batch=3)) == 9 * 3 * 2 * 35
