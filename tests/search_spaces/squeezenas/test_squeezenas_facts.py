"""Parameters and MACs of the SqueezeNAS spaces and of the published networks, as measured on the official code."""

from __future__ import annotations

import json

import pytest
import torch

import nas
from nas.network.network import Network
from nas.ops import macs
from nas.reports.network_summary import count_macs
from nas.space.deployment import Deployment
from nas.space.design import design_of, load_design
from nas.space.graph import Graph
from nas.space.search_space import SearchSpace
from search_spaces import SEARCH_SPACES
from tests.squeezenas_reference import FOLDER, NETWORKS, SUPERNETS, needs_reference

SIZE = (1024, 2048)


def space_of(size: str) -> SearchSpace:
    entry = SEARCH_SPACES[f"squeezenas_{size}"]
    return entry.build(entry.config())


def supernet_graph(size: str) -> Graph:
    space = space_of(size)
    return space.graph(Deployment(SIZE, space.deploy_channels, 19))


def without_memory(graph: Graph) -> Network:
    with torch.device("meta"):
        return Network(graph)


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_published_network_has_the_official_parameters_macs_and_tensors(name: str) -> None:
    genotype = nas.load_genotype(f"squeezenas/{name}")
    graph = design_of(genotype, SEARCH_SPACES).graph
    network = without_memory(graph)
    assert genotype.deploy.input == SIZE
    assert (parameters(network), sum(count_macs(graph).values()), len(network.state_dict())) == NETWORKS[name]


@pytest.mark.parametrize("size", list(SUPERNETS))
def test_a_supernet_has_the_official_parameters(size: str) -> None:
    logits = sum(len(choice.options) for choice in space_of(size).choices())
    assert (parameters(without_memory(supernet_graph(size))) + logits, logits) == SUPERNETS[size]


@needs_reference
@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_published_genotype_states_the_official_choices(name: str) -> None:
    network = json.loads((FOLDER / "genotypes.json").read_text())["networks"][f"squeezenas_{name}"]
    genotype = nas.load_genotype(f"squeezenas/{name}")
    assert genotype.space == f"squeezenas_{network['size']}"
    assert genotype.space_config["decoder"] == network["decoder"]
    assert genotype.choices == {f"block.{i}": choice for i, choice in enumerate(network["choices"])}
    assert genotype.provenance["optimised_for"] == network["optimised_for"]
    assert genotype.provenance["licence"].startswith("MIT")


@needs_reference
@pytest.mark.parametrize("name", list(NETWORKS))
def test_encoder_decoder_and_statistics_of_a_published_network_count_as_measured(name: str) -> None:
    facts = json.loads((FOLDER / "facts.json").read_text())["networks"][f"squeezenas_{name}"]
    network = without_memory(load_design(f"squeezenas/{name}", SEARCH_SPACES).graph)
    decoder = sum(p.numel() for key, p in network.named_parameters() if key.startswith("decoder."))
    statistics = sum(b.numel() for key, b in network.named_buffers() if "running" in key)
    assert (decoder, parameters(network) - decoder, statistics) == (
        facts["params_decoder"],
        facts["params_encoder"],
        facts["bn_running_stats"],
    )


@needs_reference
@pytest.mark.parametrize("size", list(SUPERNETS))
def test_every_choice_of_every_block_costs_what_was_measured(size: str) -> None:
    everything = json.loads((FOLDER / "facts.json").read_text())
    facts = everything["supernets"][size]
    graph = supernet_graph(size)
    network = without_memory(graph)
    mixed = [node for node in graph.nodes if node.role == "mixed"]
    assert [choice.options for choice in space_of(size).choices()] == [tuple(everything["choice_order"])] * len(mixed)
    assert len(mixed) == facts["blocks_searched"]
    for node, block in zip(mixed, facts["blocks"], strict=True):
        candidates = network.get_submodule(node.module).candidates
        specs = [node.specs[(i,)] for i in range(facts["choices"])]
        assert [macs(spec) for spec in specs] == block["macs"]
        counts = [parameters(candidates[name]) if name in candidates else 0 for name in node.option_names[0]]
        assert counts == block["params"]
        assert {(s.in_channels, s.out_channels, s.stride) for s in specs} == {(block["c_in"], block["c_out"], block["stride"])}
        assert {(s.height, s.width) for s in specs} == {tuple(block["in_hw"])}
        assert {(s.out_height, s.out_width) for s in specs} == {tuple(block["out_hw"])}
        assert (specs[-1].kind == "none") == block["residual"]
    fixed = dict.fromkeys(("stem", "last", "decoder"), 0)
    for node in graph.nodes:
        if node.role == "op" and node.part in fixed:
            fixed[node.part] += macs(node.spec)
    stated = facts["conv_macs_fixed"]
    assert fixed == {"stem": stated["stem"], "last": stated["last_conv"], "decoder": stated["decoder"]}
