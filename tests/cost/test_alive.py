"""The probability that a result is read, against enumeration of all draws."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
import torch

from nas.cost.alive import AliveProbability, compile_alive
from nas.ops import OpSpec
from nas.space.choice import Choice
from nas.space.graph import Graph, NetworkBuilder, Value
from nas.space.weights import Weights, one_hot

EDGE = ("none", "skip", "conv")
OPTIONS = {"e": EDGE, "f": EDGE, "g": EDGE, "path": ("left", "right")}
CHOICES = tuple(Choice(name, options, name, 0) for name, options in OPTIONS.items())


def spec(kind: str, value: Value) -> OpSpec:
    return OpSpec(
        kind=kind,
        in_channels=value.channels,
        height=value.height,
        width=value.width,
        out_channels=value.channels,
        out_height=value.height,
        out_width=value.width,
    )


def edge(builder: NetworkBuilder, name: str, value: Value) -> Value | None:
    specs = {"none": spec("none", value), "skip": spec("identity", value), "conv": spec("relu_conv_bn", value)}
    return builder.choice(name, specs, value)


def fan(decided: Mapping[str, str] | None = None) -> Graph:
    """a is read by e and f of one sum (common fate); b, which reads c, by g; the path picks the sum or d, which reads c too."""
    builder = NetworkBuilder((4, 4), OPTIONS, decided)
    image = builder.image()
    a, c, always = (builder.op(name, spec("classifier", image), image) for name in ("a", "c", "always"))
    b = builder.op("b", spec("classifier", c), c)
    d = builder.op("d", spec("classifier", c), c)
    total = builder.add("sum", [edge(builder, "e", a), edge(builder, "f", a), edge(builder, "g", b), always])
    return builder.finish(logits=builder.select("path", {"left": total, "right": d}))


def alive_by_name(weights: Weights, graph: Graph) -> dict[str, float]:
    program = compile_alive(graph)
    alive = AliveProbability(program)(weights).tolist()
    return {node.name: alive[gate] for node, gate in zip(graph.nodes, program.gate_of, strict=True)}


def all_draws() -> list[dict[str, str]]:
    return [dict(zip(OPTIONS, draw, strict=True)) for draw in itertools.product(*OPTIONS.values())]


@pytest.mark.parametrize("decided", all_draws(), ids=lambda d: "-".join(d.values()))
def test_for_one_hot_weights_alive_is_what_a_derived_network_keeps(decided: dict[str, str]) -> None:
    alive = alive_by_name(one_hot(decided, CHOICES), fan())
    kept = {node.name for node in fan(decided).nodes}
    for name in ("a", "b", "c", "d", "always"):
        assert alive[name] == float(name in kept), name


def test_alive_is_the_probability_of_being_kept_where_fates_do_not_meet() -> None:
    generator = torch.Generator().manual_seed(0)
    z = {name: torch.softmax(torch.randn(len(o), generator=generator).double(), dim=-1) for name, o in OPTIONS.items()}
    expected = dict.fromkeys(("a", "b", "d", "always"), 0.0)
    for decided in all_draws():
        probability = 1.0
        for name, option in decided.items():
            probability *= float(z[name][OPTIONS[name].index(option)])
        kept = {node.name for node in fan(decided).nodes}
        for name in expected:
            expected[name] += probability * (name in kept)
    alive = alive_by_name(Weights(z, {}), fan())
    for name, probability in expected.items():
        assert alive[name] == pytest.approx(probability, rel=1e-12), name


def test_different_fates_are_taken_as_independent() -> None:
    z = {"e": torch.tensor([1.0, 0, 0]), "f": torch.tensor([1.0, 0, 0]), "g": torch.tensor([0.25, 0.5, 0.25])}
    alive = alive_by_name(Weights({**z, "path": torch.tensor([0.5, 0.5])}, {}), fan())
    through_b, through_d = 0.5 * 0.75, 0.5
    assert alive["c"] == pytest.approx(1 - (1 - through_b) * (1 - through_d))


def test_weights_per_image_give_a_probability_for_each_image() -> None:
    generator = torch.Generator().manual_seed(0)
    z = {name: torch.softmax(torch.randn(5, len(o), generator=generator), dim=-1) for name, o in OPTIONS.items()}
    program = compile_alive(fan())
    alive = AliveProbability(program)(Weights(z, {}))
    assert alive.shape == (5, 1 + len(program.gates))
    for n in range(5):
        single = AliveProbability(program)(Weights({name: rows[n] for name, rows in z.items()}, {}))
        torch.testing.assert_close(alive[n], single)


def test_a_graph_without_decisions_is_alive_throughout() -> None:
    graph = fan({"e": "conv", "f": "conv", "g": "conv", "path": "left"})
    assert set(alive_by_name(Weights({}, {}), graph).values()) == {1.0}


def test_every_output_is_alive() -> None:
    builder = NetworkBuilder((4, 4), OPTIONS)
    image = builder.image()
    a = builder.op("a", spec("classifier", image), image)
    chosen = edge(builder, "e", a)
    assert chosen is not None
    graph = builder.finish(logits=chosen, extra=a)
    weights = Weights({"e": torch.tensor([1.0, 0.0, 0.0])}, {})
    assert alive_by_name(weights, graph)["a"] == 1
    alone = builder.finish(logits=chosen)
    assert alive_by_name(weights, alone)["a"] == 0
