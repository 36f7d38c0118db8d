"""What several inputs of path selections share is alive with the exact probability, against enumeration."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
import torch

from nas.cost.alive import AliveProbability, compile_alive
from nas.ops import OpSpec
from nas.space.graph import Graph, NetworkBuilder, Value
from nas.space.weights import Weights

OPTIONS = {"inner": ("a", "b"), "outer": ("a", "b")}


def spec(value: Value) -> OpSpec:
    return OpSpec(
        kind="classifier",
        in_channels=value.channels,
        height=value.height,
        width=value.width,
        out_channels=value.channels,
        out_height=value.height,
        out_width=value.width,
    )


def nested(decided: Mapping[str, str] | None = None, *, shared: str = "all") -> Graph:
    """trunk -> a, b -> inner -> post -> outer <- trunk (`all`) or its own stem (`inner`)."""
    builder = NetworkBuilder((4, 4), OPTIONS, decided)
    image = builder.image()
    trunk, other = (builder.op(name, spec(image), image) for name in ("trunk", "other"))
    sides = {name: builder.op(name, spec(trunk), trunk) for name in ("a", "b")}
    post = builder.op("post", spec(trunk), builder.select("inner", sides))
    return builder.finish(logits=builder.select("outer", {"a": post, "b": trunk if shared == "all" else other}))


@pytest.mark.parametrize("shared", ["all", "inner"])
def test_shared_inputs_of_nested_selections_are_alive_as_often_as_they_are_kept(shared: str) -> None:
    z = {"inner": torch.tensor([0.3, 0.7]).double(), "outer": torch.tensor([0.4, 0.6]).double()}
    names = ("trunk", "a", "b", "post")
    expected = dict.fromkeys(names, 0.0)
    for inner, outer in itertools.product((0, 1), (0, 1)):
        kept = {node.name for node in nested({"inner": "ab"[inner], "outer": "ab"[outer]}, shared=shared).nodes}
        for name in names:
            expected[name] += float(z["inner"][inner] * z["outer"][outer]) * (name in kept)
    graph = nested(shared=shared)
    program = compile_alive(graph)
    alive = AliveProbability(program)(Weights(z, {})).tolist()
    found = {node.name: alive[gate] for node, gate in zip(graph.nodes, program.gate_of, strict=True)}
    assert {name: found[name] for name in names} == pytest.approx(expected, rel=1e-12)
