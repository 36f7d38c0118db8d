"""Multiply-accumulates of a pass through a supernet, as a pure function of its graph."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence

import torch

from nas.ops import macs
from nas.space.graph import Graph, Node
from nas.space.search_space import SearchSpace, open_choices
from nas.supernet.passes import Pass

BACKWARD = 2
"""Passes forward that a pass backward counts as: one for the gradient of the maps, one for that of the weights."""


def pass_macs(graph: Graph, outputs: Sequence[str], *, drawn: Collection[str], decided: Mapping[str, str]) -> float:
    """Multiply-accumulates of one image forward.

    Of a decision all options run; of one that is drawn, each is as probable as the others, and the mean counts.

    Args:
        graph: The graph of a supernet.
        outputs: Names of what is computed; nothing else runs.
        drawn: Decisions of which one option runs.
        decided: Decision -> the option that runs.
    """
    needed, stack = set[int](), [graph.outputs[name] for name in outputs]
    while stack:
        index = stack.pop()
        if index not in needed:
            needed.add(index)
            stack.extend(graph.nodes[index].inputs)
    nodes = [graph.nodes[index] for index in sorted(needed)]
    return sum(_node_macs(node, drawn, decided) for node in nodes if node.role not in ("input", "select"))


def macs_of_passes(space: SearchSpace, graph: Graph, passes: Sequence[Pass], *, relaxation: str, seed: int = 0) -> dict[str, float]:
    """Multiply-accumulates of one image forward in each pass of a step, by its name: SET, or SET:MODE.

    Args:
        space: The search space.
        graph: Its open graph.
        passes: The passes.
        relaxation: That of the search, for decisions that have none of their own.
        seed: Of what a mode decides at random; what it decides is then taken as drawn.
    """
    found: dict[str, float] = {}
    for one in passes:
        drawn = {c.name for c in open_choices(space, one.architecture) if (c.relaxation or relaxation) == "sampled"}
        decided = dict(space.fixed(one.architecture))
        if one.mode is not None:
            first, other = (dict(space.forced(one.mode, torch.Generator().manual_seed(seed + k))) for k in (0, 1))
            random = {name for name, option in first.items() if other[name] != option}
            drawn = (drawn - set(first)) | (set(first) if random else set())
            decided = {**{name: option for name, option in decided.items() if name not in drawn}, **({} if random else first)}
        name = one.architecture if one.mode is None else f"{one.architecture}:{one.mode}"
        found[name] = pass_macs(graph, space.trained_outputs, drawn=drawn, decided=decided)
    return found


def _node_macs(node: Node, drawn: Collection[str], decided: Mapping[str, str]) -> float:
    """Of the combinations that run: their sum over open decisions, their mean over drawn ones."""
    ranges = []
    share = 1.0
    for decision, names in zip(node.decisions, node.option_names, strict=True):
        if decision in decided:
            ranges.append([names.index(decided[decision])])
            continue
        ranges.append(list(range(len(names))))
        share /= len(names) if decision in drawn else 1
    return share * sum(macs(node.specs[combination]) for combination in itertools.product(*ranges))
