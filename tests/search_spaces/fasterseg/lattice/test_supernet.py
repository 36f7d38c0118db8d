"""The supernet against a plain implementation of the reference's description, its sizes, and slices taken by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch
from plain_supernet import OUTPUTS, PlainSupernet
from same_search import STRIDES, plain_name, plain_of, same_widths
from torch import nn
from torch.nn import functional

from nas.network.network import Network
from nas.space.deployment import Deployment
from nas.space.weights import Weights
from nas.supernet.supernet import Draw, Supernet
from search_spaces.fasterseg.config import FasterSegConfig
from search_spaces.fasterseg.lattice.slimmable import SlimmableConv, SlimmableConvNorm, SlimmableReduce, SwitchableNorm
from search_spaces.fasterseg.space import FasterSeg
from tests.fasterseg_reference import FOLDER, needs_reference

CLASSES = 5
MODES = (None, "max", "min", "random")


@dataclass(frozen=True)
class Case:
    """A small supernet and the images it gets; 52x68 is 7x9, 4x5 and 2x3 at the three scales."""

    layers: int
    filters: int
    size: tuple[int, int]
    path_weights: str = "outputs"

    def supernet(self) -> Supernet:
        """In float64, with logits, affine batch norms and statistics unlike their initial values."""
        config = FasterSegConfig(
            layers=self.layers, filters=self.filters, widths=[4, 8, 12], path_weights=self.path_weights, student_width=8
        )
        return made(FasterSeg(config), filters=self.filters, classes=CLASSES, size=self.size).double()


ODD = Case(layers=4, filters=3, size=(52, 68))
WIDE = Case(layers=3, filters=12, size=(32, 64))
BY_INPUTS = Case(layers=4, filters=3, size=(52, 68), path_weights="inputs")
CASES = [
    *((ODD, name, mode) for name in ("teacher", "student") for mode in MODES),
    (WIDE, "student", None),
    (BY_INPUTS, "student", None),
]


def made(space: FasterSeg, *, filters: int, classes: int, size: tuple[int, int]) -> Supernet:
    torch.manual_seed(0)
    graph = space.graph(Deployment(size, filters, classes))
    network = Network(graph, architecture_sets=space.architecture_sets)
    supernet = Supernet(space, network, [], generator=torch.Generator())
    with torch.no_grad():
        for logits in supernet.arch_parameters():
            logits.normal_()
        for module in supernet.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean):
                    tensor.normal_()
                module.running_var.uniform_(0.5, 2.0)
    return supernet


def draw_of(name: str, mode: str | None, seed: int = 5) -> Draw:
    return Draw("soft", 1.0, torch.Generator().manual_seed(seed), name, False, mode)


@pytest.fixture(scope="module")
def supernets() -> dict[Case, Supernet]:
    """Made once; what a test changes in one is copied from there."""
    return {case: case.supernet() for case in (ODD, WIDE, BY_INPUTS)}


@pytest.mark.parametrize(("case", "name", "mode"), CASES)
def test_outputs_gradients_and_statistics_equal_those_of_the_plain_supernet(supernets, case, name, mode):
    supernet = supernets[case]
    plain = plain_of(supernet, filters=case.filters, classes=CLASSES)
    supernet.zero_grad()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, *case.size, generator=generator, dtype=torch.float64)
    found, _ = supernet(images, draw_of(name, mode))
    expected = plain(images, name, same_widths(draw_of(name, mode), plain))
    assert list(expected) == list(OUTPUTS)
    directions = [torch.randn(output.shape, generator=generator, dtype=torch.float64) for output in found]
    torch.autograd.backward(found, directions)
    torch.autograd.backward(list(expected.values()), directions)
    for one, other in zip(found, expected.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    moved = assert_same_gradients(supernet, plain)
    assert moved == {f"{name}.{part}" for part in parts_with_gradient(name, mode)}
    buffers = dict(plain.named_buffers())
    for key, tensor in supernet.named_buffers():
        torch.testing.assert_close(tensor, buffers[plain_name(key, plain)], rtol=1e-9, atol=1e-9)


def assert_same_gradients(supernet: Supernet, plain: PlainSupernet) -> set[str]:
    """Of all weights and logits; the groups of logits (set.alpha, .beta, .ratio) that have one."""
    parameters = dict(plain.named_parameters())
    moved = set()
    for key, parameter in supernet.named_parameters():
        other = plain_name(key, plain)
        expected = parameters[other].grad
        found = parameter.grad
        zero = torch.zeros_like(parameter)
        found, expected = (zero if grad is None else grad for grad in (found, expected))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(1 + expected.abs().max()), msg=key)
        if key.startswith("architectures") and bool(expected.abs().max() > 0):
            moved.add(other.removeprefix("sets.").rpartition(".")[0])
    return moved


def parts_with_gradient(name: str, mode: str | None) -> tuple[str, ...]:
    """Widths have a gradient where they are drawn: the teacher searches none, and a mode holds them."""
    return ("alpha", "beta", "ratio") if name == "student" and mode is None else ("alpha", "beta")


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_evaluation_with_running_statistics_equals_the_plain_supernet(supernets, name):
    supernet = supernets[ODD]
    plain = plain_of(supernet, filters=ODD.filters, classes=CLASSES).eval()
    images = torch.randn(1, 3, *ODD.size, dtype=torch.float64)
    supernet.eval()
    try:
        with torch.no_grad():
            found, _ = supernet(images, draw_of(name, "random"))
            expected = plain(images, name, same_widths(draw_of(name, "random"), plain))
    finally:
        supernet.train()
    for one, other in zip(found, expected.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_weighing_inputs_is_not_weighing_outputs(supernets):
    supernet = supernets[BY_INPUTS]
    plain = plain_of(supernet, filters=BY_INPUTS.filters, classes=CLASSES)
    plain.weigh = "outputs"
    images = torch.randn(2, 3, *BY_INPUTS.size, dtype=torch.float64)
    found, _ = supernet(images, draw_of("student", "max"))
    expected = plain(images, "student", same_widths(draw_of("student", "max"), plain))
    torch.testing.assert_close(found[0], expected["8s"])  # the finest scale has one input throughout
    for one, name in zip(found[1:], OUTPUTS[1:], strict=True):
        assert not torch.allclose(one, expected[name], rtol=1e-3)


@pytest.mark.parametrize("name", ["teacher", "student"])
@pytest.mark.parametrize("mode", ["max", "min", "random"])
def test_a_mode_holds_the_widths_of_the_lattice_and_leaves_stem_and_head_alone(supernets, name, mode):
    supernet = supernets[ODD]
    draws = [supernet.sample(draw_of(name, mode, seed)).drawn for seed in range(40)]
    own = {"teacher": 2, "student": 1}[name]
    assert all(drawn["stem.width"] == drawn["head.width"] == own for drawn in draws)
    lattice = [f"cells.{i}.{s}.width" for j, s in enumerate(STRIDES) for i in range(max(j, 1), ODD.layers)]
    expected = {"max": {2}, "min": {0}, "random": {0, 1, 2}}[mode]
    for decision in lattice:
        assert {drawn[decision] for drawn in draws} == expected
    if mode == "random":  # independent of each other: 40 draws of 8 widths, each with chance 1/3
        counts = torch.tensor([[drawn[decision] for decision in lattice] for drawn in draws]).flatten().bincount(minlength=3)
        assert bool(((counts / counts.sum() - 1 / 3).abs() < 0.1).all())


def test_without_a_mode_the_teacher_runs_at_full_width_and_the_student_as_it_draws(supernets):
    supernet = supernets[ODD]
    for seed in range(5):
        assert set(supernet.sample(draw_of("teacher", None, seed)).drawn.values()) == {2}
    logits = supernet.architectures["student"].alpha["width_16"]
    kept = logits.detach().clone()
    with torch.no_grad():
        logits[1] = torch.tensor([0.0, 100.0, 0.0])  # row 1 of 1/16 is what enters layer 2 there
    drawn = [supernet.sample(draw_of("student", None, seed)) for seed in range(5)]
    with torch.no_grad():
        logits.copy_(kept)
    assert [weights.drawn["cells.2.16.width"] for weights in drawn] == [1] * 5
    assert all(weights.values["cells.2.16.width"].tolist() == [0, 1, 0] for weights in drawn)
    assert len({weights.drawn["cells.1.16.width"] for weights in drawn}) > 1


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_narrow_slimmable_convolution_equals_slicing_by_hand(stride, kernel):
    full = SlimmableConv(6, 8, kernel=kernel, stride=stride).double()
    narrow = nn.Conv2d(4, 5, kernel, stride, kernel // 2, bias=False).double()
    with torch.no_grad():
        narrow.weight.copy_(full.weight[:5, :4])
    x = torch.randn(2, 4, 7, 9, dtype=torch.float64)
    torch.testing.assert_close(full(x, 5), narrow(x))
    full(x, 5).square().sum().backward()
    narrow(x).square().sum().backward()
    assert bool(narrow.weight.grad.abs().min() > 0)
    torch.testing.assert_close(full.weight.grad[:5, :4], narrow.weight.grad)
    outside = full.weight.grad.clone()
    outside[:5, :4] = 0
    assert bool((outside == 0).all())


def test_a_batch_norm_of_a_width_is_its_own_and_takes_one_part_after_the_other():
    block = SlimmableConvNorm(SlimmableConv(6, 8, kernel=3), [4, 8]).double()
    norm = nn.BatchNorm2d(4).double()
    parts = [torch.randn(2, 6, 7, 9, dtype=torch.float64) for _ in range(2)]
    expected = [norm(functional.conv2d(x, block.conv.weight[:4], padding=1)) for x in parts]
    torch.testing.assert_close(block(torch.cat(parts), 4, 2), torch.cat(expected))
    torch.testing.assert_close(block.bn["4"].running_var, norm.running_var)
    torch.testing.assert_close(block.bn["4"].running_mean, norm.running_mean)
    assert int(block.bn["4"].num_batches_tracked) == 2
    assert int(block.bn["8"].num_batches_tracked) == 0
    assert bool((block.bn["8"].running_mean == 0).all())


def test_a_narrow_skip_of_stride_2_equals_slicing_by_hand():
    skip = SlimmableReduce(6, 8, channels=[4, 8]).double()
    x = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    even, odd = x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]
    halves = [
        torch.einsum("oi,nihw->nohw", conv.weight[:2, :3, 0, 0], half)
        for conv, half in ((skip.conv_even, even), (skip.conv_odd, odd))
    ]
    torch.testing.assert_close(skip(x, 4, 1), SwitchableNorm([4]).double()(torch.cat(halves, dim=1), 1))


@pytest.fixture(scope="module")
def full_size() -> Supernet:
    """The supernet of the reference, without memory for its weights."""
    space = FasterSeg(FasterSegConfig())
    graph = space.graph(Deployment((64, 128), space.search_channels, 19))
    with torch.device("meta"):
        return Supernet(space, Network(graph, architecture_sets=space.architecture_sets), [], generator=torch.Generator())


def parameters(module: nn.Module, *, of: str = "") -> int:
    return sum(tensor.numel() for name, tensor in module.named_parameters() if of in f".{name}")


@needs_reference
def test_the_full_supernet_has_the_official_parameters(full_size):
    facts = json.loads((FOLDER / "facts.json").read_text())["supernet"]["parameters"]
    network = full_size.network
    parents = facts["cells_unused_parent_batchnorm"]  # an affine beside the switchable ones, which the official code never runs
    assert parameters(network.cells) == facts["cells_shared"] - parents
    assert parameters(network.cells, of=".bn.") == facts["cells_switchable_batchnorm"]
    assert (
        parameters(network.cells, of="conv.weight")
        + parameters(network.cells, of="conv_even")
        + parameters(network.cells, of="conv_odd")
        == (facts["cells_convolutions"])
    )
    heads = {"head0": "head8s", "head1": "head16s", "head2": "head32s", "head02": "head8s_32s", "head12": "head16s_32s"}
    for part, official in facts["per_architecture"].items():
        module = network.get_submodule(heads.get(part, part))
        assert {name: parameters(module, of=f".sets.{name}.") for name in official} == official
    logits = {name: parameters(full_size.architectures[name]) for name in ("teacher", "student")}
    unused = 2 * 15 + 14  # the teacher's ratios, which have one column: nothing to choose
    assert (
        logits
        == {**facts["architecture"], "teacher": facts["architecture"]["teacher"] - unused}
        == {"teacher": 279, "student": 499}
    )
    assert parameters(full_size) == facts["all"] - parents - unused


@needs_reference
def test_the_full_supernet_has_the_official_lattice_and_output_shapes(full_size):
    facts = json.loads((FOLDER / "facts.json").read_text())["supernet"]
    cells = [node.name for node in full_size.network.graph.nodes if node.name.startswith("cells.")]
    lattice = {
        "cells": sum(name.endswith("keep") for name in cells),
        "cells_with_down_output": sum(name.endswith("down") for name in cells),
        "mixed_ops": len(cells),
    }
    assert lattice == facts["lattice"]
    images = torch.empty(2, 3, 64, 128, device="meta")
    weights = full_size.space.forced("max", torch.Generator()) | full_size.space.fixed("teacher")
    options = {choice.name: choice.options for choice in full_size.space.choices()}
    uniform = {name: torch.empty(len(some), device="meta") for name, some in options.items()}
    drawn = {name: options[name].index(option) for name, option in weights.items()}
    outputs = full_size.network.outputs(images, Weights(uniform, drawn, "teacher"), names=OUTPUTS)
    assert [list(output.shape) for output in outputs.values()] == facts["train_output_shapes_2x3x64x128"]
