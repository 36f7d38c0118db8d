"""Expected latency of hand-made graphs against enumeration of all draws."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from nas.cost.expected import ExpectedLatency
from nas.cost.prediction import predict_graph
from nas.ops import OpSpec
from nas.space.graph import Graph, NetworkBuilder, Value
from nas.space.weights import Weights
from tests.expected_by_part import expected_by_part

EDGE = ("none", "skip", "conv")
OPTIONS = {"e": EDGE, "f": EDGE, "path": ("left", "right"), "op": ("a", "b"), "width": ("4", "8")}


def cost_of(spec: OpSpec) -> float:
    """A positive number that looks random but depends on the key alone."""
    return 0.5 + zlib.crc32(spec.key.encode()) % 1009 / 100


def spec(kind: str, value: Value, *, channels: int | None = None, kernel: int = 1) -> OpSpec:
    return OpSpec(
        kind=kind,
        in_channels=value.channels,
        height=value.height,
        width=value.width,
        out_channels=channels or value.channels,
        out_height=value.height,
        out_width=value.width,
        kernel=kernel,
    )


def edge(builder: NetworkBuilder, name: str, value: Value) -> Value | None:
    specs = {
        "none": spec("none", value),
        "skip": spec("identity", value),
        "conv": spec("relu_conv_bn", value, kernel=3),
    }
    return builder.choice(name, specs, value)


def sum_graph(decided: Mapping[str, str] | None = None) -> Graph:
    """sum(e(a), f(a), b), or c, as the path says; a feeds both edges."""
    builder = NetworkBuilder((4, 4), OPTIONS, decided)
    image = builder.image()
    a, b, c = (builder.op(f"in.{i}", spec("classifier", image, kernel=k), image) for i, k in enumerate((1, 3, 5)))
    total = builder.add("sum.all", [edge(builder, "e", a), edge(builder, "f", a), b])
    return builder.finish(logits=builder.select("path", {"left": total, "right": c}))


def draws(names: tuple[str, ...]) -> list[dict[str, str]]:
    return [dict(zip(names, draw, strict=True)) for draw in itertools.product(*(OPTIONS[name] for name in names))]


def probability(decided: Mapping[str, str], z: Mapping[str, Tensor]) -> float:
    product = 1.0
    for name, option in decided.items():
        product *= float(z[name][OPTIONS[name].index(option)])
    return product


def random_z(*shape: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.softmax(torch.randn(*shape, len(options), generator=generator, dtype=torch.float64), dim=-1)
        for name, options in OPTIONS.items()
    }


@pytest.mark.parametrize("seed", range(3))
def test_the_value_is_the_mean_prediction_over_all_draws(seed: int) -> None:
    z = random_z(seed=seed)
    enumerated = sum(probability(d, z) * predict_graph(sum_graph(d), cost_of).ms for d in draws(("e", "f", "path")))
    assert float(ExpectedLatency(sum_graph(), cost_of)(Weights(z, {}))) == pytest.approx(enumerated, rel=1e-12)


def test_a_sum_of_n_present_terms_counts_n_minus_one_additions() -> None:
    def additions(spec: OpSpec) -> float:
        return float(spec.kind == "add")

    expected = ExpectedLatency(sum_graph(), additions)
    base = {"path": torch.tensor([1.0, 0.0])}
    none, skip, conv = torch.eye(3)
    for e, f, count in ((none, none, 0), (none, conv, 1), (skip, none, 1), (skip, conv, 2)):
        assert float(expected(Weights({**base, "e": e, "f": f}, {}))) == count
    half = torch.tensor([0.5, 0.25, 0.25])
    assert float(expected(Weights({**base, "e": half, "f": half}, {}))) == 1
    unread = Weights({"path": torch.tensor([0.0, 1.0]), "e": conv, "f": conv}, {})
    assert float(expected(unread)) == 0


def test_parts_sum_to_the_total_and_are_those_of_the_prediction() -> None:
    expected = ExpectedLatency(sum_graph(), cost_of)
    decided = {"e": "conv", "f": "conv", "path": "left"}
    z = {name: torch.eye(len(OPTIONS[name]))[OPTIONS[name].index(option)] for name, option in decided.items()}
    by_part = expected_by_part(expected, Weights(z, {}))
    predicted = predict_graph(sum_graph(decided), cost_of)
    assert {part: ms for part, ms in by_part.items() if ms} == pytest.approx(predicted.by_part)
    assert sum(predicted.by_part.values()) == pytest.approx(predicted.ms)
    soft = Weights(random_z(), {})
    assert float(expected.by_part(soft).sum()) == pytest.approx(float(expected(soft)))


def test_a_prediction_without_calibration_has_no_bounds() -> None:
    latency = predict_graph(sum_graph({"e": "conv", "f": "none", "path": "left"}), cost_of)
    assert latency.low_ms is None
    assert latency.high_ms is None


def test_weights_per_image_give_a_latency_for_each_image() -> None:
    expected = ExpectedLatency(sum_graph(), cost_of)
    z = random_z(4)
    latency = expected(Weights(z, {}))
    assert latency.shape == (4,)
    singles = [float(expected(Weights({name: rows[n] for name, rows in z.items()}, {}))) for n in range(4)]
    assert latency.tolist() == pytest.approx(singles, rel=1e-12)
    mixed = expected(Weights({**z, "e": z["e"][0]}, {}))  # some decisions of all images alike
    assert mixed.shape == (4,)
    assert float(mixed[0]) == pytest.approx(singles[0], rel=1e-12)


def test_gradients_agree_with_finite_differences() -> None:
    expected = ExpectedLatency(sum_graph(), cost_of)
    names = ("e", "f", "path")
    z = random_z()

    def latency(*rows: Tensor) -> Tensor:
        return expected(Weights(dict(zip(names, rows, strict=True)), {}))

    assert torch.autograd.gradcheck(latency, [z[name].requires_grad_() for name in names])


def test_gradients_survive_weights_at_the_corners() -> None:
    z = {name: torch.eye(len(options))[0].requires_grad_() for name, options in OPTIONS.items()}
    ExpectedLatency(sum_graph(), cost_of)(Weights(z, {})).backward()
    for name in ("e", "f", "path"):
        assert z[name].grad is not None
        assert z[name].grad.isfinite().all(), name


def combination_graph() -> tuple[Graph, dict[tuple[str, str], OpSpec]]:
    builder = NetworkBuilder((4, 4), OPTIONS)
    image = builder.image()
    table = {
        (op, width): spec("relu_conv_bn", image, channels=int(width), kernel=kernel)
        for op, kernel in (("a", 1), ("b", 3))
        for width in ("4", "8")
    }
    return builder.finish(logits=builder.combination("slim", ("op", "width"), table, image)), table


def test_an_operation_of_several_decisions_costs_the_mean_over_their_combinations() -> None:
    graph, table = combination_graph()
    z = random_z(seed=5)
    enumerated = sum(probability({"op": op, "width": width}, z) * cost_of(table[op, width]) for op, width in table)
    assert float(ExpectedLatency(graph, cost_of)(Weights(z, {}))) == pytest.approx(enumerated, rel=1e-12)


def test_a_decided_graph_costs_what_is_predicted_whatever_the_weights() -> None:
    graph = sum_graph({"e": "conv", "f": "skip", "path": "left"})
    latency = ExpectedLatency(graph, cost_of)(Weights({}, {}))
    assert float(latency) == pytest.approx(predict_graph(graph, cost_of).ms, rel=1e-12)


def test_free_operations_are_not_looked_up_and_all_others_are() -> None:
    asked: list[OpSpec] = []

    def cost(spec: OpSpec) -> float:
        asked.append(spec)
        return 1.0

    graph = sum_graph()
    ExpectedLatency(graph, cost)
    assert set(asked) == set(graph.specs())


def test_a_missing_cost_stops_the_construction() -> None:
    with pytest.raises(KeyError):
        ExpectedLatency(sum_graph(), lambda spec: {}[spec])


def test_small_costs_are_not_lost_beside_large_ones() -> None:
    def cost(spec: OpSpec) -> float:
        return 1e-9 if spec.kind == "add" else 1e3

    z = {"e": torch.eye(3)[2], "f": torch.eye(3)[2], "path": torch.tensor([1.0, 0.0])}
    expected = ExpectedLatency(sum_graph(), cost)
    with_additions, without = (float(expected(Weights({**z, "e": torch.eye(3)[i]}, {}))) for i in (1, 0))
    assert with_additions - without == pytest.approx(1e-9, rel=1e-3)
