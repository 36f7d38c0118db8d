"""FasterSeg's operators: where they compute, what they count, what they equal step by step."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from nas.ops import OpSpec, build, macs
from nas.ops.zoomed_specs import half_size
from tests.random_weights import as_if_trained


def operator(kind: str, *, stride: int, size: tuple[int, int] = (7, 5)) -> OpSpec:
    out = tuple(-(-side // stride) for side in size)
    sizes = {"height": size[0], "width": size[1], "out_height": out[0], "out_width": out[1]}
    return OpSpec(kind=kind, in_channels=2, out_channels=3, kernel=3, stride=stride, **sizes)


@pytest.mark.parametrize(
    ("kind", "stride", "count"),
    [
        ("conv_2x", 1, 9 * (2 + 3) * 3 * 35),
        ("conv_2x", 2, 9 * (2 + 3) * 3 * 12),
        ("conv_downup", 1, 9 * 2 * 3 * 6),
        ("conv_downup", 2, 9 * 2 * 3 * 12),
        ("conv_2x_downup", 1, 9 * (2 + 3) * 3 * 6),
        ("conv_2x_downup", 2, 9 * (2 + 3) * 3 * 12),
    ],
)
def test_macs_count_the_convolutions_at_the_size_at_which_they_run(kind, stride, count):
    spec = operator(kind, stride=stride)
    assert macs(spec) == count
    weights = 9 * 2 * 3 + (9 * 3 * 3 if "2x" in kind else 0)
    norms = 2 * 3 * (2 if "2x" in kind else 1)
    assert sum(parameter.numel() for parameter in build(spec).parameters()) == weights + norms


def test_a_zoomed_operator_halves_downwards_where_it_comes_back_and_keeps_a_pixel():
    assert [half_size(size, 1) for size in (1, 2, 3, 8)] == [1, 1, 1, 4]
    assert [half_size(size, 2) for size in (1, 2, 3, 8)] == [1, 1, 2, 4]
    for kind in ("conv_downup", "conv_2x_downup"):
        module = as_if_trained(build(operator(kind, stride=1)))
        assert module(torch.randn(1, 2, 1, 1)).shape == (1, 3, 1, 1)
        assert float(module(torch.randn(1, 2, 9, 9)).detach().min()) == 0.0


def normalised(x, conv, bn):
    """Convolution and batch norm by their formulas."""
    y = functional.conv2d(x, conv.weight, stride=conv.stride, padding=1)
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    return (y - bn.running_mean[:, None, None]) * scale[:, None, None] + bn.bias[:, None, None]


def corners(x, size):
    """Bilinear resizing with the corners in place, as a product with a matrix of hat functions for each axis."""
    for axis, wanted in ((2, size[0]), (3, size[1])):
        given = x.shape[axis]
        at = torch.linspace(0, given - 1, wanted, dtype=x.dtype) if wanted > 1 else torch.zeros(1, dtype=x.dtype)
        weights = (1 - (at[:, None] - torch.arange(given, dtype=x.dtype)).abs()).clamp(min=0)  # [wanted, given]
        x = torch.movedim(torch.movedim(x, axis, -1) @ weights.T, -1, axis)
    return x


@pytest.mark.parametrize("size", [(7, 5), (8, 6), (3, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", ["conv_2x", "conv_downup", "conv_2x_downup"])
def test_an_operator_is_its_steps(kind, stride, size):
    module = as_if_trained(build(operator(kind, stride=stride))).double()
    x = torch.randn(2, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    zoomed = kind.endswith("downup")
    half = [max(1, side // 2) if stride == 1 else -(-side // 2) for side in size]
    with torch.no_grad():
        y = corners(x, half) if zoomed else x
        for number, name in enumerate(("first", "second")[: 2 if "2x" in kind else 1]):
            part = getattr(module, name)
            y = normalised(y.relu() if number else y, part.conv, part.bn)
        y = corners(y, size) if zoomed and stride == 1 else y
        torch.testing.assert_close(module(x), y.relu(), rtol=1e-9, atol=1e-9)
