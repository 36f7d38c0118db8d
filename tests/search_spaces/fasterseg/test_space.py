"""The FasterSeg space: decisions of a derived network, what they may be, which cells branches share."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
import torch

import nas
from nas.cost.prediction import predict_graph
from nas.errors import ConfigError, GenotypeError
from nas.network.network import Network
from nas.ops import is_free, macs
from nas.space.choice import check_decisions
from nas.space.deployment import Deployment
from nas.space.genotype import save_genotype
from search_spaces.fasterseg.config import FasterSegConfig, channels
from search_spaces.fasterseg.deployed.branches import (
    Branch,
    Layer,
    branch_options,
    cell_owners,
    decided_choices,
    read_branches,
    shared_layers,
)
from search_spaces.fasterseg.space import FasterSeg
from tests.random_weights import as_if_trained

SIZE = (64, 96)
DEPLOYMENT = Deployment(SIZE, 4, 5)


def branch(end: int, text: str) -> Branch:
    """A branch from `op@stride*twelfths` words."""
    layers = []
    for word in text.split():
        op, _, rest = word.partition("@")
        stride, _, width = rest.partition("*")
        layers.append(Layer(op, int(stride), int(width)))
    return Branch(end, tuple(layers))


DEEP = branch(32, "conv@8*4 conv_2x@8*6 conv@16*8 conv_downup@32*8")
OTHER = branch(16, "conv@8*4 conv_2x@8*6 conv@16*10 conv@16*8")
SHALLOW = branch(8, "conv@8*4 conv@8*8")


def space(**changes) -> FasterSeg:
    return FasterSeg(FasterSegConfig(**{"layers": 6, **changes}))


def decided(*branches: Branch, **changes: str) -> dict[str, str]:
    choices = decided_choices(branches, space().config, stem_width=8, head_width=8)
    return choices | {name.replace("__", "."): option for name, option in changes.items()}


def test_layers_are_shared_up_to_the_first_difference():
    assert shared_layers(DEEP, OTHER) == 2
    assert cell_owners((DEEP, OTHER)) == ((0, 0, 0, 0), (0, 0, 1, 1))
    names = {node.name for node in space().graph(DEPLOYMENT, decided(DEEP, OTHER)).nodes}
    assert {name for name in names if name.startswith("cells")} == {
        "cells.0", "cells.1", "cells32.2", "cells32.3", "cells16.2", "cells16.3"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        (branch(16, "conv_2x@8*4 conv_2x@8*6 conv@16*10 conv@16*8"), 0),  # another operator
        (branch(16, "conv@8*4 conv_2x@8*4 conv@16*10 conv@16*8"), 1),  # another width behind the second layer
        (branch(16, "conv@8*4 conv_2x@8*6 conv@8*8 conv@16*8"), 1),  # the third layer runs at another scale
        (branch(16, "conv@8*4 conv_2x@8*6 conv@16*8 conv_downup@16*8"), 2),  # the fourth layer runs at another scale
        (branch(16, "conv@8*4 conv_2x@8*6 conv@16*8"), 2),  # the same as far as it goes, and its last layer is its own
        (branch(16, "conv@8*4 conv@16*8"), 0),  # the second layer runs at another scale
        (branch(16, "conv@8*6 conv_2x@8*6 conv@16*8"), 0),  # what agrees behind a difference is not joined again
        (SHALLOW, 1),
        (branch(8, "conv@8*8"), 0),
    ],
)
def test_the_merging_rule_on_cases_made_by_hand(other, shared):
    assert shared_layers(DEEP, other) == shared_layers(other, DEEP) == shared


def test_a_shared_cell_runs_once_and_a_branch_remembers_its_latest_map_at_each_stride():
    reads = readers(DEEP, OTHER)
    assert reads["cells32.2"] == reads["cells16.2"] == ["cells.1"]
    assert reads["refines32.0.join"] == ["refines32.0.resize", "cells.1"]  # which left at 1/16, as nothing behind it did
    assert reads["refines32.1.join"] == ["refines32.1.resize", "cells.0"]
    assert reads["refines16.join"] == ["refines16.resize", "cells.0"]
    assert reads["heads16.join"] == ["cells.1", "cells16.3"]
    reads = readers(branch(32, "conv@8*4 conv@16*8 conv@32*8"), SHALLOW)
    assert reads["refines32.1.join"] == ["refines32.1.resize", "stem.2"]
    assert reads["ffm.join"] == ["refines32.1.conv", "cells8.1"]
    assert reads["heads16.conv"] == ["cells32.0"]


def readers(*branches: Branch) -> dict[str, list[str]]:
    """Node of a derived network -> the nodes that it reads."""
    nodes = space().graph(DEPLOYMENT, decided(*branches)).nodes
    return {node.name: [nodes[index].name for index in node.inputs] for node in nodes}


def test_decisions_and_branches_turn_into_each_other():
    for branches in ((DEEP, OTHER), (DEEP, SHALLOW)):
        assert read_branches(decided(*branches), space().config) == branches


def test_there_is_one_decision_a_part_and_none_only_for_layers():
    options = branch_options(FasterSegConfig())
    assert len(options) == 3 + 3 * 16 * 3
    assert options["branches"] == ("32+16", "32+8")
    assert options["stem.width"] == options["head.width"] == ("4/12", "6/12", "8/12", "10/12", "12/12")
    assert options["branch.8.layer.15.op"] == ("none", "conv", "conv_downup", "conv_2x", "conv_2x_downup")
    assert options["branch.32.layer.0.scale"] == ("none", "1/8", "1/16", "1/32")
    assert options["branch.16.layer.7.width"] == ("none", *options["stem.width"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"branch__8__layer__2__op": "conv"}, r"branch\.8\.layer\.2\.op: got conv, expected none, for choices\.branches is 32\+16"),
        ({"branches": "32+8"}, r"branch\.16\.layer\.0\.op: got conv, expected none, for choices\.branches is 32\+8"),
        ({"branch__16__layer__0__op": "none"}, r"branch\.16\.layer\.0\.op: got none, expected an operator"),
        ({"branch__32__layer__1__op": "none"}, r"branch\.32\.layer\.1\.scale: got 1/8, expected none, for .*\.1\.op is none"),
        (
            {"branch__32__layer__1__scale": "none"},
            r"branch\.32\.layer\.1\.scale: got none, expected a scale, for .*op is an operator",
        ),
        (
            {"branch__32__layer__1__width": "none"},
            r"branch\.32\.layer\.1\.width: got none, expected a width, for .*op is an operator",
        ),
        (
            {"branch__16__layer__5__op": "conv", "branch__16__layer__5__scale": "1/16", "branch__16__layer__5__width": "8/12"},
            r"branch\.16\.layer\.5\.op: got conv, expected none, for layer 4 of this branch is none",
        ),
        ({"branch__32__layer__0__scale": "1/16"}, r"branch\.32\.layer\.0\.scale: got 1/16, expected 1/8, for branches begin there"),
        (
            {"branch__32__layer__1__scale": "1/32"},
            r"branch\.32\.layer\.1\.scale: got 1/32, expected 1/8 or 1/16, for a layer goes down",
        ),
        (
            {"branch__32__layer__3__scale": "1/8"},
            r"branch\.32\.layer\.3\.scale: got 1/8, expected 1/16 or 1/32, for a layer goes down",
        ),
        ({"branch__32__layer__3__scale": "1/16"}, r"branch\.32\.layer\.3\.scale: got 1/16, expected 1/32, where this branch ends"),
        ({"branch__16__layer__3__scale": "1/32"}, r"branch\.16\.layer\.3\.scale: got 1/32, expected 1/16, where this branch ends"),
        (
            {"branch__16__layer__3__width": "4/12"},
            r"branch\.16\.layer\.3\.width: got 4/12, expected 8/12 as in choices\.head\.width",
        ),
        ({"head__width": "4/12"}, r"branch\.32\.layer\.3\.width: got 8/12, expected 4/12 as in choices\.head\.width"),
    ],
)
def test_decisions_that_make_no_network_are_refused_by_name(changes, message):
    with pytest.raises(GenotypeError, match=rf"^choices\.{message}") as refused:
        space().graph(DEPLOYMENT, decided(DEEP, OTHER, **changes))
    assert "\n" not in str(refused.value)


def test_a_file_with_such_decisions_is_refused_with_its_line(tmp_path):
    genotype = nas.load_genotype("fasterseg/student")
    genotype.choices["branch.32.layer.4.scale"] = "1/32"
    save_genotype(tmp_path / "wrong.yaml", genotype)
    with pytest.raises(GenotypeError, match=r"wrong\.yaml: line \d+: choices\.branch\.32\.layer\.4\.scale: got 1/32"):
        nas.load_genotype(tmp_path / "wrong.yaml")


@pytest.mark.parametrize("seed", range(8))
def test_a_random_architecture_is_valid_and_runs_at_any_size(seed):
    one = space(layers=7)
    choices = one.random_choices(torch.Generator().manual_seed(seed))
    assert choices == one.random_choices(torch.Generator().manual_seed(seed))
    check_decisions(choices, one.genotype_choices())
    graph = one.graph(DEPLOYMENT, choices)
    assert not any(node.decisions or is_free(node.spec) for node in graph.nodes if node.role != "input")
    assert predict_graph(graph, macs).ms == sum(macs(spec) for _, spec in graph.operations())
    network = Network(graph)
    for size in (SIZE, (63, 99), (17, 9)):
        outputs = network.forward_with_aux(torch.randn(2, 3, *size))
        assert {name: tuple(value.shape) for name, value in outputs.items()} == dict.fromkeys(
            ("logits", "heads16", "heads32"), (2, 5, *size)
        )
    sum(value.square().mean() for value in outputs.values()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_random_architectures_differ_reach_every_option_and_share_cells():
    one = space()
    generator = torch.Generator().manual_seed(0)
    met, shared, drawn = defaultdict(set), set(), set()
    for _ in range(300):
        choices = one.random_choices(generator)
        one.check(choices)
        drawn.add(tuple(choices.values()))
        for name, option in choices.items():
            met[re.sub(r"layer\.\d+\.", "", name)].add(option)
        shared.add(shared_layers(*read_branches(choices, one.config)))
    assert len(drawn) == 300
    assert {0, 1, 2} <= shared
    unreachable = {"branch.16.scale": {"1/32"}, "branch.8.scale": {"1/16", "1/32"}}
    for name, options in one.genotype_choices().items():
        kind = re.sub(r"layer\.\d+\.", "", name)
        assert met[kind] == set(options) - unreachable.get(kind, set()), kind


def test_auxiliary_heads_take_no_part_in_what_is_deployed():
    graph = space().graph(DEPLOYMENT, decided(DEEP, OTHER))
    assert set(graph.outputs) == {"logits", "labels", "heads16", "heads32"}
    deployed = {node.name.split(".")[0] for node in graph.deployed().nodes}
    assert not deployed & {"heads16", "heads32"}
    assert not any(part.startswith(("heads16", "heads32")) for part, _ in graph.operations())
    network = as_if_trained(Network(graph))
    images = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        for name in ("heads16.conv", "heads32.conv"):
            network.get_submodule(name).conv.weight.fill_(float("nan"))
        assert torch.isfinite(network(images)).all()
        assert torch.isnan(network.forward_with_aux(images)["heads16"]).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": 2}, r"space\.layers: got 2, expected at least 3"),
        ({"filters": 0}, r"space\.filters: got 0, expected at least 1"),
        ({"widths": []}, r"space\.widths: got \[\], expected ascending numbers of twelfths from 1 to 12"),
        ({"widths": [8, 4]}, r"space\.widths: got \[8,4\]"),
        ({"widths": [4, 4]}, r"space\.widths: got \[4,4\]"),
        ({"widths": [0, 4]}, r"space\.widths: got \[0,4\]"),
        ({"widths": [4, 13]}, r"space\.widths: got \[4,13\]"),
    ],
)
def test_settings_without_meaning_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        FasterSegConfig(**changes)


def test_channels_of_all_widths_and_strides():
    of_width = {4: 32, 6: 48, 8: 64, 10: 80, 12: 96}
    for factor, stride in ((1, 8), (2, 16), (4, 32)):
        assert {width: channels(12, stride, width) for width in of_width} == {w: factor * c for w, c in of_width.items()}
