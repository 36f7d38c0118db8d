"""The inverted residual: its structure against one of PyTorch's parts, groups that never mix, MACs counted again."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from nas.ops import OpSpec, build, example_inputs, macs
from tests.ops.test_mac_counts import counted_macs
from tests.random_weights import as_if_trained


def spec_of(kernel=3, expansion=3, groups=1, dilation=1, *, stride=1, size=(9, 7)) -> OpSpec:
    height, width = size
    return OpSpec(
        kind="inverted_residual",
        in_channels=4,
        height=height,
        width=width,
        out_channels=6,
        out_height=-(-height // stride),
        out_width=-(-width // stride),
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        groups=groups,
        expansion=expansion,
    )


SPECS = [
    spec_of(kernel, expansion, groups, dilation, stride=stride, size=size)
    for kernel, (expansion, groups), dilation, stride, size in itertools.product(
        (3, 5), ((1, 1), (1, 2), (6, 1)), (1, 2), (1, 2), ((9, 7), (8, 6))
    )
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.key)
def test_equals_three_convolutions_each_with_batch_norm_and_no_last_activation(spec: OpSpec) -> None:
    hidden = 4 * spec.expansion
    reference = nn.Sequential(
        nn.Conv2d(4, hidden, 1, groups=spec.groups, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.Conv2d(
            hidden,
            hidden,
            spec.kernel,
            spec.stride,
            spec.dilation * (spec.kernel - 1) // 2,
            spec.dilation,
            groups=hidden,
            bias=False,
        ),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, 6, 1, groups=spec.groups, bias=False),
        nn.BatchNorm2d(6),
    )
    as_if_trained(reference)
    module = build(spec).eval()
    module.load_state_dict(dict(zip(module.state_dict(), reference.state_dict().values(), strict=True)))
    (x,) = example_inputs(spec, batch=2)
    output = module(x)
    assert tuple(output.shape) == (2, 6, spec.out_height, spec.out_width)
    torch.testing.assert_close(output, reference(x))
    assert (output < 0).any()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.key)
def test_macs_are_those_of_the_forward_pass(spec: OpSpec) -> None:
    assert macs(spec) == counted_macs(build(spec).eval(), example_inputs(spec))


def test_halves_of_the_channels_never_mix_under_two_groups() -> None:
    spec = spec_of(expansion=1, groups=2)
    module = build(spec).eval()
    (x,) = example_inputs(spec)
    changed = x.clone()
    changed[:, :2] += 1
    before, after = module(x), module(changed)
    assert torch.equal(before[:, 3:], after[:, 3:])
    assert not torch.equal(before[:, :3], after[:, :3])


@pytest.mark.parametrize(("name", "fan_out"), [("expand", 768), ("depthwise", 768 * 25), ("project", 256)])
def test_weights_start_normal_by_fan_out_whatever_the_groups(name: str, fan_out: int) -> None:
    torch.manual_seed(0)
    size = {"in_channels": 128, "height": 8, "width": 8, "out_channels": 256, "out_height": 8, "out_width": 8}
    weight = build(OpSpec(kind="inverted_residual", **size, kernel=5, expansion=6, groups=2)).get_submodule(name).weight.detach()
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / fan_out), rel=0.02)
    assert abs(float(weight.mean())) < 0.02 * math.sqrt(2 / fan_out)
