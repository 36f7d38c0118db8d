"""300 random sets of architecture parameters: each derives to connected networks that build, some run, three export."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import networkx as nx
import pytest
import torch

from nas.config.settings import ExportSettings
from nas.exporting import onnx_check
from nas.network.network import Network
from nas.space.choice import check_decisions
from nas.space.deployment import Deployment
from nas.space.graph import Graph
from nas.stages.export import onnx_model
from search_spaces.fasterseg.config import FasterSegConfig
from search_spaces.fasterseg.deployed.branches import read_branches
from search_spaces.fasterseg.derivation.derivation import Parameters, derive_all
from search_spaces.fasterseg.lattice.lattice_choices import lattice_choices
from search_spaces.fasterseg.space import FasterSeg
from tests.random_weights import as_if_trained

LATTICES = [("corrected", layers) for layers in (3, 4, 6, 9, 16)] + [("official", layers) for layers in (8, 10, 12, 14, 16)]
SIZE = (32, 64)
SEEDS = range(15)
DEPLOYMENT = Deployment(SIZE, 2, 3)


def parameters_of(config: FasterSegConfig, seed: int, *, teacher: bool) -> Parameters:
    """Logits N(0, 2^2), skips moved by up to 4 either way; a teacher has none of widths."""
    generator = torch.Generator().manual_seed(seed)
    groups: dict[str, list[torch.Tensor]] = {}
    for choice in lattice_choices(config):
        groups.setdefault(choice.group, []).append(2 * torch.randn(len(choice.options), generator=generator))
    logits = {group: torch.stack(rows) for group, rows in groups.items() if not (teacher and group.startswith("width"))}
    for stride in (8, 16, 32):
        logits[f"op_{stride}"][:, 0] += 8 * torch.rand((), generator=generator) - 4
    return Parameters.of(logits)


def derived(fidelity: str, layers: int) -> Iterator[tuple[FasterSeg, list[dict[str, str]]]]:
    """Both networks of each of 15 students and 15 teachers of one lattice, by turns."""
    config = FasterSegConfig(layers=layers, fidelity=fidelity)
    for seed, teacher in itertools.product(SEEDS, (False, True)):
        parameters = parameters_of(config, 1000 * layers + seed, teacher=teacher)
        width = 12 if teacher else 8
        found = derive_all(parameters, config=config, stem_width=width, head_width=width, keep_layers=teacher)
        assert {option: decided["branches"] for option, decided in found.items()} == {"32+16": "32+16", "32+8": "32+8"}
        yield FasterSeg(config), list(found.values())


def assert_connected(graph: Graph) -> None:
    """The image reaches every node, every node reaches an output, and `labels` reads all but the auxiliary heads."""
    directed = nx.DiGraph()
    directed.add_nodes_from(range(len(graph.nodes)))
    directed.add_edges_from((source, index) for index, node in enumerate(graph.nodes) for source in node.inputs)
    assert [node.name for index, node in enumerate(graph.nodes) if directed.in_degree(index) == 0] == ["image"]
    read = nx.ancestors(directed, graph.outputs["labels"]) | {graph.outputs["labels"]}
    rest = {graph.nodes[index].name.split(".")[0] for index in set(directed) - read}
    assert rest == {"heads16", "heads32"}
    ends = {graph.outputs[name] for name in ("labels", "heads16", "heads32")}
    assert {index for index in directed if directed.out_degree(index) == 0} == ends


@pytest.mark.parametrize(
    ("fidelity", "layers"), [pytest.param(*one, marks=() if one[1] in (3, 8, 16) else pytest.mark.slow) for one in LATTICES]
)
def test_random_parameters_derive_to_connected_networks_that_build(fidelity, layers):
    lengths = set()
    for number, (space, networks) in enumerate(derived(fidelity, layers)):
        graphs = [checked_graph(space, decided) for decided in networks]
        lengths |= {len(branch.layers) for decided in networks for branch in read_branches(decided, space.config)}
        network = Network(graphs[number // 2 % 2])
        if number % 5 == 0:
            outputs = network.forward_with_aux(torch.randn(2, 3, *SIZE))
            assert {tuple(output.shape) for output in outputs.values()} == {(2, 3, *SIZE)}
            sum(output.square().mean() for output in outputs.values()).backward()
            ran = [parameter for name, parameter in network.named_parameters() if not name.startswith("ffm.attention")]
            assert all(parameter.grad is not None for parameter in ran)
    assert number == 29
    assert max(lengths) == layers  # of a teacher
    assert min(lengths) < layers


def checked_graph(space: FasterSeg, decided: dict[str, str]) -> Graph:
    check_decisions(decided, space.genotype_choices())
    space.check(decided)
    graph = space.graph(DEPLOYMENT, decided)
    assert_connected(graph)
    return graph


@pytest.mark.parametrize(("fidelity", "layers"), [("corrected", 4), ("corrected", 9), ("official", 8)])
def test_onnx_computes_what_a_derived_network_computes(fidelity, layers):
    torch.manual_seed(0)
    space, (decided, _) = next(derived(fidelity, layers))
    network = as_if_trained(Network(space.graph(DEPLOYMENT, decided)))
    found = onnx_check.compare(onnx_model(network, SIZE, ExportSettings()), network, size=SIZE, precision="fp32", output="logits")
    assert found.passed, found
