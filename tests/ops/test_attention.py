"""Linear attention against the sums over all pairs of pixels."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from nas.ops import OpSpec, build, macs

SHAPE = {"height": 3, "width": 4, "out_height": 3, "out_width": 4}


def test_fast_attention_weighs_values_by_cosines():
    spec = OpSpec(kind="fast_attention", in_channels=2, out_channels=5, **SHAPE)
    query, key, value = torch.randn(2, 2, 3, 4), torch.randn(2, 2, 3, 4), torch.randn(2, 5, 3, 4)
    got = build(spec)(query, key, value).flatten(2)
    for image in range(2):
        q, k, v = (x[image].flatten(1).T for x in (query, key, value))
        cosines = functional.cosine_similarity(q[:, None], k[None], dim=2)  # [H W, H W]
        assert torch.allclose(got[image].T, cosines @ v, atol=1e-5)
    assert macs(spec) == (5 * 12 * 2) + (5 * 2 * 12)


def test_heads_of_linear_attention_average_values_by_rectified_similarities():
    spec = OpSpec(kind="relu_linear_attention", in_channels=18, out_channels=6, groups=2, **SHAPE)
    x = torch.randn(2, 18, 3, 4)
    got = build(spec)(x).flatten(2)
    for image in range(2):
        for head in range(2):
            rows = x[image, 9 * head : 9 * head + 9].flatten(1)
            q, k, v = rows[:3].relu().T, rows[3:6].relu().T, rows[6:].T
            similarities = q @ k.T
            expected = similarities @ v / (similarities.sum(dim=1, keepdim=True) + 2**-14)
            assert torch.allclose(got[image, 3 * head : 3 * head + 3].T, expected, atol=1e-5)
    assert macs(spec) == 2 * (4 * 12 * 3 + 4 * 3 * 12)


def test_a_pixel_that_nothing_is_similar_to_gets_zero_and_finite_gradients():
    linear = build(OpSpec(kind="relu_linear_attention", in_channels=3, out_channels=1, **SHAPE))
    fast = build(OpSpec(kind="fast_attention", in_channels=1, out_channels=1, **SHAPE))
    for run in (linear, lambda x: fast(*x.relu().split(1, dim=1))):
        x = torch.randn(1, 3, 3, 4)
        x[:, 0, 0, 0] = -1.0
        y = run(x.requires_grad_())
        assert y[0, 0, 0, 0] == 0.0
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_over_pixels_are_those_of_float32_where_a_training_computes_in_less(dtype):
    side = {"height": 64, "width": 64, "out_height": 64, "out_width": 64}
    kinds = {"fast_attention": (2, 5, 5), "relu_linear_attention": (18, 6, 2)}
    for kind, (inside, outside, groups) in kinds.items():
        operation = build(OpSpec(kind=kind, in_channels=inside, out_channels=outside, groups=groups, **side))
        maps = [50 + torch.rand(1, inside, 64, 64), 50 + torch.rand(1, inside, 64, 64), 50 + torch.rand(1, outside, 64, 64)]
        maps = [one.to(dtype) for one in (maps if kind == "fast_attention" else maps[:1])]
        with torch.autocast("cpu", dtype=dtype):
            got = operation(*maps)
        torch.testing.assert_close(got, operation(*(one.float() for one in maps)))
