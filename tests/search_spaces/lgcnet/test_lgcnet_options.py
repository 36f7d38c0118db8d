"""Every option of the space against the same demands: derived equals supernet, hooks equal specs, latency equals prediction."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.cost.expected import ExpectedLatency
from nas.cost.prediction import predict_graph
from nas.network.network import Network
from nas.network.supernet_weights import copy_weights
from nas.ops import OPERATIONS, OpSpec
from nas.space.deployment import Deployment
from nas.space.weights import one_hot
from nas.supernet.relaxation import sample
from search_spaces.lgcnet.config import CASConfig, GASConfig, LGCNetConfig
from search_spaces.lgcnet.space import LGCNet

CLASSES = 3
OPTIONS: dict[str, LGCNetConfig] = {
    "gas": GASConfig(),
    "cas": CASConfig(),
    "no head": LGCNetConfig(head="none"),
    "ppm": LGCNetConfig(head="ppm"),
    "mscell": LGCNetConfig(head="mscell"),
    "shared cells under dcfc": LGCNetConfig(cells="shared", communication="none"),
    "fc": LGCNetConfig(communication="fc"),
    "operation identity": LGCNetConfig(reasoning="operation_identity"),
    "without communication": LGCNetConfig(communication="none"),
    "narrow guide": LGCNetConfig(guided_dim=16, gamma=1.0),
    "cell 5 fused": LGCNetConfig(fused_cells=[0, 5, 13]),
    "cell 10 fused": LGCNetConfig(fused_cells=[0, 7, 10]),
    "three nodes": LGCNetConfig(num_nodes=3, num_cells=5, reduction_cells=[1, 3], fused_cells=[0, 2, 4]),
    "few candidates": LGCNetConfig(ops=["skip_connect", "conv_3x3", "none"], fusion_ops=["conv_1x1"], up_ops=["interpolate"]),
    "other rates": LGCNetConfig(head="aspp", aspp_rates=[2, 4], head_channels=20),
    "other bins": LGCNetConfig(head="ppm", ppm_bins=[1, 4]),
}
every_option = pytest.mark.parametrize("name", OPTIONS)


def cost_of(spec: OpSpec) -> float:
    """A positive number that looks random but depends on the key alone."""
    return 0.5 + zlib.crc32(spec.key.encode()) % 1009 / 100


def graph_of(space: LGCNet, size: tuple[int, int], decided: Any = None) -> Any:
    return space.graph(Deployment(size, 2, CLASSES), decided)


@every_option
def test_forty_random_genotypes_are_valid_and_have_all_their_costs_in_the_plan(name: str) -> None:
    space = LGCNet(OPTIONS[name])
    plan = set(space.plan(Deployment((97, 131), 2, CLASSES)))
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        assert set(graph_of(space, (97, 131), space.random_choices(generator)).specs()) <= plan


@every_option
def test_the_derived_network_with_copied_weights_is_the_supernet_at_one_hot_weights(name: str) -> None:
    space, size = LGCNet(OPTIONS[name]), (65, 97)
    generator = torch.Generator().manual_seed(1)
    decided = dict(space.random_choices(generator))
    torch.manual_seed(0)
    supernet = Network(graph_of(space, size)).eval()
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    derived = Network(graph_of(space, size, decided)).eval()
    copy_weights(supernet, derived, decided)
    images = torch.randn(2, 3, *size, generator=generator)
    with torch.no_grad():
        expected = supernet(images, one_hot(decided, space.choices()))
        assert expected.std() > 1e-3
        torch.testing.assert_close(derived(images), expected, rtol=0, atol=1e-5)


@every_option
def test_the_expected_latency_at_one_hot_weights_is_the_prediction(name: str) -> None:
    space = LGCNet(OPTIONS[name])
    expected = ExpectedLatency(graph_of(space, (97, 131)), cost_of)
    generator = torch.Generator().manual_seed(2)
    for _ in range(10):
        decided = dict(space.random_choices(generator))
        latency = predict_graph(graph_of(space, (97, 131), decided), cost_of).ms
        assert float(expected(one_hot(decided, space.choices()))) == pytest.approx(latency, rel=1e-12)


@every_option
def test_logits_and_communication_get_gradients_from_latency_and_from_the_network(name: str) -> None:
    space = LGCNet(OPTIONS[name])
    generator = torch.Generator().manual_seed(3)
    rows = Counter(choice.group for choice in space.choices())
    options = {choice.group: len(choice.options) for choice in space.choices()}
    logits = {group: torch.randn(rows[group], options[group], generator=generator).requires_grad_() for group in rows}
    torch.manual_seed(0)
    communication = space.communication()
    guided: dict[str, Tensor] = logits if communication is None else communication(logits)
    z = sample(guided, space.choices(), relaxation="soft", tau=1.0, generator=generator)
    graph = graph_of(space, (65, 97))
    terms = {
        "latency": ExpectedLatency(graph, cost_of)(z),
        "network": Network(graph)(torch.randn(2, 3, 65, 97), z).square().mean(),
    }
    parameters = dict(logits) if communication is None else {**logits, **dict(communication.named_parameters())}
    for term, value in terms.items():
        gradients = torch.autograd.grad(value, list(parameters.values()), retain_graph=True, allow_unused=True)
        for key, gradient in zip(parameters, gradients, strict=True):
            assert gradient is not None, (term, key)
            if parameters[key].shape[-1] > 1:  # a decision with one option has nothing to learn
                assert gradient.isfinite().all(), (term, key)
                assert gradient.norm() > 0, (term, key)


@pytest.mark.parametrize("name", ["gas", "cas", "ppm", "mscell", "no head"])
@pytest.mark.parametrize("size", [(64, 96), (97, 131), (63, 49)])
def test_the_operations_of_every_head_are_those_of_the_real_forward_pass(name: str, size: tuple[int, int]) -> None:
    space = LGCNet(OPTIONS[name])
    decided = space.random_choices(torch.Generator().manual_seed(4))
    graph = graph_of(space, size, decided)
    network = Network(graph).eval()
    shapes: dict[str, list[tuple[int, ...]]] = {}

    def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, *, node: str) -> None:
        shapes[node] = [tuple(inputs[0].shape[1:]), tuple(output.shape[1:])]

    nodes = [node for node in graph.nodes if node.role == "op"]
    for node in nodes:
        network.get_submodule(node.module).register_forward_hook(partial(note, node=node.name))
    with torch.no_grad():
        network.label_map(torch.randn(1, 3, *size))
    for node in nodes:
        spec = node.spec
        stated = [(spec.in_channels, spec.height, spec.width), (spec.out_channels, spec.out_height, spec.out_width)]
        assert shapes[node.name] == stated, node.name
        assert spec.kind in OPERATIONS


def test_shared_cells_decide_once_for_each_kind_and_keep_their_own_weights() -> None:
    space = LGCNet(CASConfig())
    cells = [choice.name for choice in space.choices() if choice.name.startswith("cells.")]
    assert cells == [f"cells.{kind}.edge.{edge}" for kind in ("normal", "reduction") for edge in range(5)]
    graph = graph_of(space, (65, 97))
    for node in graph.nodes:
        if node.name.startswith("cells.") and node.decisions:
            kind = "reduction" if node.name.split(".")[1] in ("1", "8") else "normal"
            assert node.decisions == (f"cells.{kind}.edge.{node.name.rsplit('.', 1)[1]}",)
            assert node.module == node.name


def test_a_shared_cell_without_input_is_refused_and_mended_by_the_name_of_its_kind() -> None:
    space = LGCNet(CASConfig())
    none = space.config.ops.index("none")
    logits = {}
    for choice in space.choices():
        logits.setdefault(choice.group, torch.zeros(16, len(choice.options)))
    logits["cell_reduction"][:, none] = 5
    derivation = space.derive({"default": logits})["default"]
    assert len(derivation.repairs) == 2
    assert all("of the reduction cells had no input" in repair for repair in derivation.repairs)
    space.check(derivation.choices)


def test_aspp_has_a_branch_for_each_rate_and_one_that_pools() -> None:
    graph = graph_of(LGCNet(GASConfig()), (97, 131), LGCNet(GASConfig()).random_choices(torch.Generator().manual_seed(0)))
    by_name = {node.name: node for node in graph.nodes}
    assert sorted(by_name[f"aspp.rate_{rate}"].spec.dilation for rate in (6, 12, 18)) == [6, 12, 18]
    assert by_name["aspp.pool"].spec.kernel == 1
    assert by_name["aspp.concat"].spec.out_channels == 5 * 48
    assert by_name["classifier.conv"].spec.in_channels == 48
    assert {graph.nodes[by_name[name].inputs[0]].name for name in ("aspp.conv", "aspp.pool", "aspp.rate_6")} == {"cells.13.output"}


def test_ppm_concatenates_its_input_with_a_level_for_each_grid() -> None:
    space = LGCNet(OPTIONS["ppm"])
    graph = graph_of(space, (97, 131), space.random_choices(torch.Generator().manual_seed(0)))
    by_name = {node.name: node for node in graph.nodes}
    width = by_name["ppm.concat"].spec.in_channels
    assert width == 2 * 2 * 4
    assert [by_name[f"ppm.bins_{bins}"].spec.kernel for bins in (1, 2, 3, 6)] == [1, 2, 3, 6]
    assert by_name["ppm.concat"].spec.out_channels == width + 4 * (width // 4)
    assert (by_name["ppm.out"].spec.kernel, by_name["ppm.out"].spec.out_channels) == (3, 48)


@pytest.mark.parametrize(
    ("key", "value", "changes"),
    [
        ("communication", "none", set()),
        ("reasoning", "operation_identity", set()),
        ("guided_dim", 16, set()),
        ("gamma", 0.1, set()),
        ("head", "aspp", {"head"}),
        ("head_channels", 32, {"head"}),
        ("fusion_ops", ["conv_1x1"], {"head"}),
        ("ops", ["conv_3x3", "none"], {"cells"}),
        ("num_nodes", 3, {"cells", "head"}),
    ],
)
def test_an_option_changes_the_parts_it_names_and_no_other(key: str, value: Any, changes: set[str]) -> None:
    base = LGCNetConfig()
    before, after = (_parts(LGCNet(config)) for config in (base, replace(base, **{key: value})))
    assert {part for part in before if before[part] != after[part]} == changes


def _parts(space: LGCNet) -> dict[str, Any]:
    """The described operations by part: stem, cells, head."""
    graph = graph_of(space, (65, 97))
    parts: dict[str, list[Any]] = {"stem": [], "cells": [], "head": []}
    for node in graph.nodes:
        head = node.name.split(".")[0]
        if head in ("fusion", "aspp", "ppm", "classifier", "cells", "stem"):
            part = head if head in parts else "head"
            if node.name not in ("classifier.resize", "classifier.argmax"):
                parts[part].append((node.name, node.decisions, node.option_names, dict(node.specs)))
    return parts
