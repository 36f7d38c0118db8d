"""Decisions of LGCNet, what a valid genotype is, and derivation."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from torch import Tensor

from nas.errors import GenotypeError
from nas.space.deployment import Deployment
from search_spaces.lgcnet.cell import cell_edges
from search_spaces.lgcnet.config import LGCNetConfig
from search_spaces.lgcnet.space import LGCNet

FULL = LGCNet(LGCNetConfig())
SMALL = LGCNet(LGCNetConfig(num_cells=3, reduction_cells=[1, 2], fused_cells=[0, 1, 2]))
NODE_EDGES = ((0, 1), (2, 3, 4))
"""The edges into both nodes of a cell, written out: the second node reads the first one, too."""
NONE = LGCNetConfig().ops.index("none")


def logits_of(space: LGCNet, *, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows = Counter(choice.group for choice in space.choices())
    options = {choice.group: len(choice.options) for choice in space.choices()}
    return {group: torch.randn(rows[group], options[group], generator=generator) for group in rows}


def test_the_full_space_has_seventy_cell_decisions_and_thirteen_of_the_head() -> None:
    names = [choice.name for choice in FULL.choices()]
    assert len(names) == len(set(names)) == 83
    assert sum(name.startswith("cells.") for name in names) == 14 * 5
    groups = Counter(choice.group for choice in FULL.choices())
    assert groups == {**{f"cell_{k}": 5 for k in range(14)}, "fusion": 8, "fusion_up": 5}


@pytest.mark.parametrize("num_nodes", [1, 2, 3, 4])
def test_every_node_reads_both_inputs_and_all_earlier_nodes(num_nodes: int) -> None:
    edges = cell_edges(num_nodes)
    assert [edge.number for edge in edges] == list(range(sum(2 + i for i in range(num_nodes))))
    for node in range(num_nodes):
        assert {edge.source for edge in edges if edge.node == node} == set(range(2 + node))


def test_strides_and_widths_follow_the_reduction_cells() -> None:
    graph = FULL.graph(Deployment((128, 64), 8, 11))
    for cell in range(14):
        stride, width = {0: (4, 8)}.get(cell, (8, 16) if cell < 8 else (16, 32))
        node = next(node for node in graph.nodes if node.name == f"cells.{cell}.output")
        assert (node.spec.out_height, node.spec.out_width) == (128 // stride, 64 // stride)
        assert node.spec.out_channels == 2 * width


def test_the_older_input_is_brought_to_the_size_of_the_newer_one() -> None:
    graph = FULL.graph(Deployment((128, 64), 8, 11))
    by_name = {node.name: node for node in graph.nodes}
    for cell, position in itertools.product(range(14), (0, 1)):
        reduced = position == 0 and cell in (2, 9)
        expected = "factorized_reduce" if reduced else "relu_conv_bn"
        assert by_name[f"cells.{cell}.input.{position}"].spec.kind == expected


def test_without_head_and_communication_there_are_only_cells() -> None:
    space = LGCNet(LGCNetConfig(head="none", communication="none"))
    assert space.communication() is None
    assert len(space.choices()) == 70
    graph = space.graph(Deployment((65, 97), 4, 3))
    assert not any(node.name.startswith("fusion") for node in graph.nodes)


def test_the_communication_guides_the_cells_and_not_the_head() -> None:
    logits = logits_of(FULL)
    chain = FULL.communication()
    assert chain is not None
    guided = chain(logits)
    changed = {group for group in logits if not torch.equal(guided[group], logits[group])}
    assert changed == {f"cell_{k}" for k in range(1, 14)}


def test_initial_logits_are_normal_with_a_thousandth() -> None:
    values = FULL.initial_logits("cell_0", (100, 100), torch.Generator().manual_seed(0))
    assert values.shape == (100, 100)
    assert abs(float(values.mean())) < 4e-5
    assert abs(float(values.std()) - 1e-3) < 4e-3 / (2 * 10_000) ** 0.5


@pytest.mark.parametrize("seed", range(5))
def test_derivation_takes_the_largest_logit_of_every_decision(seed: int) -> None:
    logits = logits_of(FULL, seed=seed)
    for k in range(14):
        logits[f"cell_{k}"][:, NONE] = -10  # nothing to mend
    derivation = FULL.derive({"default": logits})["default"]
    assert derivation.repairs == ()
    assert set(derivation.choices) == {choice.name for choice in FULL.choices()}
    for choice in FULL.choices():
        row = logits[choice.group][choice.row].tolist()
        assert derivation.choices[choice.name] == choice.options[row.index(max(row))]


def test_none_is_kept_where_the_node_has_another_input() -> None:
    logits = logits_of(FULL)
    for k in range(14):
        logits[f"cell_{k}"][:, NONE] = 10
        logits[f"cell_{k}"][[1, 2], 0] = 20
    derivation = FULL.derive({"default": logits})["default"]
    assert derivation.repairs == ()
    assert [derivation.choices[f"cells.6.edge.{i}"] for i in range(5)] == [
        "none",
        "max_pool_3x3",
        "max_pool_3x3",
        "none",
        "none",
    ]


@pytest.mark.parametrize("node", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_a_node_without_input_gets_its_most_probable_other_operation(node: int, seed: int) -> None:
    logits = logits_of(FULL, seed=seed)
    for k in range(14):
        logits[f"cell_{k}"][:, NONE] = -10
    edges = NODE_EDGES[node]
    rows = logits["cell_5"]
    for edge in edges:
        rows[edge, NONE] = 8 + edge  # how sure of none differs from edge to edge
    derivation = FULL.derive({"default": logits})["default"]
    probabilities = {
        (edge, option): float(torch.softmax(rows[edge].double(), dim=-1)[i])
        for edge in edges
        for i, option in enumerate(FULL.config.ops)
        if option != "none"
    }
    edge, option = max(probabilities, key=lambda key: probabilities[key])
    decided = {i: derivation.choices[f"cells.5.edge.{i}"] for i in edges}
    assert decided == {i: option if i == edge else "none" for i in edges}
    (repair,) = derivation.repairs
    assert repair.startswith(f"cells.5.edge.{edge}: {option} instead of none")
    assert f"node {node} of cell 5" in repair
    FULL.check(derivation.choices)


def test_all_logits_for_none_are_mended_in_every_node() -> None:
    logits = logits_of(FULL)
    for k in range(14):
        logits[f"cell_{k}"][:, NONE] = 10
    derivation = FULL.derive({"default": logits})["default"]
    assert len(derivation.repairs) == 28
    FULL.check(derivation.choices)
    FULL.graph(Deployment((65, 97), 4, 3), derivation.choices)


def test_derivation_gives_one_architecture_for_each_set() -> None:
    sets = {"first": logits_of(SMALL, seed=0), "second": logits_of(SMALL, seed=1)}
    derived = SMALL.derive(sets)
    assert list(derived) == ["first", "second"]
    assert derived["first"].choices != derived["second"].choices


@pytest.mark.parametrize("node", [0, 1])
def test_a_genotype_with_a_node_without_input_is_refused_by_name(node: int) -> None:
    decided = {choice.name: "conv_3x3" if "conv_3x3" in choice.options else choice.options[0] for choice in SMALL.choices()}
    SMALL.check(decided)
    edges = NODE_EDGES[node]
    for edge in edges[:-1]:
        decided[f"cells.1.edge.{edge}"] = "none"
    SMALL.check(decided)
    decided[f"cells.1.edge.{edges[-1]}"] = "none"
    with pytest.raises(GenotypeError, match=rf"choices.cells.1.edge.{edges[0]}: all edges into node {node} of cell 1"):
        SMALL.graph(Deployment((65, 97), 4, 3), decided)


def test_random_choices_are_valid_even_where_none_is_likely() -> None:
    space = LGCNet(LGCNetConfig(num_cells=3, reduction_cells=[1, 2], fused_cells=[0, 1, 2], ops=["none", "conv_3x3"]))
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        decided = space.random_choices(generator)
        for cell, edges in itertools.product(range(3), NODE_EDGES):
            assert any(decided[f"cells.{cell}.edge.{edge}"] != "none" for edge in edges)


def test_random_choices_are_uniform_over_the_valid_ones_of_a_node() -> None:
    space = LGCNet(LGCNetConfig(head="none", num_cells=1, reduction_cells=[], ops=["none", "conv_1x1", "skip_connect"]))
    generator, draws = torch.Generator().manual_seed(0), 4000
    counts = Counter(
        tuple(decided[f"cells.0.edge.{i}"] for i in (0, 1)) for decided in (space.random_choices(generator) for _ in range(draws))
    )
    assert len(counts) == 8
    for count in counts.values():
        assert abs(count / draws - 1 / 8) < 4 * (1 / 8 * 7 / 8 / draws) ** 0.5


def test_random_choices_come_from_the_generator() -> None:
    before = torch.get_rng_state()
    first, again, other = (FULL.random_choices(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)
