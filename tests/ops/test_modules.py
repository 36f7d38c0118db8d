"""What the modules compute, against slices, loops and closed forms written here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.ops import OpSpec, build
from nas.ops.candidates import CANDIDATE_OPS, EdgeShape

SIZES = [(8, 6), (7, 9), (8, 5), (1, 1)]


def _edge(height: int, width: int, *, stride: int = 1, channels: tuple[int, int] = (4, 6)) -> EdgeShape:
    return EdgeShape(in_channels=channels[0], out_channels=channels[1], height=height, width=width, stride=stride)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _eval_with_random_statistics(module: nn.Module) -> nn.Module:
    generator = _generator()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight.data, part.bias.data, part.running_mean, part.running_var):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module.eval()


def _normalised(x: Tensor, bn: nn.BatchNorm2d) -> Tensor:
    assert bn.running_mean is not None
    assert bn.running_var is not None
    shape = (1, -1, 1, 1)
    scale = (bn.weight / torch.sqrt(bn.running_var + bn.eps)).view(shape)
    return (x - bn.running_mean.view(shape)) * scale + bn.bias.view(shape)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_factorized_reduce_takes_even_pixels_and_odd_pixels_of_the_padded_map(height: int, width: int) -> None:
    module = _eval_with_random_statistics(build(_edge(height, width, stride=2, channels=(4, 7)).spec("factorized_reduce")))
    x = torch.randn(2, 4, height, width, generator=_generator())
    positive = x.clamp(min=0)
    padded = torch.zeros(2, 4, height + height % 2, width + width % 2)
    padded[:, :, :height, :width] = positive
    even = torch.einsum("ncij,oc->noij", padded[:, :, ::2, ::2], module.conv_even.weight[:, :, 0, 0])
    odd = torch.einsum("ncij,oc->noij", padded[:, :, 1::2, 1::2], module.conv_odd.weight[:, :, 0, 0])
    expected = _normalised(torch.cat([even, odd], dim=1), module.bn)
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["relu_conv_bn", "relu_sep_conv_bn", "factorized_reduce", "transposed_conv"])
def test_the_relu_comes_first(kind: str) -> None:
    stride = 2 if kind == "factorized_reduce" else 1
    module = _eval_with_random_statistics(build(_edge(6, 6, stride=stride).spec(kind)))
    negative = -torch.rand(2, 4, 6, 6, generator=_generator())
    inputs = (negative, torch.zeros(2, 1, 12, 12)) if kind == "transposed_conv" else (negative,)
    output = module(*inputs)
    constant = _normalised(torch.zeros_like(output), module.bn)
    torch.testing.assert_close(output, constant)


def test_the_stem_convolution_ends_with_a_relu() -> None:
    module = build(_edge(6, 6).spec("conv_bn_relu", kernel=3))
    output = module(torch.randn(2, 4, 6, 6, generator=_generator()))
    assert output.min() == 0
    assert output.max() > 0


@pytest.mark.parametrize("dilation", [1, 2, 4, 8, 12])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_separable_convolution_reads_nine_pixels_spaced_by_its_dilation(dilation: int, stride: int) -> None:
    name = "sep_conv_3x3" if dilation == 1 else f"dil_sep_conv_3x3_d{dilation}"
    module = build(CANDIDATE_OPS[name](_edge(33, 33, stride=stride))).eval()
    x = (torch.rand(1, 4, 33, 33, generator=_generator()) + 1).requires_grad_()
    module(x)[0, 0, 16 // stride, 16 // stride].backward()
    assert x.grad is not None
    read = {tuple(position) for position in x.grad[0].abs().sum(dim=0).nonzero().tolist()}
    assert read == {(16 + i * dilation, 16 + j * dilation) for i in (-1, 0, 1) for j in (-1, 0, 1)}


def test_a_separable_convolution_has_one_depthwise_and_one_pointwise_kernel() -> None:
    module = build(_edge(8, 8, channels=(5, 7)).spec("relu_sep_conv_bn", kernel=3))
    assert sum(p.numel() for p in module.parameters()) == 9 * 5 + 5 * 7 + 2 * 7


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("stride", [1, 2])
def test_max_pool_takes_the_largest_of_the_pixels_around(height: int, width: int, stride: int) -> None:
    x = torch.randn(1, 2, height, width, generator=_generator())
    pooled = build(_edge(height, width, stride=stride, channels=(2, 2)).spec("max_pool", kernel=3))(x)
    for row, i in enumerate(range(0, height, stride)):
        for column, j in enumerate(range(0, width, stride)):
            window = x[:, :, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            assert torch.equal(pooled[:, :, row, column], window.amax(dim=(2, 3)))


@pytest.mark.parametrize("bins", [1, 2, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_global_pooling_averages_cells_of_a_grid(bins: int, stride: int) -> None:
    side = 10 * bins
    module = build(_edge(side, side, stride=stride).spec("grid_pool", kernel=bins))
    x = torch.randn(2, 4, side, side, generator=_generator())
    means = x.view(2, 4, bins, 10, bins, 10).mean(dim=(3, 5))
    grid = torch.einsum("ncij,oc->noij", means, module.conv.weight[:, :, 0, 0]) + module.conv.bias.view(1, -1, 1, 1)
    corners = module(x)[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]  # bilinear resizing repeats the outermost bins there
    torch.testing.assert_close(corners, grid[:, :, [0, 0, -1, -1], [0, -1, 0, -1]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("source", "target"), [((3, 4), (6, 8)), ((3, 4), (5, 7)), ((5, 7), (3, 4)), ((1, 1), (4, 3))])
def test_resize_is_bilinear_between_pixel_centres(source: tuple[int, int], target: tuple[int, int]) -> None:
    x = torch.randn(1, 2, *source, dtype=torch.float64, generator=_generator())
    spec = OpSpec(
        kind="resize",
        in_channels=2,
        height=source[0],
        width=source[1],
        out_channels=2,
        out_height=target[0],
        out_width=target[1],
    )
    resized = build(spec)(x, torch.zeros(1, 1, *target))
    for i, j in np.ndindex(*target):
        rows, columns = (_taps(position, n, m) for position, n, m in zip((i, j), source, target, strict=True))
        expected = sum(a * b * x[0, :, r, c] for r, a in rows for c, b in columns)
        torch.testing.assert_close(resized[0, :, i, j], expected)


def _taps(position: int, source: int, target: int) -> list[tuple[int, float]]:
    """The two source pixels around the centre of a target pixel, and how much each counts."""
    centre = max((position + 0.5) * source / target - 0.5, 0.0)
    low = min(int(centre), source - 1)
    return [(low, 1 - (centre - low)), (min(low + 1, source - 1), centre - low)]


@pytest.mark.parametrize(("height", "width"), [(8, 10), (7, 9), (8, 9)])
def test_transposed_convolution_spreads_a_pixel_over_four_by_four_and_crops(height: int, width: int) -> None:
    source = (-(-height // 2), -(-width // 2))
    spec = OpSpec(
        kind="transposed_conv",
        in_channels=2,
        height=source[0],
        width=source[1],
        out_channels=3,
        out_height=height,
        out_width=width,
    )
    module = _eval_with_random_statistics(build(spec))
    x = torch.randn(1, 2, *source, generator=_generator())
    canvas = torch.zeros(1, 3, 2 * source[0] + 2, 2 * source[1] + 2)
    for i, j in np.ndindex(*source):
        pixel = x[0, :, i, j].clamp(min=0)
        canvas[0, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += torch.einsum("c,cokl->okl", pixel, module.conv.weight)
    expected = _normalised(canvas[:, :, 1 : 1 + height, 1 : 1 + width], module.bn)
    torch.testing.assert_close(module(x, torch.zeros(1, 1, height, width)), expected, rtol=1e-5, atol=1e-5)


def test_argmax_gives_the_first_largest_class_of_each_pixel() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, 2.0], [1.0, -1.0]]).view(1, 3, 1, 2)
    spec = OpSpec(kind="argmax", in_channels=3, height=1, width=2, out_channels=1, out_height=1, out_width=2)
    labels = build(spec)(logits)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [[[[1, 0]]]]


def test_add_takes_any_number_of_maps_and_leaves_them_alone() -> None:
    spec = OpSpec(kind="add", in_channels=1, height=1, width=2, out_channels=1, out_height=1, out_width=2)
    maps = [torch.tensor([[[[float(i), 10.0 * i]]]]) for i in (1, 2, 3)]
    assert build(spec)(*maps).tolist() == [[[[6.0, 60.0]]]]
    assert maps[0].tolist() == [[[[1.0, 10.0]]]]
