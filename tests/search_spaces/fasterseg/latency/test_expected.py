"""Expected latency of the lattice against enumeration of all draws, each of them a derived network that is predicted."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping
from functools import cache, partial

import pytest
import torch
from torch import Tensor

from nas.cost.prediction import predict_graph
from nas.ops import OpSpec
from nas.space.choice import Choice
from nas.space.deployment import Deployment
from nas.space.weights import Weights, one_hot
from nas.supernet.architecture import group_shapes
from nas.supernet.relaxation import probabilities
from search_spaces.fasterseg.config import BRANCHES, STRIDES, FasterSegConfig, width_of
from search_spaces.fasterseg.deployed.branches import Branch, Layer, decided_choices
from search_spaces.fasterseg.latency.deployed_lattice import DeployedLattice
from search_spaces.fasterseg.latency.expected import LatticeLatency, lattice_latency
from search_spaces.fasterseg.latency.official import OfficialLatticeLatency
from search_spaces.fasterseg.lattice.lattice_choices import lattice_choices
from search_spaces.fasterseg.space import FasterSeg

SIZE = (45, 77)
FILTERS = 4
NUM_CLASSES = 3
OF_BRANCHES = Choice("branches", tuple(BRANCHES), "branches", 0)


def cost_of(spec: OpSpec) -> float:
    """A positive number that looks random but depends on the key alone."""
    return 0.5 + zlib.crc32(spec.key.encode()) % 1009 / 100


def small_config(layers: int, widths: tuple[int, ...] = (4, 12)) -> FasterSegConfig:
    return FasterSegConfig(layers=layers, filters=FILTERS, widths=list(widths))


def latency_of(config: FasterSegConfig, **settings: float) -> LatticeLatency:
    return LatticeLatency(DeployedLattice(config, Deployment(SIZE, FILTERS, NUM_CLASSES)), cost_of, **settings)


def branch_of(decided: Mapping[str, str], end: int, layers: int) -> Branch:
    """The path that ends at a stride, followed backwards from cell to cell, and what is decided of its cells."""
    strides = [end]
    for layer in range(layers - 1, 0, -1):
        diagonal = STRIDES.index(strides[0]) == layer
        comes = "keep" if strides[0] == 8 else "down" if diagonal else decided[f"cells.{layer}.{strides[0]}.input"]
        strides.insert(0, strides[0] // 2 if comes == "down" else strides[0])
    leaving = [decided[f"cells.{layer}.{strides[layer]}.width"] for layer in range(1, layers)] + [decided["head.width"]]
    return Branch(
        end,
        tuple(Layer(decided[f"cells.{i}.{s}.op"], s, width_of(w)) for i, (s, w) in enumerate(zip(strides, leaving, strict=True))),
    )


@cache
def predicted_ms(config_key: tuple[int, tuple[int, ...]], branches: tuple[Branch, ...], stem: int, head: int) -> float:
    config = small_config(*config_key)
    decided = decided_choices(branches, config, stem_width=stem, head_width=head)
    graph = FasterSeg(config).graph(Deployment(SIZE, FILTERS, NUM_CLASSES), decided)
    return predict_graph(graph, cost_of).ms


def derived_ms(config: FasterSegConfig, decided: Mapping[str, str], option: str) -> float:
    """Prediction of the derived network that the decisions of a lattice state."""
    branches = tuple(branch_of(decided, end, config.layers) for end in BRANCHES[option])
    stem, head = (width_of(decided[f"{part}.width"]) for part in ("stem", "head"))
    return predicted_ms((config.layers, tuple(config.widths)), branches, stem, head)


def supports(choices: tuple[Choice, ...], open_ones: int, seed: int) -> dict[str, tuple[str, ...]]:
    """Options with probability: of inputs both, of `open_ones` other decisions two, of the rest one; never a skip."""
    generator = torch.Generator().manual_seed(seed)
    others = [choice.name for choice in choices if not choice.name.endswith(".input")]
    two = {others[i] for i in torch.randperm(len(others), generator=generator)[:open_ones].tolist()}
    kept = {}
    for choice in choices:
        options = [option for option in choice.options if option != "skip"]
        drawn = torch.randperm(len(options), generator=generator).tolist()
        count = len(options) if choice.name.endswith(".input") else 2 if choice.name in two else 1
        kept[choice.name] = tuple(options[i] for i in drawn[:count])
    return kept


def random_z(choices: tuple[Choice, ...], kept: Mapping[str, tuple[str, ...]], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values = {}
    for choice in choices:
        z = torch.rand(len(choice.options), generator=generator, dtype=torch.float64) + 0.1
        z = z * torch.tensor([option in kept[choice.name] for option in choice.options])
        values[choice.name] = z / z.sum()
    return values


@pytest.mark.parametrize(("layers", "open_ones", "seed"), [(3, 9, 0), (3, 9, 1), (4, 7, 2), (4, 7, 3), (5, 5, 4), (5, 5, 5)])
@pytest.mark.parametrize("given", [False, True])
def test_the_value_is_the_mean_prediction_over_all_draws(layers, open_ones, seed, given):
    config = small_config(layers)
    choices = lattice_choices(config)
    kept = supports(choices, open_ones, seed)
    z = random_z(choices, kept, seed)
    share = {"32+16": 0.3, "32+8": 0.7} if given else {"32+16": 0.5, "32+8": 0.5}
    if given:
        z["branches"] = torch.tensor([share[option] for option in BRANCHES], dtype=torch.float64)
    mean = total = 0.0
    for draw in itertools.product(*kept.values()):
        decided = dict(zip(kept, draw, strict=True))
        probability = 1.0
        for choice in choices:
            probability *= float(z[choice.name][choice.options.index(decided[choice.name])])
        total += probability
        mean += probability * sum(share[option] * derived_ms(config, decided, option) for option in BRANCHES)
    assert total == pytest.approx(1.0)
    assert float(latency_of(config)(Weights(z, {}))) == pytest.approx(mean, rel=1e-12)


def random_weights(config: FasterSegConfig, seed: int, *, extra: tuple[Choice, ...] = ()) -> tuple[Weights, dict[str, Tensor]]:
    """Soft weights of all decisions, and the logits from which they are."""
    choices = (*lattice_choices(config), *extra)
    generator = torch.Generator().manual_seed(seed)
    logits = {
        group: torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for group, shape in group_shapes(choices).items()
    }
    return probabilities(logits, choices), logits


@pytest.mark.parametrize("option", list(BRANCHES))
@pytest.mark.parametrize("layers", [4, 8, 16])
def test_one_hot_weights_give_the_prediction_of_the_network_that_they_state(layers, option):
    config = small_config(layers, (4, 6, 8, 10, 12))
    choices, latency = (*lattice_choices(config), OF_BRANCHES), latency_of(config)
    generator = torch.Generator().manual_seed(layers)
    for _ in range(8):
        decided = {c.name: c.options[int(torch.randint(len(c.options), (), generator=generator))] for c in choices}
        decided = {name: "conv_downup" if one == "skip" else one for name, one in decided.items()} | {"branches": option}
        value = float(latency(one_hot(decided, choices)))
        assert value == pytest.approx(derived_ms(config, decided, option), rel=1e-12)


def test_a_skip_of_stride_1_is_free_and_one_of_stride_2_costs_the_learned_reduction():
    config = small_config(4, (12,))
    choices = (*lattice_choices(config), OF_BRANCHES)
    decided = {choice.name: choice.options[-1] for choice in choices} | {"branches": "32+8"}
    convs = decided | {name: "conv" for name in decided if name.endswith(".op")}
    skips = decided | {name: "skip" for name in decided if name.endswith(".op")}
    branches = tuple(branch_of(convs, end, 4) for end in (32, 8))
    stated = decided_choices(branches, config, stem_width=12, head_width=12)
    graph = FasterSeg(config).graph(Deployment(SIZE, FILTERS, NUM_CLASSES), stated)
    by_part = predict_graph(graph, cost_of).by_part
    around = sum(ms for part, ms in by_part.items() if not part.startswith("cells"))
    steps = []
    for stride, (height, width) in {8: (6, 10), 16: (3, 5)}.items():
        sizes = {"height": height, "width": width, "out_height": (height + 1) // 2, "out_width": (width + 1) // 2}
        c = FILTERS * stride
        steps.append(OpSpec(kind="reduce_bn_relu", in_channels=c, out_channels=2 * c, stride=2, **sizes))
    latency = latency_of(config)
    assert float(latency(one_hot(skips, choices))) == pytest.approx(around + sum(map(cost_of, steps)), rel=1e-12)
    assert float(latency(one_hot(convs, choices))) == pytest.approx(sum(by_part.values()), rel=1e-12)


def test_weights_per_image_give_each_image_its_latency():
    config = small_config(6)
    latency = latency_of(config)
    singles = [random_weights(config, seed, extra=(OF_BRANCHES,))[0] for seed in range(3)]
    names = list(singles[0].values)
    stacked = {name: torch.stack([one.values[name] for one in singles]) for name in names}
    expected = torch.stack([latency(one) for one in singles])
    torch.testing.assert_close(latency(Weights(stacked, {})), expected, rtol=1e-12, atol=0)
    mixed = {name: value if name.endswith(".input") else singles[0].values[name] for name, value in stacked.items()}
    alone = [latency(singles[0].replace({name: one.values[name] for name in names if name.endswith(".input")})) for one in singles]
    torch.testing.assert_close(latency(Weights(mixed, {})), torch.stack(alone), rtol=1e-12, atol=0)
    assert expected.dtype == torch.float64


def moved(tensor: Tensor, step: float) -> Tensor:
    """[2n, *shape]: a tensor with each of its n elements lowered and raised in turn."""
    one_each = step * torch.eye(tensor.numel(), dtype=torch.float64).reshape(-1, *tensor.shape)
    return torch.cat([tensor.detach() - one_each, tensor.detach() + one_each])


@pytest.mark.parametrize(("layers", "widths"), [(5, (4, 12)), (16, (4, 6, 8, 10, 12))])
def test_the_gradient_of_every_weight_is_its_finite_difference(layers, widths):
    config = small_config(layers, widths)
    latency, weights = latency_of(config), random_weights(config, 1, extra=(OF_BRANCHES,))[0]
    leaves = {name: z.detach().requires_grad_() for name, z in weights.values.items()}
    latency(Weights(leaves, {})).backward()
    gradient = torch.cat([z.grad for z in leaves.values()])
    # The value is linear in each decision's weights, so that a difference is exact at any step: one row for each weight and end.
    together = moved(torch.cat(list(leaves.values())), 0.5)
    split = together.split([len(z) for z in leaves.values()], dim=-1)
    with torch.no_grad():
        below, above = latency(Weights(dict(zip(leaves, split, strict=True)), {})).chunk(2)
    torch.testing.assert_close(gradient, above - below, rtol=1e-9, atol=1e-9)


def test_every_beta_of_sixteen_layers_has_the_gradient_of_its_finite_difference():
    config = small_config(16, (4, 6, 8, 10, 12))
    choices, latency = lattice_choices(config), latency_of(config)
    weights, logits = random_weights(config, 2)
    latency(weights).backward()
    for group, rows in (("input_16", 14), ("input_32", 13)):
        members = [choice for choice in choices if choice.group == group]
        z = moved(logits[group], 1e-4).softmax(dim=-1)  # [2n, rows, 2]
        batch = weights.replace({choice.name: z[:, choice.row] for choice in members})
        with torch.no_grad():
            below, above = latency(batch).chunk(2)
        gradient = logits[group].grad
        assert gradient.shape == (rows, 2)
        torch.testing.assert_close(gradient, ((above - below) / 2e-4).reshape(rows, 2), rtol=1e-5, atol=1e-8)
        assert float(gradient.abs().min()) > 1e-5


def test_each_operation_is_asked_for_once_and_none_that_is_free():
    asked: list[OpSpec] = []
    config = small_config(5)
    lattice = DeployedLattice(config, Deployment(SIZE, FILTERS, NUM_CLASSES))
    LatticeLatency(lattice, lambda spec: float(bool(asked.append(spec)) or 1))
    assert len(asked) == len(set(asked))
    assert not [spec for spec in asked if spec.kind == "identity"]


def test_the_overhead_is_added_and_fidelity_names_the_module():
    config = small_config(4)
    weights, _ = random_weights(config, 3)
    with torch.no_grad():
        assert float(latency_of(config, overhead=1.5)(weights) - latency_of(config)(weights)) == pytest.approx(1.5)
    lattice = partial(DeployedLattice, deployment=Deployment(SIZE, FILTERS, NUM_CLASSES))
    assert isinstance(lattice_latency(lattice(config), cost_of), LatticeLatency)
    config.fidelity = "official"
    assert isinstance(lattice_latency(lattice(config), cost_of), OfficialLatticeLatency)
