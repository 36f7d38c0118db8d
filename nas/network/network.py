"""`Network`: the modules of a graph and the walk over it, for supernets and derived networks alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas.config.settings import CHECKPOINTING_NAMES
from nas.network.executions import EXECUTIONS
from nas.network.fused import can_fuse, fused_groups, run_fused
from nas.network.mixed import Mixed, PerArchitecture, Select
from nas.network.recompute import Segment, Step, computed_again, segments_of
from nas.ops import build
from nas.space.graph import Graph, Node
from nas.space.weights import Weights

LOGITS = "logits"
LABELS = "labels"


class Network(nn.Module):
    """A network built from its graph. Weights of what is idle there are part of its state; they get no gradient.

    Args:
        graph: The graph of a supernet or of a derived network.
        execution: How mixed operations are run, a key of `EXECUTIONS`.
        architecture_sets: Architecture sets of a supernet.
    """

    def __init__(self, graph: Graph, *, execution: str = "reference", architecture_sets: tuple[str, ...] = ("default",)) -> None:
        super().__init__()
        if execution not in EXECUTIONS:
            raise ValueError(f"got execution {execution!r}, expected one of {', '.join(EXECUTIONS)}")
        self.graph, self.execution = graph, execution
        self._modules_of: list[nn.Module | None] = []
        built: dict[str, nn.Module] = {}
        first: dict[str, Node] = {}
        for node in graph.nodes:
            if node.role == "input":
                self._modules_of.append(None)
                continue
            if _runs(first.setdefault(node.module, node)) != _runs(node):
                raise ValueError(
                    f"{node.name}: cannot share module {node.module!r} with {first[node.module].name}; "
                    "nodes of one module need the same role, decisions and operations"
                )
            if node.module not in built:
                built[node.module] = _build(node, execution, architecture_sets)
                _attach(self, node.module, built[node.module])
            self._modules_of.append(built[node.module])
        for path, spec in graph.idle.items():
            _attach(self, path, build(spec).requires_grad_(requires_grad=False))
        self.auxiliary = tuple(name for name in graph.outputs if name not in (LOGITS, LABELS))
        self._groups = fused_groups(graph) if execution == "fused" else ()
        # FasterSeg's slimmable convolutions are 2.5 times slower with channels last; all others are faster.
        self._channels_last = execution == "fused" and all(node.factory is None for node in graph.nodes)
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._checkpointing = "none"
        self.training_outputs: Callable[[Tensor, Weights | None, tuple[str, ...]], dict[str, Tensor]] | None = None

    @property
    def checkpointing(self) -> str:
        """Which activations a training pass computes again (`nas.network.recompute`), one of `CHECKPOINTING_NAMES`."""
        return self._checkpointing

    @checkpointing.setter
    def checkpointing(self, which: str) -> None:
        if which not in CHECKPOINTING_NAMES:
            raise ValueError(f"got checkpointing {which!r}, expected one of {', '.join(CHECKPOINTING_NAMES)}")
        self._checkpointing, self._plans = which, {}

    def forward(self, images: Tensor, weights: Weights | None = None) -> Tensor:
        """Logits at the size of the images.

        Args:
            images: [N, 3, H, W], any H and W.
            weights: The weights of all decisions, for a supernet.

        Returns:
            [N, classes, H, W].
        """
        return self.outputs(images, weights, names=(LOGITS,))[LOGITS]

    def forward_with_aux(self, images: Tensor, weights: Weights | None = None) -> dict[str, Tensor]:
        """`logits` and the auxiliary outputs by name."""
        return self.outputs(images, weights, names=(LOGITS, *self.auxiliary))

    def label_map(self, images: Tensor, weights: Weights | None = None) -> Tensor:
        """Output of the device: images [N, 3, H, W] -> labels [N, 1, H, W] int64. Latency is stated for it."""
        return self.outputs(images, weights, names=(LABELS,))[LABELS]

    def outputs(self, images: Tensor, weights: Weights | None = None, *, names: tuple[str, ...]) -> dict[str, Tensor]:
        """Some outputs of the graph by name; nothing else runs.

        A training pass goes through `training_outputs` where that is given (`nas.network.compiling`), but for one that runs drawn
        options alone: each draw is another network.
        """
        if names not in self._plans:  # before anything is compiled, which holds for the plans that there are
            self._plans[names] = _plan(self.graph, names, self._groups, checkpointing=self.checkpointing)
        drawn = weights is not None and bool(weights.drawn)
        if self.training_outputs is not None and self.training and torch.is_grad_enabled() and not drawn:
            return self.training_outputs(images, weights, names)
        return self.eager_outputs(images, weights, names)

    def eager_outputs(self, images: Tensor, weights: Weights | None, names: tuple[str, ...]) -> dict[str, Tensor]:
        """The same, by PyTorch's operations one after the other; for outputs that were asked for before."""
        plan = self._plans[names]
        if self._channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        values: dict[int, Tensor] = {}
        keeps_all = not (self.training and torch.is_grad_enabled())
        for segment in plan.segments:
            if keeps_all or not segment.again:
                self._walk(segment.steps, plan, images, weights, values)
            else:
                self._walk_again(segment, plan, images, weights, values)
        return {name: values[index] for name, index in plan.outputs.items()}

    def _walk(self, steps: Sequence[Step], plan: Plan, images: Tensor, weights: Weights | None, values: dict[int, Tensor]) -> None:
        """Run some steps of a plan; what they make is added to the values, what nobody reads any more is taken out."""
        for index, last_reads in steps:
            if index in plan.groups and weights is not None:
                values |= self._run_group(plan.groups[index], weights, values)
            if index not in values:
                values[index] = self._run(index, images, weights, values)
            for done in last_reads:
                del values[done]

    def _walk_again(self, segment: Segment, plan: Plan, images: Tensor, weights: Weights | None, values: dict[int, Tensor]) -> None:
        """The same for a segment that is computed once more in the backward pass."""

        def run(inside: dict[int, Tensor]) -> dict[int, Tensor]:
            self._walk(segment.steps, plan, images, weights, inside)
            return inside

        inputs = {index: values.pop(index) for index in segment.touched if index in values}
        running = [index for step, _ in segment.steps for index in plan.groups.get(step, (step,))]
        modules = [module for index in running if (module := self._modules_of[index]) is not None]
        values |= computed_again(run, inputs, modules)

    def _run(self, index: int, images: Tensor, weights: Weights | None, values: Mapping[int, Tensor]) -> Tensor:
        """The value of one node."""
        node, module = self.graph.nodes[index], self._modules_of[index]
        if module is None:
            return images
        inputs = [values[i] for i in node.inputs]
        value: Tensor = module(*inputs) if node.role == "op" else module(weights, *inputs)
        return value

    def _run_group(self, group: Sequence[int], weights: Weights, values: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """The values of nodes that can be run together, if they can be in this pass; else none, and each runs by itself."""
        ops = [module for module in (self._modules_of[index] for index in group) if isinstance(module, Mixed)]
        if not can_fuse(ops, weights):
            return {}
        (source,) = self.graph.nodes[group[0]].inputs
        return dict(zip(group, run_fused(ops, weights, values[source]), strict=True))


class Labels(nn.Module):
    """The label map of a network as a module: images [N, 3, H, W] -> labels [N, 1, H, W] int64.

    Args:
        network: The network.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Labels of images."""
        return self.network.label_map(images)


def _runs(node: Node) -> tuple[object, ...]:
    """Key of a node's module: all that determines it, but not the sizes of its maps."""
    specs = {combination: replace(s, height=1, width=1, out_height=1, out_width=1) for combination, s in node.specs.items()}
    return node.role, node.decisions, specs


def _build(node: Node, execution: str, architecture_sets: tuple[str, ...]) -> nn.Module:
    if node.role == "mixed":
        return (node.factory or EXECUTIONS[execution])(node)
    if node.role == "select":
        return Select(node)
    if node.role == "per_architecture":
        return PerArchitecture(node, architecture_sets)
    return build(node.spec)


def _attach(root: nn.Module, path: str, module: nn.Module) -> None:
    """Register `module` under a dotted path, with plain containers on the way."""
    *parents, last = path.split(".")
    for name in parents:
        if not hasattr(root, name):
            root.add_module(name, nn.Module())
        root = root.get_submodule(name)
    root.add_module(last, module)


class Plan(NamedTuple):
    """Plan of the execution for some outputs.

    Args:
        segments: What runs, in order.
        groups: First node of a group -> the nodes that run together with it.
        outputs: Name -> node.
    """

    segments: list[Segment]
    groups: dict[int, list[int]]
    outputs: dict[str, int]


def _plan(graph: Graph, names: Sequence[str], groups: Sequence[Sequence[int]], *, checkpointing: str) -> Plan:
    """The plan for the outputs `names`; of each group, what they need."""
    outputs = {name: graph.outputs[name] for name in names}
    needed: set[int] = set()
    stack = list(outputs.values())
    while stack:
        index = stack.pop()
        if index not in needed:
            needed.add(index)
            stack.extend(graph.nodes[index].inputs)
    order = sorted(needed)
    last_reader = {source: index for index in order for source in graph.nodes[index].inputs}
    kept = set(outputs.values())
    schedule = [(index, [s for s, reader in last_reader.items() if reader == index and s not in kept]) for index in order]
    running = [[index for index in group if index in needed] for group in groups]
    return Plan(segments_of(graph, schedule, checkpointing), {group[0]: group for group in running if group}, outputs)
