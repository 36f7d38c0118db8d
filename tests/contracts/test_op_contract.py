"""What every operation and every candidate owes: parametrised over `OPERATIONS` and `CANDIDATE_OPS`."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from nas.ops import OPERATIONS, OpSpec, build, example_inputs, is_free, macs, out_size
from nas.ops.candidates import CANDIDATE_OPS, EdgeShape, candidate_specs
from nas.ops.chains import CHAINS, layers_of
from nas.ops.spec import DROPOUTS

EDGES = [
    EdgeShape(in_channels=6, out_channels=out_channels, height=height, width=width, stride=stride)
    for out_channels in (6, 10)
    for height, width in ((9, 7), (6, 5))
    for stride in (1, 2)
]


KEEPING_CHANNELS = {
    "max_pool",
    "resize",
    "resize_corners",
    "window_pool",
    "global_pool",
    "multiply",
    "add",
    "identity",
    "none",
    "avg_pool",
    "bin_pool",
    "square_bin_pool",
    "global_max_pool",
    "gate_channels",
    "gate_pixels",
    "shift",
    "blend",
    "complement",
    "channel_conv_sigmoid",
    "channel_shuffle",
    "resize_nearest",
    "pad",
    "shrink",
    "shrinking_pool",
    "pool_positions",
    "unpool",
    *DROPOUTS,
    *(name for name in CHAINS if not {"conv", "deconv"} & set(layers_of(name))),
}
ATTENTION = {"fast_attention", "relu_linear_attention", "softmax_attention"}
ZOOMABLE = {"conv_2x", "conv_downup", "conv_2x_downup"}
DECONVS = {name for name in CHAINS if "deconv" in layers_of(name)}
WITH_KERNEL = {"max_pool", "conv_bn_relu", "relu_conv_bn", "relu_sep_conv_bn", "inverted_residual", "avg_pool", *ZOOMABLE, *CHAINS}
HALVED_OR_DOUBLED = {
    "factorized_reduce",
    "reduce_bn_relu",
    "window_pool",
    "shrink",
    "shrinking_pool",
    "pool_positions",
    "unpool",
    *DECONVS,
}
GROUPS = {"relu_linear_attention": 2, "softmax_attention": 2, "concat": 3, "channel_shuffle": 2}


PATCHWISE = {
    "patch_halo": OpSpec(kind="patch_halo", in_channels=6, height=4, width=6, out_channels=6, out_height=8, out_width=12, kernel=2),
    "patch_conv": OpSpec(kind="patch_conv", in_channels=6, height=4, width=6, out_channels=10, out_height=4, out_width=6, kernel=2),
    "patch_depthwise": OpSpec(
        kind="patch_depthwise", in_channels=6, height=8, width=12, out_channels=6, out_height=4, out_width=6, kernel=4
    ),
}
"""Patches of 2x2 pixels, on a grid of 2x3; kernels are inputs of the operations."""


def spec_of_kind(kind: str) -> OpSpec:
    """A spec of any kind, as spaces write them, on a map of odd size."""
    if kind in PATCHWISE:
        return PATCHWISE[kind]
    sizes = {
        "transposed_conv": (13, 9),
        "resize": (13, 9),
        "resize_corners": (13, 9),
        "factorized_reduce": (4, 3),
        "reduce_bn_relu": (4, 3),
        "window_pool": (2, 1),
        "global_pool": (1, 1),
        "global_max_pool": (1, 1),
        "bin_pool": (3, 3),
        "square_bin_pool": (3, 2),
        "resize_nearest": (13, 9),
        "pad": (9, 7),
        "shrink": (4, 3),
        "shrinking_pool": (4, 3),
        "pool_positions": (4, 3),
        "unpool": (13, 9),
        "channel_conv_sigmoid": (1, 1),
        **dict.fromkeys(DECONVS, (13, 9)),
    }
    channels = {
        "argmax": 1,
        "concat": 15,
        "channel_statistics": 2,
        "channel_dot": 1,
        "first_channels": 2,
        "last_channels": 2,
        "relu_linear_attention": 2,
        "coordinates": 8,
    }
    stride = 2 if kind in HALVED_OR_DOUBLED else 1
    keeps = kind in KEEPING_CHANNELS
    height, width = sizes.get(kind, (7, 5))
    return OpSpec(
        kind=kind,
        in_channels=6,
        height=1 if kind == "channel_conv_sigmoid" else 7,
        width=1 if kind == "channel_conv_sigmoid" else 5,
        out_channels=channels.get(kind, 6 if keeps else 10),
        out_height=height,
        out_width=width,
        kernel=5
        if kind == "window_pool"
        else 3
        if kind in {*WITH_KERNEL, "bin_pool", "square_bin_pool", "channel_conv_sigmoid"}
        else 1,
        stride=stride,
        groups=GROUPS.get(kind, 1),
        expansion=3 if kind == "inverted_residual" else 1,
        stride_width=3 if kind == "window_pool" else 0,
    )


SPECS = [spec_of_kind(kind) for kind in OPERATIONS]
SPECS += [replace(spec_of_kind(kind), stride=2, out_height=4, out_width=3) for kind in sorted(ZOOMABLE)]
SPECS += [
    spec
    for edge in EDGES
    for name in CANDIDATE_OPS
    if name != "max_pool_3x3" or edge.in_channels == edge.out_channels
    for spec in (CANDIDATE_OPS[name](edge),)
]
SPECS += [replace(spec_of_kind(kind), kernel=2, stride=2, out_height=4, out_width=3) for kind in ("max_pool", "avg_pool")]
SPECS += [replace(spec_of_kind(kind), kernel=2) for kind in sorted(DECONVS)]
SPECS += [replace(spec_of_kind("conv_bn_relu"), kernel=2, stride=2, out_height=4, out_width=3)]
SPECS += [
    replace(spec_of_kind("conv_bn3_prelu"), kernel_width=1, dilation=2),
    replace(spec_of_kind("conv_bn"), kernel=1, kernel_width=3),
]
RUNNING = [spec for spec in dict.fromkeys(SPECS) if spec.kind != "none"]


def _run(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    output = module(*inputs)
    assert isinstance(output, Tensor)
    return output


@pytest.mark.parametrize("spec", RUNNING, ids=lambda spec: spec.key)
def test_a_module_built_from_its_spec_runs_its_example_inputs_to_the_stated_shape(spec: OpSpec) -> None:
    inputs = example_inputs(spec, batch=2)
    assert tuple(inputs[0].shape) == (2, spec.in_channels, spec.height, spec.width)
    assert tuple(_run(build(spec), inputs).shape) == (2, spec.out_channels, spec.out_height, spec.out_width)


@pytest.mark.parametrize("spec", RUNNING, ids=lambda spec: spec.key)
def test_the_key_alone_determines_the_module(spec: OpSpec) -> None:
    first, second = build(spec).eval(), build(OpSpec.from_key(spec.key)).eval()
    second.load_state_dict(first.state_dict())
    inputs = example_inputs(spec, batch=2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(_run(first, inputs), _run(second, inputs))


@pytest.mark.parametrize("spec", RUNNING, ids=lambda spec: spec.key)
def test_inputs_are_left_alone_and_gradients_flow(spec: OpSpec) -> None:
    inputs = example_inputs(spec, batch=2, generator=torch.Generator().manual_seed(0))
    copies = [x.clone() for x in inputs]
    inputs[0].requires_grad_()
    module = build(spec)
    output = _run(module, inputs)
    for x, copy in zip(inputs, copies, strict=True):
        assert torch.equal(x, copy)
    if spec.kind in ("argmax", "pool_positions"):
        assert not output.requires_grad
        assert spec.kind != "argmax" or not output.is_floating_point()
        return
    (output * torch.randn_like(output)).sum().backward()
    assert inputs[0].grad is not None
    assert inputs[0].grad.abs().sum() > 0
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize("kind", list(OPERATIONS))
def test_macs_are_a_whole_number_and_positive_exactly_where_there_are_kernels_or_products_of_matrices(kind: str) -> None:
    spec = spec_of_kind(kind)
    count = macs(spec)
    assert isinstance(count, int)
    kernels = [m for m in build(spec).modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d)]
    assert (count > 0) == (bool(kernels) or kind in {*ATTENTION, "patch_conv", "patch_depthwise"})


@pytest.mark.parametrize("kind", list(OPERATIONS))
def test_only_what_does_nothing_is_free(kind: str) -> None:
    spec = spec_of_kind(kind)
    if kind == "none":
        assert is_free(spec)
        return
    inputs = example_inputs(spec)
    output = _run(build(spec).eval(), inputs)
    assert is_free(spec) == (output is inputs[0])


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    spec = OpSpec(kind="magic", in_channels=1, height=1, width=1, out_channels=1, out_height=1, out_width=1)
    for use in (build, macs, example_inputs):
        with pytest.raises(ValueError, match="got operation kind 'magic', expected one of conv_bn_relu"):
            use(spec)


@pytest.mark.parametrize("edge", EDGES, ids=lambda e: f"{e.in_channels}-{e.out_channels}-{e.height}x{e.width}-s{e.stride}")
def test_all_candidates_of_an_edge_agree_on_its_shape(edge: EdgeShape) -> None:
    names = tuple(n for n in CANDIDATE_OPS if n != "max_pool_3x3" or edge.in_channels == edge.out_channels)
    for spec in candidate_specs(names, edge).values():
        assert (spec.in_channels, spec.height, spec.width) == (edge.in_channels, edge.height, edge.width)
        assert (spec.out_channels, spec.out_height, spec.out_width) == (
            edge.out_channels,
            out_size(edge.height, edge.stride),
            out_size(edge.width, edge.stride),
        )
        assert spec.kind in OPERATIONS


@pytest.mark.parametrize("name", [name for name in CANDIDATE_OPS if name != "none"])
def test_a_candidate_runs_at_another_size_than_it_was_built_for(name: str) -> None:
    for stride in (1, 2):
        edge = EdgeShape(in_channels=4, out_channels=4, height=8, width=8, stride=stride)
        output = _run(build(CANDIDATE_OPS[name](edge)).eval(), (torch.randn(1, 4, 11, 7),))
        assert tuple(output.shape) == (1, 4, len(range(0, 11, stride)), len(range(0, 7, stride)))
