"""The dense-connected fusion cell, DCFC; the wiring is a reading, given as data.

Cheng et al., LGCNet, 2023, arXiv:2302.08481, section III-C, Figure 5 and Table III. CAS's multi-scale cell is the same thing with
two strides [reading].
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas.errors import ConfigError
from nas.ops import OpSpec
from nas.ops.candidates import EdgeShape, candidate_specs
from nas.space.graph import NetworkBuilder, Value, map_spec

STRIDES = (4, 8, 16)
ORDER = (*(f"{kind}{stride}" for kind in "imf" for stride in STRIDES), "out")
"""Nodes in the order of execution; edges go forward in it."""

_EDGE = re.compile(r"(?P<source>[imf](?:4|8|16))->(?P<target>[mf](?:4|8|16)|out)(?P<steps>(?: up){0,2}|(?: down)?)")


@dataclass(frozen=True, slots=True)
class FusionEdge:
    """Edge of the fusion cell.

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, section III-C: each edge chooses from Table III, those marked Up2 from a
    deconvolution and an interpolation. Which edges there are is [reading].

    Args:
        source: Node it leaves: i4, m8, f16, ...
        target: Node it enters, or `out`, the final sum at the smallest stride.
        steps: How the size changes: () keeps it, ("up",) and ("up", "up") double it once or twice, ("down",) halves it.
    """

    source: str
    target: str
    steps: tuple[str, ...]

    @property
    def rises(self) -> bool:
        """Whether it doubles the size."""
        return self.steps[:1] == ("up",)

    def decisions(self) -> tuple[str, ...]:
        """Name of each decision: one for an operation or an Up2, two for two Up2 in a row."""
        name = f"fusion.{self.source}_{self.target}"
        return (name,) if len(self.steps) < 2 else tuple(f"{name}.{i}" for i in range(len(self.steps)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionCell:
    """Dense-connected fusion cell: middle maps are joined across branches, the output is the sum of the branches' final maps.

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, section III-C and Figure 5; with the strides 8 and 16 alone it stands for the
    multi-scale cell of Zhang et al., "Customizable Architecture Search for Semantic Segmentation", CVPR 2019 [reading].

    Args:
        edges: Its edges.
        strides: Strides of the maps that it reads, ascending; the output has the first.
        ops: Candidate operations of an edge that keeps or halves the size.
        up_ops: Candidate operations of an edge that doubles it.

    Shapes:
        One map [N, C_s, ceil(H / s), ceil(W / s)] for each stride s -> [N, C, h, w] at the first stride, C the width of the cell.
    """

    edges: tuple[FusionEdge, ...]
    strides: tuple[int, ...]
    ops: tuple[str, ...]
    up_ops: tuple[str, ...]

    def decisions(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(name, options) of each decision, in the order of the edges."""
        return tuple((name, self.up_ops if edge.rises else self.ops) for edge in self.edges for name in edge.decisions())

    def nodes(self) -> tuple[str, ...]:
        """The nodes in the order of execution: i4 i8 i16 m4 m8 m16 f4 f8 f16."""
        named = {edge.source for edge in self.edges} | {edge.target for edge in self.edges if edge.target != "out"}
        return tuple(node for node in ORDER if node in named)

    def describe(self, builder: NetworkBuilder, features: Mapping[int, Value], *, channels: int) -> Value:
        """Append the cell.

        Args:
            builder: Where to.
            features: Stride -> output of the cell that is read there.
            channels: Width of all maps.

        Returns:
            The sum of the branches' final maps, `channels` wide, at the smallest stride.
        """
        values: dict[str, Value] = {}
        for node in self.nodes():
            size = features[int(node[1:])]
            if node[0] == "i":
                values[node] = builder.op(f"fusion.{node}", _pointwise(size, channels), size)
                continue
            entering = [self._edge(builder, edge, values, features, channels) for edge in self.edges if edge.target == node]
            joined = builder.concat(f"fusion.{node}_concat", entering)
            values[node] = joined if len(entering) == 1 else builder.op(f"fusion.{node}", _pointwise(joined, channels), joined)
        final = [self._edge(builder, edge, values, features, channels) for edge in self.edges if edge.target == "out"]
        return builder.add("fusion.out", [values[f"f{self.strides[0]}"], *final])

    def _edge(
        self,
        builder: NetworkBuilder,
        edge: FusionEdge,
        values: Mapping[str, Value],
        features: Mapping[int, Value],
        channels: int,
    ) -> Value:
        value = values[edge.source]
        if edge.rises:
            stride = int(edge.source[1:])
            for name in edge.decisions():
                stride //= 2
                value = _require(builder.choice(name, self._up_specs(value, features[stride], channels), value, features[stride]))
            return value
        shape = EdgeShape(
            in_channels=channels,
            out_channels=channels,
            height=value.height,
            width=value.width,
            stride=2 if edge.steps else 1,
        )
        return _require(builder.choice(edge.decisions()[0], candidate_specs(self.ops, shape), value))

    def _up_specs(self, value: Value, target: Value, channels: int) -> dict[str, OpSpec]:
        """The ways to reach the real size of the target."""
        kinds = {"transposed_conv": "transposed_conv", "interpolate": "resize"}
        return {name: map_spec(kinds[name], value, target, channels) for name in self.up_ops}


def parse_edges(texts: Sequence[str], *, strides: Sequence[int] = STRIDES) -> tuple[FusionEdge, ...]:
    """Edges from texts like `m8->f4 up`, checked for strides and order.

    Args:
        texts: One edge each.
        strides: Strides of the maps that the cell reads, ascending.

    Raises:
        ConfigError: If a text is no edge, its steps do not lead from stride to stride, it leads back, or a node lacks an input or a
            reader.
    """
    edges = tuple(_parse(text, strides) for text in texts)
    if len({(edge.source, edge.target) for edge in edges}) < len(edges):
        raise ConfigError(f"space.fusion_edges: got a repeated edge in {list(texts)}, expected distinct edges")
    entered = {edge.target for edge in edges} | {f"i{stride}" for stride in strides}
    for edge in edges:
        if edge.source not in entered:
            raise ConfigError(f"space.fusion_edges: nothing enters {edge.source}, from which an edge leaves; add an edge to it")
    for needed in (f"f{stride}" for stride in strides):
        if needed not in entered:
            raise ConfigError(f"space.fusion_edges: nothing enters {needed}; add an edge to it")
    left = {edge.source for edge in edges} | {f"f{strides[0]}", "out"}
    for edge in edges:
        if edge.target not in left:
            raise ConfigError(f"space.fusion_edges: nothing leaves {edge.target}, which an edge enters; add an edge from it")
    return edges


def _parse(text: str, strides: Sequence[int]) -> FusionEdge:
    match = _EDGE.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"space.fusion_edges: got {text!r}, expected SOURCE->TARGET[ up[ up]| down] with nodes i4..i16, m4..m16, f4..f16, out"
        )
    source, target, steps = match["source"], match["target"], tuple(match["steps"].split())
    stride = int(source[1:])
    wanted = strides[0] if target == "out" else int(target[1:])
    for named in (stride, wanted):
        if named not in strides:
            raise ConfigError(f"space.fusion_edges: {text!r} is at stride {named}, expected one of {list(strides)} for this head")
    for step in steps:
        stride = stride // 2 if step == "up" else stride * 2
    if stride != wanted:
        raise ConfigError(f"space.fusion_edges: {text!r} leads to stride {stride}, expected {wanted}")
    if ORDER.index(source) >= ORDER.index(target):
        raise ConfigError(f"space.fusion_edges: {text!r} leads back, expected an edge forward in {' '.join(ORDER)}")
    return FusionEdge(source, target, steps)


def _require(value: Value | None) -> Value:
    assert value is not None  # a fusion edge has no candidate `none`
    return value


def _pointwise(value: Value, channels: int) -> OpSpec:
    return map_spec("relu_conv_bn", value, value, channels)
