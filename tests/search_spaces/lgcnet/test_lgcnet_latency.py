"""Expected latency of LGCNet against enumeration, predictions and its gradients."""

from __future__ import annotations

import itertools
import zlib
from collections import Counter

import pytest
import torch
from torch import Tensor

from nas.cost.expected import ExpectedLatency
from nas.cost.prediction import predict_graph
from nas.ops import OpSpec
from nas.space.deployment import Deployment
from nas.space.weights import Weights, one_hot
from nas.supernet.relaxation import sample
from search_spaces.lgcnet.config import LGCNetConfig
from search_spaces.lgcnet.space import LGCNet
from tests.expected_by_part import expected_by_part

FULL = LGCNet(LGCNetConfig())
SIZE = (97, 131)


def cost_of(spec: OpSpec) -> float:
    """A positive number that looks random but depends on the key alone."""
    return 0.5 + zlib.crc32(spec.key.encode()) % 1009 / 100


def predicted(space: LGCNet, decided: dict[str, str]) -> float:
    graph = space.graph(Deployment(SIZE, 4, 11), decided)
    return predict_graph(graph, cost_of).ms


def expected_latency(space: LGCNet) -> ExpectedLatency:
    return ExpectedLatency(space.graph(Deployment(SIZE, 4, 11)), cost_of)


def random_z(space: LGCNet, *, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        c.name: torch.softmax(torch.randn(len(c.options), generator=generator, dtype=torch.float64), dim=-1)
        for c in space.choices()
    }


@pytest.mark.parametrize("reduction", [[], [0]], ids=["normal", "reduction"])
def test_the_latency_of_one_cell_is_the_mean_over_all_its_networks(reduction: list[int]) -> None:
    ops = ["none", "conv_1x1", "skip_connect"]
    space = LGCNet(LGCNetConfig(num_cells=1, reduction_cells=reduction, head="none", ops=ops))
    z = random_z(space)
    for edge in (0, 2):  # one certain input for each node: then every draw is a valid network
        row = z[f"cells.0.edge.{edge}"]
        row[0] = 0
        row /= row.sum()
    mean = total = 0.0
    for draw in itertools.product(ops, repeat=5):
        probability = 1.0
        for edge, option in enumerate(draw):
            probability *= float(z[f"cells.0.edge.{edge}"][ops.index(option)])
        if probability:
            total += probability
            mean += probability * predicted(space, {f"cells.0.edge.{edge}": option for edge, option in enumerate(draw)})
    assert total == pytest.approx(1)
    assert float(expected_latency(space)(Weights(z, {}))) == pytest.approx(mean, rel=1e-12)


def test_without_none_the_latency_is_linear_in_each_decision_through_all_cells_and_the_head() -> None:
    ops = ["max_pool_3x3", "skip_connect", "conv_3x3", "sep_conv_3x3"]
    space = LGCNet(LGCNetConfig(num_cells=3, reduction_cells=[1, 2], fused_cells=[0, 1, 2], ops=ops))
    base = {choice.name: choice.options[0] for choice in space.choices()}
    bottom = predicted(space, base)
    z = random_z(space)
    mean = bottom
    for choice in space.choices():
        for option, weight in zip(choice.options, z[choice.name].tolist(), strict=True):
            mean += weight * (predicted(space, {**base, choice.name: option}) - bottom)
    assert float(expected_latency(space)(Weights(z, {}))) == pytest.approx(mean, rel=1e-12)


def older_only(space: LGCNet, generator: torch.Generator) -> dict[str, str]:
    """Random, but most nodes have one operation, mostly from the older input, so that whole cells are pruned."""
    decided = dict(space.random_choices(generator))
    for cell in range(space.num_cells):
        for edges in ((0, 1), (2, 3, 4)):
            kept = edges[0] if torch.rand((), generator=generator) < 0.8 else edges[-1]
            if torch.rand((), generator=generator) < 0.8:
                decided.update({f"cells.{cell}.edge.{edge}": "none" for edge in edges})
                decided[f"cells.{cell}.edge.{kept}"] = ["conv_3x3", "skip_connect"][cell % 2]
    return decided


def test_at_one_hot_weights_the_expected_latency_is_the_prediction() -> None:
    expected = expected_latency(FULL)
    generator = torch.Generator().manual_seed(0)
    pruned = 0
    for i in range(100):
        decided = older_only(FULL, generator) if i % 2 else dict(FULL.random_choices(generator))
        graph = FULL.graph(Deployment(SIZE, 4, 11), decided)
        latency = predict_graph(graph, cost_of)
        weights = one_hot(decided, FULL.choices())
        assert float(expected(weights)) == pytest.approx(latency.ms, rel=1e-12)
        by_part = expected_by_part(expected, weights)
        assert {part: ms for part, ms in by_part.items() if abs(ms) > 1e-9} == pytest.approx(latency.by_part)
        pruned += sum(f"cells.{cell}" not in latency.by_part for cell in range(14))
    assert pruned > 50  # the case is really there


def _scale_one_logits(space: LGCNet) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = Counter(choice.group for choice in space.choices())
    options = {choice.group: len(choice.options) for choice in space.choices()}
    return {group: torch.randn(rows[group], options[group], generator=generator).requires_grad_() for group in rows}


@pytest.mark.parametrize("relaxation", ["soft", "hard", "sampled"])
def test_the_gradient_of_the_latency_reaches_every_alpha_and_every_guided_module(relaxation: str) -> None:
    logits = _scale_one_logits(FULL)
    torch.manual_seed(0)
    communication = FULL.communication()
    assert communication is not None
    weights = sample(
        communication(logits), FULL.choices(), relaxation=relaxation, tau=1.0, generator=torch.Generator().manual_seed(0)
    )
    expected_latency(FULL)(weights).backward()
    for group, alpha in logits.items():
        assert alpha.grad is not None, group
        if relaxation == "soft":
            assert (alpha.grad != 0).all(), group
        assert alpha.grad.norm() > 0, group
    names = [name for name, _ in communication.named_parameters()]
    assert len(names) == 13 * 7
    for name, parameter in communication.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.norm() > 0, name


def test_gradients_agree_with_finite_differences_through_pruned_cells() -> None:
    ops = ["none", "conv_1x1"]
    space = LGCNet(LGCNetConfig(num_cells=3, reduction_cells=[1], head="none", ops=ops))
    expected = expected_latency(space)
    names = [choice.name for choice in space.choices()]
    z = random_z(space)

    def latency(*rows: Tensor) -> Tensor:
        return expected(Weights(dict(zip(names, rows, strict=True)), {}))

    assert torch.autograd.gradcheck(latency, [z[name].requires_grad_() for name in names])


def test_a_batch_of_weights_gives_the_latency_of_each() -> None:
    expected = expected_latency(FULL)
    logits = {group: alpha.detach() for group, alpha in _scale_one_logits(FULL).items()}
    weights = sample(logits, FULL.choices(), relaxation="soft", tau=1.0, generator=torch.Generator().manual_seed(0), batch=3)
    latency = expected(weights)
    singles = [float(expected(Weights({name: z[n] for name, z in weights.values.items()}, {}))) for n in range(3)]
    assert latency.tolist() == pytest.approx(singles, rel=1e-12)
    assert len(set(singles)) == 3


def test_more_weight_on_none_of_an_only_reader_makes_the_cell_before_cheaper() -> None:
    space = LGCNet(LGCNetConfig(num_cells=3, reduction_cells=[], head="none"))
    expected = expected_latency(space)
    z = random_z(space)
    none = torch.eye(8, dtype=torch.float64)[space.config.ops.index("none")]
    costs = []
    for edges in ((), ("0",), ("0", "2")):  # cell 2's edges from cell 0
        cut = {f"cells.2.edge.{edge}": none for edge in edges}
        cut |= {f"cells.1.edge.{edge}": none for edge in (1, 3)}  # cell 1 does not read cell 0
        by_part = expected_by_part(expected, Weights({**z, **cut}, {}))
        costs.append(by_part["cells.0"])
    assert costs[0] > costs[1] > costs[2] == 0
