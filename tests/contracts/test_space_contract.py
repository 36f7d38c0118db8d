"""What every search space owes: parametrised over `SEARCH_SPACES`, at a small size and width."""

from __future__ import annotations

import functools
import zlib
from collections import defaultdict

import pytest
import torch
from torch import Tensor

from nas.cost.expected import ExpectedLatency
from nas.cost.prediction import predict_graph
from nas.errors import GenotypeError
from nas.network.network import Network
from nas.ops import OpSpec, is_free
from nas.space.choice import Choice
from nas.space.deployment import Deployment
from nas.space.graph import Graph
from nas.space.search_space import SearchSpace
from nas.space.weights import one_hot
from nas.supernet.relaxation import RELAXATIONS
from nas.supernet.supernet import Draw, Supernet
from search_spaces import SEARCH_SPACES, all_spaces

SIZE = (65, 97)
CHANNELS = 4
CLASSES = 3

pytestmark = pytest.mark.parametrize("name", list(SEARCH_SPACES))


@functools.cache
def space_of(name: str) -> SearchSpace:
    entry = SEARCH_SPACES[name]
    return entry.build(entry.config())


def graph_of(name: str, decided: dict[str, str] | None = None) -> Graph:
    return space_of(name).graph(Deployment(SIZE, CHANNELS, CLASSES), decided)


@functools.cache
def open_graph(name: str) -> Graph:
    return graph_of(name)


def groups_of(space: SearchSpace) -> dict[str, list[Choice]]:
    groups: dict[str, list[Choice]] = defaultdict(list)
    for choice in space.choices():
        groups[choice.group].append(choice)
    return groups


def initial_logits(space: SearchSpace, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        group: space.initial_logits(group, (len(rows), len(rows[0].options)), generator) for group, rows in groups_of(space).items()
    }


def cost_of(spec: OpSpec) -> float:
    return 0.5 + zlib.crc32(spec.key.encode()) % 1009 / 100


def test_the_name_in_the_list_is_the_name_in_the_config(name: str) -> None:
    assert SEARCH_SPACES[name].config().name == name
    assert all_spaces()[name] is SEARCH_SPACES[name]


def test_decisions_have_distinct_names_and_groups_stack(name: str) -> None:
    space = space_of(name)
    names = [choice.name for choice in space.choices()]
    assert len(set(names)) == len(names) > 0
    for rows in groups_of(space).values():
        assert sorted(choice.row for choice in rows) == list(range(len(rows)))
        assert len({choice.options for choice in rows}) == 1
        assert len(set(rows[0].options)) == len(rows[0].options) > 0
    for choice in space.choices():
        assert choice.relaxation is None or choice.relaxation in RELAXATIONS


def test_two_descriptions_of_one_config_are_equal(name: str) -> None:
    first, second = open_graph(name), graph_of(name)
    assert [(n.name, n.inputs, n.decisions, dict(n.specs)) for n in first.nodes] == [
        (n.name, n.inputs, n.decisions, dict(n.specs)) for n in second.nodes
    ]


def test_every_decision_steers_a_node_and_every_node_knows_its_decisions(name: str) -> None:
    options = {choice.name: choice.options for choice in space_of(name).choices()}
    steered = set()
    for node in open_graph(name).nodes:
        for decision, known in zip(node.decisions, node.option_names, strict=True):
            assert known == options[decision]
            steered.add(decision)
    assert steered == set(options)


def test_initial_logits_have_the_shape_of_their_group_and_come_from_the_generator(name: str) -> None:
    space = space_of(name)
    first, again = initial_logits(space), initial_logits(space)
    for group, rows in groups_of(space).items():
        assert first[group].shape == (len(rows), len(rows[0].options))
        assert torch.equal(first[group], again[group])


def test_communication_keeps_names_and_shapes(name: str) -> None:
    space = space_of(name)
    communication = space.communication()
    if communication is None:
        pytest.skip("no communication")
    logits = initial_logits(space)
    guided = communication(logits)
    assert {group: value.shape for group, value in guided.items()} == {g: v.shape for g, v in logits.items()}


@pytest.mark.parametrize("relaxation", ["soft", "sampled"])
def test_a_supernet_gives_logits_at_the_size_of_odd_images_and_gradients_everywhere(name: str, relaxation: str) -> None:
    space = space_of(name)
    network = Network(open_graph(name), architecture_sets=space.architecture_sets)
    supernet = Supernet(space, network, [], generator=torch.Generator().manual_seed(0))
    for architecture in space.architecture_sets:
        weights = supernet.sample(Draw(relaxation, 1.0, torch.Generator().manual_seed(0), architecture))
        output = network(torch.randn(1, 3, 63, 99), weights)
        assert output.shape == (1, CLASSES, 63, 99)
        output.square().sum().backward()
        assert all(parameter.grad is not None for parameter in supernet.architectures[architecture].parameters())


@pytest.mark.parametrize("seed", range(3))
def test_a_random_architecture_is_valid_and_runs_at_odd_sizes(name: str, seed: int) -> None:
    space = space_of(name)
    decided = dict(space.random_choices(torch.Generator().manual_seed(seed)))
    assert set(decided) == set(space.genotype_choices())
    assert decided == space.random_choices(torch.Generator().manual_seed(seed))
    graph = graph_of(name, decided)
    assert not any(node.decisions for node in graph.nodes)
    assert not any(is_free(node.spec) for node in graph.nodes if node.role != "input")
    network = Network(graph).eval()
    images = torch.randn(1, 3, 63, 99)
    with torch.no_grad():
        output = network(images)
        assert output.shape == (1, CLASSES, 63, 99)
        labels = network.label_map(images)
        assert labels.dtype == torch.int64
        assert torch.equal(labels, output.argmax(dim=1, keepdim=True))


def test_every_derived_cost_is_in_the_plan(name: str) -> None:
    space = space_of(name)
    plan = set(space.plan(Deployment(SIZE, CHANNELS, CLASSES)))
    assert not any(is_free(spec) for spec in plan)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        assert set(graph_of(name, dict(space.random_choices(generator))).specs()) <= plan


@pytest.mark.parametrize("seed", range(3))
def test_derivation_gives_a_valid_architecture_for_each_set(name: str, seed: int) -> None:
    space = space_of(name)
    generator = torch.Generator().manual_seed(seed)
    sets = {
        architecture: {group: torch.randn(value.shape, generator=generator) for group, value in initial_logits(space).items()}
        for architecture in space.architecture_sets
    }
    derived = space.derive(sets)
    assert set(derived) == set(space.architecture_sets)
    for derivation in derived.values():
        predict_graph(graph_of(name, dict(derivation.choices)), cost_of)


def test_expected_latency_at_one_hot_weights_is_the_prediction(name: str) -> None:
    space = space_of(name)
    if set(space.genotype_choices()) != {choice.name for choice in space.choices()}:
        pytest.skip("the space has its own test: its genotypes decide other things than its supernet")
    expected = ExpectedLatency(open_graph(name), cost_of)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        decided = dict(space.random_choices(generator))
        latency = float(expected(one_hot(decided, space.choices())))
        assert latency == pytest.approx(predict_graph(graph_of(name, decided), cost_of).ms, rel=1e-12)


def test_a_missing_decision_is_refused_by_name(name: str) -> None:
    decided = dict(space_of(name).random_choices(torch.Generator().manual_seed(0)))
    removed = sorted(decided)[0]
    del decided[removed]
    with pytest.raises(GenotypeError, match=f"choices.{removed}: missing"):
        graph_of(name, decided)
