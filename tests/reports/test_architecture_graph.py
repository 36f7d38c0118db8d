from functools import cache

import networkx as nx
import pytest
import torch

import nas
from nas.ops import OpSpec
from nas.ops.spec import DROPOUTS
from nas.reports.architecture_graph import architecture_graph
from nas.space.deployment import Deployment
from nas.space.design import design_of
from nas.space.graph import NetworkBuilder
from search_spaces import SEARCH_SPACES
from tests.search_spaces.zoo.zoo_networks import published

ENTRY = SEARCH_SPACES["lgcnet"]
SPACE = ENTRY.build(ENTRY.config(num_cells=3, reduction_cells=[1, 2], fused_cells=[0, 1, 2], head_channels=8))


@cache
def graph_of(seed=None, space=SPACE, size=(97, 131)):
    decided = None if seed is None else space.random_choices(torch.Generator().manual_seed(seed))
    return decided, space.graph(Deployment(size, 4, 5), decided)


@pytest.mark.parametrize("seed", [None, *range(6)])
def test_the_structure_has_no_cycle_and_every_tensor_lies_between_image_and_labels(seed):
    structure = architecture_graph(graph_of(seed)[1])
    assert isinstance(structure, nx.MultiDiGraph)
    assert nx.is_directed_acyclic_graph(structure)
    sources = [v for v in structure if structure.in_degree(v) == 0]
    sinks = [v for v in structure if structure.out_degree(v) == 0]
    assert [structure.nodes[v]["name"] for v in sources] == ["image"]
    assert [structure.nodes[v]["output"] for v in sinks] == [("labels",)]


@pytest.mark.parametrize("seed", [None, *range(6)])
def test_every_node_of_the_network_is_named_exactly_once(seed):
    _, graph = graph_of(seed)
    structure = architecture_graph(graph)
    on_edges = [name for _, _, name in structure.edges(data="name") if name]
    at_joins = [name for _, names in structure.nodes(data="joins") for name in names]
    assert sorted(on_edges + at_joins) == sorted(node.name for node in graph.nodes if node.role != "input")


@pytest.mark.parametrize("seed", range(3))
def test_a_path_exists_where_the_network_has_one(seed):
    """Reachability of the contracted vertices equals that of the graph, walked independently."""
    _, graph = graph_of(seed)
    structure = architecture_graph(graph)
    for vertex in structure:
        reached, stack = set(), [vertex]
        while stack:
            index = stack.pop()
            readers = [
                i
                for i, node in enumerate(graph.nodes)
                if index in (node.inputs if node.specs and node.spec.kind in ("add", "concat") else node.inputs[:1])
            ]
            stack += [i for i in readers if i not in reached]
            reached.update(readers)
        assert nx.descendants(structure, vertex) == reached & set(structure)


def test_an_open_edge_offers_all_options_and_a_decided_one_what_was_chosen():
    _, supernet = graph_of()
    options = SPACE.genotype_choices()
    seen = {edge["name"]: edge for _, _, edge in architecture_graph(supernet).edges(data=True) if edge["decisions"]}
    assert {name: edge["operations"] for name, edge in seen.items()} == options
    decided, derived = graph_of(3)
    labels = {edge["name"]: edge["operations"] for _, _, edge in architecture_graph(derived).edges(data=True)}
    same = [name for name in labels if decided.get(name, "").startswith(("conv", "sep", "dil", "max", "global", "inter", "trans"))]
    assert len(same) > 10
    assert all(labels[name] == (decided[name],) for name in same)


def test_sizes_and_strides_are_those_of_the_maps():
    structure = architecture_graph(graph_of(0, size=(97, 131))[1])
    by_name = {attributes["name"]: attributes for _, attributes in structure.nodes(data=True)}
    expected = {"image": (1, 97, 131), "stem.conv2": (4, 25, 33), "cells.1.output": (8, 13, 17), "cells.2.output": (16, 7, 9)}
    for name, (stride, height, width) in expected.items():
        got = by_name[name]
        assert (got["stride"], got["height"], got["width"]) == (stride, height, width)
    assert by_name["fusion.out"]["channels"] == 8
    assert by_name["fusion.f8"]["join"] == "concat"
    assert by_name["fusion.out"]["join"] == "sum"


def test_two_operations_between_the_same_tensors_are_two_edges():
    builder = NetworkBuilder((8, 8), {})
    image = builder.image()
    shape = {"height": 8, "width": 8, "out_height": 8, "out_width": 8}
    first = builder.op("stem", OpSpec(kind="conv_bn_relu", in_channels=3, out_channels=4, kernel=3, **shape), image)
    specs = {k: OpSpec(kind="relu_conv_bn", in_channels=4, out_channels=4, kernel=k, **shape) for k in (1, 3)}
    joined = builder.add("stem.sum", [builder.op(f"stem.conv{kernel}", spec, first) for kernel, spec in specs.items()])
    structure = architecture_graph(builder.finish(logits=joined))
    ends = {attributes["name"]: vertex for vertex, attributes in structure.nodes(data=True)}
    edges = structure.get_edge_data(ends["stem"], ends["stem.sum"])
    assert sorted(edge["operations"] for edge in edges.values()) == [("conv_1x1",), ("conv_3x3",)]


def test_a_product_reads_both_of_its_factors_and_an_edge_knows_what_was_chosen_for_it():
    genotype = nas.load_genotype("squeezenas/lat_small")
    structure = architecture_graph(design_of(genotype, SEARCH_SPACES).graph)
    (product,) = [vertex for vertex, join in structure.nodes(data="join") if join == "product"]
    assert structure.in_degree(product) == 2
    drawn = {edge["name"].removesuffix(".op"): edge["option"] for _, _, edge in structure.edges(data=True) if edge["option"]}
    assert drawn == {name: option for name, option in genotype.choices.items() if option != "skip"}


@pytest.mark.parametrize("name", ["fast_scnn", "enet", "pp_liteseg_t", "shelfnet18", "fanet_18"])
def test_every_node_of_a_hand_made_network_but_dropout_is_named_once(name):
    graph = published(name).graph
    structure = architecture_graph(graph)
    on_edges = [name for _, _, name in structure.edges(data="name") if name]
    at_joins = [name for _, names in structure.nodes(data="joins") for name in names]
    executed = [node.name for node in graph.nodes if node.role != "input" and node.spec.kind not in DROPOUTS]
    assert sorted(on_edges + at_joins) == sorted(executed)


def test_what_reads_dropout_reads_what_stands_before_it():
    structure = architecture_graph(published("fast_scnn").graph)
    vertex = {name: index for index, name in structure.nodes(data="name")}
    assert structure.has_edge(vertex["head.1.pointwise"], vertex["classifier.conv"])


def test_gates_and_sums_over_a_map_read_both_of_their_inputs():
    structure = architecture_graph(published("shelfnet18").graph)
    vertex = {name: index for index, name in structure.nodes(data="name")}
    gated = vertex["decoder.0.gated"]
    assert set(structure.predecessors(gated)) == {vertex["decoder.0.refine"], vertex["decoder.0.gate"]}
    assert structure.nodes[gated]["join"] == "product"
