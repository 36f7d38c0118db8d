"""The dense-connected fusion cell, DCFC (LGCNet, section III-C and Figure 5; the wiring is a reading, given as data)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas.errors import ConfigError
from nas.graph import NetworkBuilder, Value, map_spec
from nas.ops import OpSpec
from nas.ops.candidates import EdgeShape, candidate_specs

FUSION_OPS = (
    "conv_1x1",
    "conv_3x3",
    "sep_conv_3x3",
    "dil_sep_conv_3x3_d2",
    "dil_sep_conv_3x3_d4",
    "dil_sep_conv_3x3_d8",
    "dil_sep_conv_3x3_d12",
    "global_pool_1x1",
    "global_pool_2x2",
    "global_pool_5x5",
)
"""Candidates of a fusion edge (Table III)."""

UP_OPS = ("transposed_conv", "interpolate")
"""Candidates of an edge marked Up2."""

STRIDES = (4, 8, 16)
ORDER = (*(f"{kind}{stride}" for kind in "imf" for stride in STRIDES), "out")
"""Nodes in the order of execution; edges go forward in it."""

_EDGE = re.compile(r"(?P<source>[imf](?:4|8|16))->(?P<target>[mf](?:4|8|16)|out)(?P<steps>(?: up){0,2}|(?: down)?)")


@dataclass(frozen=True, slots=True)
class FusionEdge:
    """An edge of the fusion cell.

    Args:
        source: Node it leaves: i4, m8, f16, ...
        target: Node it enters, or `out`, the final sum at stride 4.
        steps: How the size changes: () keeps it, ("up",) and ("up", "up") double it once or twice, ("down",) halves it.
    """

    source: str
    target: str
    steps: tuple[str, ...]

    def decisions(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(name, options) of each decision: one for an operation or an Up2, two for two Up2 in a row."""
        name = f"fusion.{self.source}_{self.target}"
        if not self.steps or self.steps == ("down",):
            return ((name, FUSION_OPS),)
        if len(self.steps) == 1:
            return ((name, UP_OPS),)
        return tuple((f"{name}.{i}", UP_OPS) for i in range(len(self.steps)))


def parse_edges(texts: Sequence[str]) -> tuple[FusionEdge, ...]:
    """Edges from texts like `m8->f4 up`, checked for strides and order.

    Raises:
        ConfigError: If a text is no edge, its steps do not lead from stride to stride, it leads back, or a node lacks an input or a
            reader.
    """
    edges = tuple(_parse(text) for text in texts)
    if len({(edge.source, edge.target) for edge in edges}) < len(edges):
        raise ConfigError(f"space.fusion_edges: got a repeated edge in {list(texts)}, expected distinct edges")
    entered = {edge.target for edge in edges} | {f"i{stride}" for stride in STRIDES}
    for edge in edges:
        if edge.source not in entered:
            raise ConfigError(f"space.fusion_edges: nothing enters {edge.source}, from which an edge leaves; add an edge to it")
    for needed in (f"f{stride}" for stride in STRIDES):
        if needed not in entered:
            raise ConfigError(f"space.fusion_edges: nothing enters {needed}; add an edge to it")
    left = {edge.source for edge in edges} | {"f4", "out"}
    for edge in edges:
        if edge.target not in left:
            raise ConfigError(f"space.fusion_edges: nothing leaves {edge.target}, which an edge enters; add an edge from it")
    return edges


def _parse(text: str) -> FusionEdge:
    match = _EDGE.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"space.fusion_edges: got {text!r}, expected SOURCE->TARGET[ up[ up]| down] with nodes i4..i16, m4..m16, f4..f16, out"
        )
    source, target, steps = match["source"], match["target"], tuple(match["steps"].split())
    stride = int(source[1:])
    for step in steps:
        stride = stride // 2 if step == "up" else stride * 2
    wanted = 4 if target == "out" else int(target[1:])
    if stride != wanted:
        raise ConfigError(f"space.fusion_edges: {text!r} leads to stride {stride}, expected {wanted}")
    if ORDER.index(source) >= ORDER.index(target):
        raise ConfigError(f"space.fusion_edges: {text!r} leads back, expected an edge forward in {' '.join(ORDER)}")
    return FusionEdge(source, target, steps)


def fusion_nodes(edges: Sequence[FusionEdge]) -> tuple[str, ...]:
    """The nodes of the cell in the order of execution: i4 i8 i16 m4 m8 m16 f4 f8 f16."""
    named = {edge.source for edge in edges} | {edge.target for edge in edges if edge.target != "out"}
    return tuple(node for node in ORDER if node in named)


def describe_fusion_cell(
    builder: NetworkBuilder, features: Sequence[Value], *, edges: Sequence[FusionEdge], channels: int
) -> Value:
    """Append the fusion cell.

    Args:
        builder: Where to.
        features: Outputs of the fused cells at strides 4, 8, 16.
        edges: Its edges.
        channels: Its width (48).

    Returns:
        The sum of the three branches' final maps, `channels` wide, at stride 4.
    """
    sizes = dict(zip(STRIDES, features, strict=True))
    values: dict[str, Value] = {}
    for node in fusion_nodes(edges):
        size = sizes[int(node[1:])]
        if node[0] == "i":
            values[node] = builder.op(f"fusion.{node}", _pointwise(size, channels), size)
            continue
        entering = [_edge(builder, edge, values, sizes, channels) for edge in edges if edge.target == node]
        joined = builder.concat(f"fusion.{node}_concat", entering)
        values[node] = joined if len(entering) == 1 else builder.op(f"fusion.{node}", _pointwise(joined, channels), joined)
    final = [_edge(builder, edge, values, sizes, channels) for edge in edges if edge.target == "out"]
    return builder.add("fusion.out", [values["f4"], *final])


def _edge(
    builder: NetworkBuilder,
    edge: FusionEdge,
    values: Mapping[str, Value],
    sizes: Mapping[int, Value],
    channels: int,
) -> Value:
    value = values[edge.source]
    decisions = edge.decisions()
    if edge.steps[:1] == ("up",):
        stride = int(edge.source[1:])
        for name, _ in decisions:
            stride //= 2
            value = _require(builder.choice(name, _up_specs(value, sizes[stride], channels), value, sizes[stride]))
        return value
    shape = EdgeShape(
        in_channels=channels,
        out_channels=channels,
        height=value.height,
        width=value.width,
        stride=2 if edge.steps else 1,
    )
    return _require(builder.choice(decisions[0][0], candidate_specs(FUSION_OPS, shape), value))


def _require(value: Value | None) -> Value:
    assert value is not None  # a fusion edge has no candidate `none`
    return value


def _up_specs(value: Value, target: Value, channels: int) -> dict[str, OpSpec]:
    """Both ways to reach the real size of the target."""
    return {name: map_spec(kind, value, target, channels) for name, kind in zip(UP_OPS, ("transposed_conv", "resize"), strict=True)}


def _pointwise(value: Value, channels: int) -> OpSpec:
    return map_spec("relu_conv_bn", value, value, channels)
