"""The published FasterSeg networks against the numbers measured on the official code, and against a second implementation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

import pytest
import torch

import nas
from nas.network.network import Network
from nas.ops import macs
from nas.reports.network_summary import count_idle, count_macs, count_parameters
from nas.space.design import load_design
from nas.space.graph import Graph
from search_spaces import all_spaces
from tests.fasterseg_reference import FOLDER, NETWORKS, OFFICIAL_NAMES, Reference, needs_reference, official_table, row_of
from tests.random_weights import as_if_trained

SIZE = (1024, 2048)
WITHOUT_AUXILIARY = {"student": 3_454_643, "teacher": 22_188_931}


def graph_of(name: str) -> Graph:
    return load_design(f"fasterseg/{name}", all_spaces()).graph


def by_module(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts of parts, added up by the official module that they are in; without those that have none."""
    total: Counter[str] = Counter()
    for part, count in counts.items():
        module = part.split(".")[0]
        total["cells" if module.startswith("cells") else module] += count
    return {module: count for module, count in total.items() if count}


def facts_of(name: str) -> dict:
    return json.loads((FOLDER / "facts.json").read_text())[f"derived_{name}"]


def derived_of(name: str) -> dict:
    return json.loads((FOLDER / f"arch_{name}.json").read_text())["derived"]


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_published_network_has_the_official_parameters_and_macs(name):
    graph = graph_of(name)
    everything, unused, auxiliary, work = NETWORKS[name]
    parameters = sum(count_parameters(graph).values())
    assert parameters == everything - unused
    assert sum(count_parameters(graph.deployed()).values()) == everything - unused - auxiliary
    assert sum(count_macs(graph).values()) == work
    assert nas.load_genotype(f"fasterseg/{name}").deploy.input == SIZE
    assert count_idle(graph) == unused
    assert count_idle(graph.deployed()) == 0
    built = {key: value.numel() for key, value in nas.build(f"fasterseg/{name}").named_parameters()}
    assert sum(built.values()) == everything
    helpers = sum(count for key, count in built.items() if key.startswith(("heads16.", "heads32.")))
    assert everything - helpers == WITHOUT_AUXILIARY[name]


@needs_reference
@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_module_has_the_official_parameters_and_macs(name):
    graph, facts = graph_of(name), facts_of(name)
    parameters, work = facts["parameters"], facts["macs_1024x2048"]
    attention = parameters["unused_channel_attention"]
    expected = parameters["by_module"] | {"ffm": parameters["by_module"]["ffm"] - attention}
    assert by_module(count_parameters(graph)) == expected
    assert by_module(count_macs(graph)) == work["conv_by_module"]
    assert sum(count_macs(graph).values()) == work["conv_total"]
    deployed = sum(count_parameters(graph.deployed()).values())
    assert deployed == parameters["without_aux_heads_and_unused"] == parameters["without_aux_heads"] - attention
    assert sum(count_parameters(graph).values()) == parameters["all"] - attention == deployed + parameters["aux_heads"]


@needs_reference
@pytest.mark.parametrize("name", list(NETWORKS))
def test_shapes_are_the_official_ones(name):
    graph, facts = graph_of(name), facts_of(name)
    specs = {node.name: node.spec for node in graph.nodes if node.role != "input"}
    shapes = {key: [1, spec.out_channels, spec.out_height, spec.out_width] for key, spec in specs.items()}
    assert shapes["heads8.resize"] == facts["eval_output_shape_1024x2048"]
    assert shapes["heads8.classifier"] == facts["head8_output_shape_1024x2048"]
    outputs = Network(graph).forward_with_aux(torch.randn(2, 3, 64, 128))
    assert list(outputs) == ["logits", "heads16", "heads32"]
    assert [list(output.shape) for output in outputs.values()] == facts["train_output_shapes_2x3x64x128"]


def cells_of(graph: Graph, groups: list[list[list[int]]]) -> list[dict]:
    """The cells of a graph as the reference lists them; which branches share them is told by the groups."""
    cells = []
    for node in (node for node in graph.nodes if node.part.startswith("cells")):
        head, layer = node.name.split(".")
        group = [0, 1] if head == "cells" else [0] if head == "cells32" else [1]
        assert group in groups[int(layer)]
        cells.append(
            {
                "layer": int(layer),
                "branches": group,
                "op": node.chosen,
                "in_stride": SIZE[0] // node.spec.height,
                "stride": node.spec.stride,
                "C_in": node.spec.in_channels,
                "C_out": node.spec.out_channels,
            }
        )
    return sorted(cells, key=lambda cell: (cell["layer"], cell["branches"]))


@needs_reference
@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_published_genotype_states_the_official_derivation(name):
    derived, genotype = derived_of(name), nas.load_genotype(f"fasterseg/{name}")
    graph = graph_of(name)
    assert cells_of(graph, derived["branch_groups"]) == derived["cells"]
    strides = {2: 32, 1: 16, 0: 8}
    assert genotype.choices["branches"] == "+".join(str(strides[last]) for last in derived["lasts"])
    for branch in derived["branches"]:
        stated = [genotype.choices[f"branch.{strides[branch['last']]}.layer.{i}.op"] for i in range(derived["options"]["layers"])]
        assert stated == branch["ops"] + ["none"] * (len(stated) - len(branch["ops"]))
    assert genotype.provenance["licence"].startswith("MIT")
    assert "VITA-Group/FasterSeg" in genotype.provenance["repository"]


def official_latency(graph: Graph, table: Mapping[tuple[str, ...], float], *, repaired: bool) -> float:
    """The sum over the official table; not repaired, the zoomed double convolution is looked up as the plain one, as officially."""
    total = 0.0
    for node in graph.deployed().nodes:
        head = node.name.split(".")[0]
        if node.role == "input" or macs(node.spec) == 0 or node.name == "heads8.classifier":
            continue
        kind = OFFICIAL_NAMES.get(node.spec.kind, "BasicResidual1x" if head.startswith("cells") else "ConvNorm")
        if kind == "BasicResidual_downup_2x" and not repaired:
            kind = "BasicResidual2x"
        kind = {"ffm.conv": "ff", "heads8.conv": "head"}.get(node.name, kind)
        row = row_of(node.spec, kind=kind)
        if kind == "head":
            row = (*row[:4], str(graph.nodes[graph.outputs["logits"]].spec.out_channels), *row[5:])
        total += table[row]
    return total


@needs_reference
@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_official_table_gives_the_official_latency(name):
    table = official_table()
    facts = facts_of(name)["latency_lut_ms_3x1024x2048"]
    graph = graph_of(name)
    assert official_latency(graph, table, repaired=False) == pytest.approx(facts["official"], rel=1e-9)
    assert official_latency(graph, table, repaired=True) == pytest.approx(facts["with_true_conv_2x_downup_entries"], rel=1e-9)


@pytest.mark.parametrize("size", [(64, 128), (96, 160), (63, 99), (101, 135)])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_second_implementation_computes_the_same(name, training, size):
    torch.manual_seed(0)
    reference = as_if_trained(Reference(nas.load_genotype(f"fasterseg/{name}"))).train(training)
    network = nas.build(nas.load_genotype(f"fasterseg/{name}")).train(training)
    network.load_state_dict(nas.import_weights(f"fasterseg/{name}", reference.state_dict()))
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected, got = reference(images), network.forward_with_aux(images)
    for one, other in zip(expected, got.values(), strict=True):
        assert float((one - other).abs().max()) < 1e-4 * float(one.abs().max())
    if training:
        statistics = nas.import_weights(f"fasterseg/{name}", reference.state_dict())
        for key, tensor in network.state_dict().items():
            torch.testing.assert_close(tensor, statistics[key], rtol=1e-3, atol=1e-4, msg=lambda text, key=key: f"{key}: {text}")
