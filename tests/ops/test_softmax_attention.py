"""Attention with softmax by loops over heads and pixels."""

from __future__ import annotations

import torch

from nas.ops import OpSpec, build, macs

SPEC = OpSpec(kind="softmax_attention", in_channels=4, height=2, width=3, out_channels=6, out_height=2, out_width=3, groups=2)


def test_each_pixel_is_the_mean_of_all_values_weighted_by_the_likeness_of_its_query_to_their_keys():
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, 2, 3), torch.randn(2, 4, 2, 3), torch.randn(2, 6, 2, 3)
    found = build(SPEC)(query, key, value)
    for image in range(2):
        for head in range(2):
            q, k = (x[image, 2 * head : 2 * head + 2].flatten(1) for x in (query, key))
            v = value[image, 3 * head : 3 * head + 3].flatten(1)
            for pixel in range(6):
                likeness = torch.tensor([(q[:, pixel] * k[:, other]).sum().exp() for other in range(6)])
                expected = (v * likeness / likeness.sum()).sum(dim=1)
                assert torch.allclose(found[image, 3 * head : 3 * head + 3, pixel // 3, pixel % 3], expected, atol=1e-5)


def test_both_products_of_matrices_are_counted():
    assert macs(SPEC) == 2 * (2 * 6 * 6) + 2 * (3 * 6 * 6)
