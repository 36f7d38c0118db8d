"""Activation checkpointing: what the backward pass needs from inside a part of the network is computed again, not kept.

    Chen et al., Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174, through torch.utils.checkpoint.

A segment is what runs in a row and belongs to one part of the graph (`Node.part`): the stem, a cell, a block, a head. Kept are the
maps that cross its border; memory holds these and the activations of one segment. Values, gradients and batch-norm statistics are
those of a pass that keeps everything, and so are the checkpoints of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import groupby
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from nas.space.graph import Graph, Node

AUTO_KEPT = 0.5
"""Share of the activations that `auto` keeps at most, as `activation_px` counts them [ours]."""

Step = tuple[int, list[int]]
"""A node, and the values that nobody reads after it."""

Values = Mapping[int, Tensor]
"""Number of a node -> its value."""


class Segment(NamedTuple):
    """Nodes of one part that run in a row.

    Args:
        part: The part.
        steps: What runs, in order.
        touched: Numbers of these nodes and of what they read.
        again: Whether it is computed again in the backward pass.
    """

    part: str
    steps: list[Step]
    touched: tuple[int, ...]
    again: bool


def activation_px(node: Node) -> int:
    """Numbers that the operations of a node read and write for one image, all options counted, at the described shape.

    An option `none` has none. What an operation holds in between is not counted.
    """
    sizes = [
        spec.in_channels * spec.height * spec.width + spec.out_channels * spec.out_height * spec.out_width
        for spec in node.specs.values()
        if spec.kind != "none"
    ]
    return sum(sizes)


def segments_of(graph: Graph, schedule: Sequence[Step], checkpointing: str) -> list[Segment]:
    """The segments of a schedule, and which of them are computed again.

    `auto` takes the segments with the most activations first, of equal ones the earlier, until those that are left have at most
    `AUTO_KEPT` of all: a function of the graph alone, whatever the device and its free memory. What is left are the many operations
    on small maps, which cost time and little memory.

    Args:
        graph: The graph.
        schedule: What runs, in order.
        checkpointing: One of `nas.config.settings.CHECKPOINTING_NAMES`.
    """
    runs = [list(run) for _, run in groupby(schedule, key=lambda step: graph.nodes[step[0]].part)]
    sizes = [sum(activation_px(graph.nodes[index]) for index, _ in run) for run in runs]
    again: set[int] = set()
    kept = 0.0 if checkpointing == "all" else AUTO_KEPT * sum(sizes)
    if checkpointing != "none":
        left = sum(sizes)
        for number in sorted(range(len(runs)), key=lambda number: -sizes[number]):
            if left <= kept:
                break
            again.add(number)
            left -= sizes[number]
    return [_segment(graph, run, number in again) for number, run in enumerate(runs)]


def _segment(graph: Graph, run: list[Step], again: bool) -> Segment:  # noqa: FBT001
    numbers = {index for index, _ in run}
    read = {source for index in numbers for source in graph.nodes[index].inputs}
    return Segment(graph.nodes[run[0][0]].part, run, tuple(sorted(numbers | read)), again)


def computed_again(
    run: Callable[[dict[int, Tensor]], dict[int, Tensor]], inputs: Values, modules: Sequence[nn.Module]
) -> dict[int, Tensor]:
    """The values that `run` makes of its inputs, nothing from inside being kept for the backward pass.

    Args:
        run: From the values that a segment begins with to those that it leaves; it may change the dict that it is given.
        inputs: What it begins with.
        modules: What it runs; their batch-norm statistics move once.
    """
    numbers = tuple(inputs)

    def again(*tensors: Tensor) -> dict[int, Tensor]:
        return run(dict(zip(numbers, tensors, strict=True)))

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), unmoved_statistics(modules)

    values: dict[int, Tensor] = checkpoint(again, *inputs.values(), use_reentrant=False, context_fn=contexts)
    return values


@contextmanager
def unmoved_statistics(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Within the block, batch norms in training move copies of their running statistics, which are then dropped.

    The statistics themselves are not written to, not even with their own values: other nodes of the graph may have saved them.
    """
    norms = {module for root in modules for module in root.modules() if isinstance(module, _BatchNorm) and module.training}
    kept = [(norm, norm.running_mean, norm.running_var, norm.num_batches_tracked) for norm in norms]
    try:
        for norm, *statistics in kept:
            _set(norm, [None if one is None else one.clone() for one in statistics])
        yield
    finally:
        for norm, *statistics in kept:
            _set(norm, statistics)


def _set(norm: _BatchNorm, statistics: Sequence[Tensor | None]) -> None:
    norm.running_mean, norm.running_var, norm.num_batches_tracked = statistics
