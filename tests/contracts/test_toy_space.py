"""The toy space proves each row of the table in docs/ARCHITECTURE.md: what is foreign to LGCNet passes the same interfaces."""

from __future__ import annotations

import functools
import itertools
import zlib
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from nas.cost.expected import ExpectedLatency
from nas.cost.prediction import predict_graph
from nas.network.network import Network
from nas.ops import OpSpec
from nas.space.deployment import Deployment
from nas.space.graph import Graph
from nas.space.weights import Weights, one_hot
from nas.space.weights import uniform as uniform_weights
from nas.supernet.relaxation import sample
from tests.contracts.toy_space import CHOICES, FULL, OPTIONS, PATHS, SLIM_OPS, WIDTHS, SlimConv, Toy, genotype_of
from tests.expected_by_part import expected_by_part

SIZE = (13, 18)
SPACE = Toy(None)


def cost_of(spec: OpSpec) -> float:
    """A positive number that looks random but depends on the key alone."""
    return 0.5 + zlib.crc32(spec.key.encode()) % 1009 / 100


@functools.cache
def open_graph() -> Graph:
    return SPACE.graph(Deployment(SIZE, FULL, 2))


@functools.cache
def expected() -> ExpectedLatency:
    return ExpectedLatency(open_graph(), cost_of)


def supernet() -> Network:
    torch.manual_seed(0)
    return Network(open_graph(), architecture_sets=SPACE.architecture_sets).eval()


def predicted(decided: Mapping[str, str]) -> float:
    graph = SPACE.graph(Deployment(SIZE, FULL, 2), genotype_of(decided))
    return predict_graph(graph, cost_of).ms


@functools.cache
def all_predictions() -> list[tuple[dict[str, str], float]]:
    draws = [dict(zip(OPTIONS, draw, strict=True)) for draw in itertools.product(*OPTIONS.values())]
    return [(decided, predicted(decided)) for decided in draws]


def mean_prediction(z: Mapping[str, Tensor]) -> float:
    """The mean over independent draws of every decision, by enumeration."""
    mean = 0.0
    for decided, latency in all_predictions():
        probability = 1.0
        for name, option in decided.items():
            probability *= float(z[name][OPTIONS[name].index(option)])
        mean += probability * latency
    return mean


def logits_of(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"block": (1, 3), "slim": (1, 2), "ratio": (2, 2), "alpha": (1, 3), "beta": (1, 2)}
    return {group: torch.randn(size, generator=generator).requires_grad_() for group, size in sizes.items()}


def draw(relaxation: str = "soft", *, seed: int = 0, architecture: str = "teacher", batch: int | None = None) -> Weights:
    return sample(
        logits_of(seed),
        CHOICES,
        relaxation=relaxation,
        tau=1.0,
        generator=torch.Generator().manual_seed(seed),
        architecture=architecture,
        batch=batch,
    )


def images(n: int = 2) -> Tensor:
    return torch.randn(n, 3, *SIZE, generator=torch.Generator().manual_seed(9))


def full_width(weights: Weights) -> Weights:
    """A forced pass: the largest width everywhere, made by hand."""
    return weights.replace({name: torch.tensor([0.0, 1.0]) for name in ("width.0", "width.1")})


ENDS = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.3, 0.7])]


@pytest.mark.parametrize("path", ENDS, ids=[*PATHS, "both"])
@pytest.mark.parametrize("seed", range(3))
def test_expected_latency_is_the_mean_over_all_derived_networks(seed: int, path: Tensor) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = {name: torch.softmax(torch.randn(len(options), generator=generator), -1) for name, options in OPTIONS.items()} | {
        "path": path
    }
    assert float(expected()(Weights(z, {}))) == pytest.approx(mean_prediction(z), rel=1e-6)


def test_expected_latency_at_one_hot_weights_is_the_prediction_although_genotypes_have_other_decisions() -> None:
    for decided, latency in all_predictions():
        assert float(expected()(one_hot(decided, CHOICES))) == pytest.approx(latency, rel=1e-12)
    assert not set(SPACE.genotype_choices()) & set(OPTIONS)


def by_part(weights: Weights) -> dict[str, float]:
    return expected_by_part(expected(), weights)


def test_a_slimmable_operator_costs_the_mean_over_operator_and_both_widths() -> None:
    weights = uniform_weights(CHOICES).replace({"path": torch.tensor([1.0, 0.0]), "width.0": torch.tensor([0.2, 0.8])})
    costs = {}
    for op, a, b in itertools.product(SLIM_OPS, WIDTHS, WIDTHS):
        decided = {name: options[0] for name, options in OPTIONS.items()} | {"slim.op": op, "width.0": a, "width.1": b}
        graph = SPACE.graph(Deployment(SIZE, FULL, 2), genotype_of(decided))
        costs[op, a, b] = predict_graph(graph, cost_of).by_part["slim.1"]
    assert len(set(costs.values())) == 8
    mean = sum((0.2 if a == "4" else 0.8) / 4 * cost for (_, a, _), cost in costs.items())
    assert by_part(weights)["slim.1"] == pytest.approx(mean, rel=1e-6)


def test_each_way_of_a_path_costs_its_probability() -> None:
    weights = draw()
    beta = dict(zip(PATHS, weights.values["path"].tolist(), strict=True))
    latency = by_part(weights)
    for i, path in enumerate(PATHS):
        alone = by_part(weights.replace({"path": torch.eye(2)[i]}))
        parts = [part for part in alone if part.startswith(path) and alone[part]]
        assert parts == (["keep.0", "keep.1"] if path == "keep" else ["down.0"])
        for part in parts:
            assert latency[part] == pytest.approx(beta[path] * alone[part], rel=1e-6)


@pytest.mark.parametrize("path", ENDS, ids=[*PATHS, "both"])
@pytest.mark.parametrize("held", [("width.0", "width.1"), ("cell", "slim.op"), ("block",)], ids=",".join)
def test_decoupled_latency_is_the_latency_with_some_decisions_held_uniform(held: tuple[str, ...], path: Tensor) -> None:
    uniform = {name: z for name, z in uniform_weights(CHOICES).values.items() if name in held}
    weights = draw()
    latency = expected()(weights.replace({**uniform, "path": path}))
    z = {name: value.detach() for name, value in {**weights.values, **uniform, "path": path}.items()}
    assert float(latency.detach()) == pytest.approx(mean_prediction(z), rel=1e-6)
    names = [name for name in OPTIONS if name != "path"]
    gradients = torch.autograd.grad(latency, [weights.values[name] for name in names], allow_unused=True)
    assert [name for name, gradient in zip(names, gradients, strict=True) if gradient is None] == [n for n in names if n in held]


def test_weights_per_image_give_each_image_its_own_network_and_latency() -> None:
    weights = full_width(draw(batch=3))
    assert weights.values["block"].shape == (3, 3)
    network = supernet()
    x = images(3)
    output, latency = network(x, weights), expected()(weights)
    assert latency.shape == (3,)
    for n in range(3):
        own = Weights({name: z[n] if z.dim() == 2 else z for name, z in weights.values.items()}, {}, "teacher")
        torch.testing.assert_close(output[n : n + 1], network(x[n : n + 1], own), rtol=1e-4, atol=1e-5)
        assert float(latency[n].detach()) == pytest.approx(float(expected()(own).detach()), rel=1e-9)
    assert len(set(latency.tolist())) == 3


def test_a_skipped_residual_block_is_one_term_without_an_addition() -> None:
    def kinds(option: str) -> list[str]:
        decided = genotype_of({name: options[0] for name, options in OPTIONS.items()} | {"block": option})
        graph = SPACE.graph(Deployment(SIZE, FULL, 2), decided)
        return [spec.kind for _, spec in graph.operations()]

    assert kinds("none").count("add") == 0
    assert kinds("conv_3x3").count("add") == 1
    assert len(kinds("conv_3x3")) == len(kinds("none")) + 2


@pytest.mark.parametrize("relaxation", ["soft", "hard", "sampled"])
def test_a_width_is_drawn_hard_in_every_search_and_its_gate_carries_the_gradient(relaxation: str) -> None:
    logits = logits_of()
    weights = sample(
        logits, CHOICES, relaxation=relaxation, tau=1.0, generator=torch.Generator().manual_seed(0), architecture="teacher"
    )
    for name in ("width.0", "width.1"):
        assert sorted(weights.values[name].tolist()) == [0.0, 1.0]
    supernet()(images(), weights).square().sum().backward()
    gradient = logits["ratio"].grad
    assert gradient is not None
    assert (gradient != 0).all()


def test_a_drawn_width_is_seen_by_the_operators_around_it() -> None:
    network, seen = supernet(), {}
    for name in ("slim.0", "slim.1", "slim.2"):
        network.get_submodule(name).register_forward_hook(
            lambda _, a, y, name=name: seen.update({name: (a[1].shape[1], y.shape[1])})
        )
    narrow_then_wide = draw().replace({"width.0": torch.tensor([1.0, 0.0]), "width.1": torch.tensor([0.0, 1.0])})
    network(images(), narrow_then_wide)
    assert seen == {"slim.0": (8, 4), "slim.1": (4, 8), "slim.2": (8, 8)}


def test_a_forced_pass_at_full_width_is_made_of_weights_alone() -> None:
    network = supernet()
    weights = full_width(draw())
    inner: dict[str, Tensor] = {}
    network.get_submodule("slim.1").register_forward_hook(lambda _, a, y: inner.update(x=a[1], y=y))
    network(images(), weights)
    module = network.get_submodule("slim.1")
    assert isinstance(module, SlimConv)
    z = weights.values["slim.op"]
    plain = sum(z[k] * conv(inner["x"].relu()) for k, conv in enumerate(module.convs))
    torch.testing.assert_close(inner["y"], plain)


def test_one_decision_steers_both_cells() -> None:
    steered = [node.name for node in open_graph().nodes if node.decisions == ("cell",)]
    assert steered == ["keep.0", "keep.1", "down.0"]
    network, outputs = supernet(), []
    network.get_submodule("path").register_forward_hook(lambda _, arguments, y: outputs.append(arguments[1:]))
    for option in (1, 2):
        network(images(), full_width(draw()).replace({"cell": torch.eye(3)[option]}))
    for first, second in zip(*outputs, strict=True):
        assert not torch.allclose(first, second)


def test_a_cell_that_runs_twice_has_its_weights_once_and_costs_twice() -> None:
    network = supernet()
    names = {name.split(".candidates.")[0] for name in network.state_dict() if name.startswith("cells")}
    assert names == {"cells.keep", "cells.down"}
    runs: list[None] = []
    network.get_submodule("cells.keep").register_forward_hook(lambda *_: runs.append(None))
    network(images(), draw())
    assert len(runs) == 2
    decided = {name: options[0] for name, options in OPTIONS.items()} | {"path": "keep", "cell": "conv_3x3"}
    graph = SPACE.graph(Deployment(SIZE, FULL, 2), genotype_of(decided))
    executed = [part for part, _ in graph.operations()]
    assert executed.count("keep.0") == executed.count("keep.1") == 1
    derived = Network(graph)
    assert sum(p.numel() for name, p in derived.named_parameters() if name.startswith("cells")) == 9 * 8 * 8 + 2 * 8


def test_a_path_weighs_what_both_ways_compute() -> None:
    network, weights = supernet(), full_width(draw())
    ways: list[Tensor] = []
    network.get_submodule("path").register_forward_hook(lambda _, arguments, y: ways.extend((*arguments[1:], y)))
    network(images(), weights)
    keep, down, mixed = ways
    beta = weights.values["path"]
    torch.testing.assert_close(mixed, beta[0] * keep + beta[1] * down)


def test_alpha_and_beta_are_plain_softmaxes_whatever_the_search_does() -> None:
    for relaxation, seed in itertools.product(("soft", "hard", "sampled"), (0, 1)):
        weights, logits = draw(relaxation, seed=seed), logits_of(seed)
        assert torch.equal(weights.values["cell"], torch.softmax(logits["alpha"][0], dim=-1))
        assert torch.equal(weights.values["path"], torch.softmax(logits["beta"][0], dim=-1))
        assert set(weights.drawn) == ({"block"} if relaxation == "sampled" else set())


def test_the_architecture_of_the_weights_picks_the_stem() -> None:
    network = supernet()
    stems = {name: network.get_submodule(f"stem.sets.{name}") for name in SPACE.architecture_sets}
    ran: list[str] = []
    for name, stem in stems.items():
        stem.register_forward_hook(lambda *_, name=name: ran.append(name))
    outputs = [network(images(), draw(architecture=name)) for name in SPACE.architecture_sets]
    assert ran == ["teacher", "student"]
    assert not torch.equal(outputs[0], outputs[1])
    assert torch.equal(expected()(draw(architecture="teacher")), expected()(draw(architecture="student")))
    shared = [name for name in network.state_dict() if ".sets." not in name]
    assert len(shared) > len(network.state_dict()) / 2


def test_each_architecture_set_derives_a_genotype_of_its_own() -> None:
    derived = SPACE.derive({"teacher": logits_of(0), "student": logits_of(1)})
    assert set(derived) == set(SPACE.architecture_sets)
    for name, seed in (("teacher", 0), ("student", 1)):
        logits = logits_of(seed)
        choices = derived[name].choices
        assert set(choices) == set(SPACE.genotype_choices())
        assert choices["branch"] == PATHS[int(logits["beta"][0].argmax())]
        assert choices["layer.1.width"] == WIDTHS[int(logits["ratio"][1].argmax())]
    assert derived["teacher"].choices != derived["student"].choices


@pytest.mark.parametrize("seed", range(4))
def test_a_derived_network_has_only_its_branch_its_widths_and_one_stem(seed: int) -> None:
    decided = SPACE.random_choices(torch.Generator().manual_seed(seed))
    graph = SPACE.graph(Deployment(SIZE, FULL, 2), decided)
    network = Network(graph).eval()
    assert network(images()).shape == (2, 2, *SIZE)
    state = network.state_dict()
    assert not any(".sets." in name or ".candidates." in name for name in state)
    other = "down" if decided["branch"] == "keep" else "keep"
    assert not any(name.startswith(f"cells.{other}") for name in state)
    assert state["slim.1.conv.weight"].shape[:2] == (int(decided["layer.1.width"]), int(decided["layer.0.width"]))
