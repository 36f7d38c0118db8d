"""Networks as data. A space describes its network once, against a `NetworkBuilder`; the result is a `Graph` of `Node`s.

With all decisions open the graph is the supernet's, with the decisions of a genotype it is the derived network's: zero operations
and whatever only they read are gone, identities are passed through.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nas.ops import OpSpec, is_free

if TYPE_CHECKING:
    from torch import nn

Combination = tuple[int, ...]
"""Option indices, one for each decision that a node depends on; empty for a fixed node."""

MixedFactory = Callable[["Node"], "nn.Module"]
"""Makes the module of a node that depends on decisions; called as module(weights, *inputs)."""


@dataclass(frozen=True, slots=True)
class Value:
    """The symbolic result of a node.

    Args:
        index: Number of the node.
        channels: Channels at the described shape.
        height: Height in pixels at the described shape.
        width: Width in pixels at the described shape.
    """

    index: int
    channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step of a network.

    Args:
        name: Unique dotted name, e.g. `cells.3.edge.1`.
        module: Path of the module that runs it; nodes that name the same module share its weights.
        role: `input`, `op`, `mixed`, `select` (one input for each option of its decision) or `per_architecture` (an operation with
            weights of its own for each architecture set).
        inputs: Numbers of the nodes that it reads.
        decisions: Names of the decisions it depends on.
        specs: The operation for each combination of options.
        option_names: The options of each decision.
        factory: Makes the module of a mixed node; None: the execution chosen for the network.
        chosen: The option that was decided for it; None: nothing was to be decided.
    """

    name: str
    module: str
    role: str
    inputs: tuple[int, ...]
    decisions: tuple[str, ...]
    specs: Mapping[Combination, OpSpec]
    option_names: tuple[tuple[str, ...], ...] = ()
    factory: MixedFactory | None = None
    chosen: str | None = None

    @property
    def part(self) -> str:
        """The part of the network it belongs to: the first component of the name, and the number after it."""
        head, *rest = self.name.split(".")
        return f"{head}.{rest[0]}" if rest and rest[0].isdigit() else head

    @property
    def spec(self) -> OpSpec:
        """The operation of a fixed node."""
        return self.specs[()]

    def reads(self, combination: Combination, position: int) -> bool:
        """Whether the input at `position` is read under the given options: a zero reads nothing, a selection one input."""
        if self.role == "select":
            return combination == (position,)
        return self.specs[combination].kind != "none" if self.specs else True


@dataclass(frozen=True, slots=True)
class Graph:
    """A network as data.

    Args:
        nodes: In the order of execution.
        outputs: Name -> number of the node whose result is returned.
        idle: Path of a module -> operation that the network holds and never runs, as published checkpoints may have it.
    """

    nodes: tuple[Node, ...]
    outputs: Mapping[str, int]
    idle: Mapping[str, OpSpec] = field(default_factory=dict)

    def deployed(self) -> Graph:
        """The part that a device runs: all that leads to `labels`, without auxiliary outputs; a graph without labels as it is.

        What is idle is left out.
        """
        return _prune(self.nodes, {"labels": self.outputs["labels"]}) if "labels" in self.outputs else replace(self, idle={})

    def without(self, names: Collection[str]) -> Graph:
        """The same without some outputs; what leads to them alone is idle."""
        kept = _prune(self.nodes, {name: number for name, number in self.outputs.items() if name not in names})
        running = {node.module for node in kept.nodes}
        idle = {node.module: node.spec for node in self.nodes if node.role == "op" and node.module not in running}
        return replace(kept, idle={**self.idle, **idle})

    def specs(self) -> tuple[OpSpec, ...]:
        """The distinct operations of the deployed graph that cost something, sorted: its profile plan."""
        return tuple(sorted({spec for node in self.deployed().nodes for spec in node.specs.values() if not is_free(spec)}))

    def operations(self) -> list[tuple[str, OpSpec]]:
        """(part, operation) of everything that a deployed network executes, with repetitions."""
        executed = []
        for node in self.deployed().nodes:
            if node.decisions:
                raise ValueError(f"{node.name} is undecided; only the graph of a derived network executes one operation a node")
            if node.role == "input":
                continue
            repeats = len(node.inputs) - 1 if node.spec.kind == "add" else 1
            executed.extend([(node.part, node.spec)] * repeats)
        return executed


class NetworkBuilder:
    """Collects the nodes of a network while a space describes it.

    Args:
        input_size: (height, width) of the images in pixels.
        options: The options of each decision, by name.
        decided: Decision name -> option name for a derived network; None leaves all decisions open.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        options: Mapping[str, tuple[str, ...]],
        decided: Mapping[str, str] | None = None,
    ) -> None:
        self.input_size = input_size
        self.decided = decided
        self._options = options
        self._nodes: list[Node] = []
        self._names: set[str] = set()
        self._idle: dict[str, OpSpec] = {}

    def image(self, channels: int = 3) -> Value:
        """The input, [N, channels, height, width]."""
        height, width = self.input_size
        node = Node(name="image", module="image", role="input", inputs=(), decisions=(), specs={})
        return self._append(node, (channels, height, width))

    def op(
        self,
        name: str,
        spec: OpSpec,
        *inputs: Value,
        module_name: str | None = None,
        per_architecture: bool = False,
        chosen: str | None = None,
    ) -> Value:
        """A fixed operation.

        `per_architecture` gives each architecture set of a supernet weights of its own; `chosen` is the option that it was.
        """
        role = "per_architecture" if per_architecture and self.decided is None else "op"
        node = Node(
            name=name,
            module=module_name or name,
            role=role,
            inputs=tuple(value.index for value in inputs),
            decisions=(),
            specs={(): spec},
            chosen=chosen,
        )
        return self._append(node, (spec.out_channels, spec.out_height, spec.out_width))

    def choice(
        self,
        name: str,
        specs: Mapping[str, OpSpec],
        *inputs: Value,
        decision: str | None = None,
        module_name: str | None = None,
    ) -> Value | None:
        """A searched operation: a decision between specs.

        Returns:
            The mixed value while the decision is open; once decided the operation's value, the input itself for `identity`, or None
            for `none`.
        """
        decision = decision or name
        if self.decided is not None:
            option = self.decided[decision]
            spec = specs[option]
            if spec.kind == "none":
                return None
            if spec.kind == "identity":
                return inputs[0]
            return self.op(name, spec, *inputs, module_name=module_name, chosen=option)
        by_options: dict[tuple[str, ...], OpSpec] = {(option,): spec for option, spec in specs.items()}
        return self.combination(name, (decision,), by_options, *inputs, module_name=module_name)

    def combination(
        self,
        name: str,
        decisions: tuple[str, ...],
        specs: Mapping[tuple[str, ...], OpSpec],
        *inputs: Value,
        module: MixedFactory | None = None,
        module_name: str | None = None,
    ) -> Value:
        """An open operation that depends on several decisions: one spec for each combination of options.

        The value has the largest channels of all specs; the module that `module` makes sees the drawn ones.
        """
        options = tuple(self._options[decision] for decision in decisions)
        indexed = {
            tuple(options[i].index(option) for i, option in enumerate(combination)): spec for combination, spec in specs.items()
        }
        node = Node(
            name=name,
            module=module_name or name,
            role="mixed",
            inputs=tuple(value.index for value in inputs),
            decisions=decisions,
            specs=indexed,
            option_names=options,
            factory=module,
        )
        largest = max(specs.values(), key=lambda spec: spec.out_channels)
        return self._append(node, (largest.out_channels, largest.out_height, largest.out_width))

    def select(self, name: str, inputs: Mapping[str, Value], *, decision: str | None = None) -> Value:
        """A searched path: a decision between values of one shape; open, their weighted sum."""
        decision = decision or name
        if self.decided is not None:
            return inputs[self.decided[decision]]
        options = self._options[decision]
        values = [inputs[option] for option in options]
        shapes = {(value.channels, value.height, value.width) for value in values}
        if len(shapes) > 1:
            raise ValueError(f"{name}: values of different shapes {sorted(shapes)}, expected one shape to select from")
        spec = _elementwise("identity", values[0])
        node = Node(
            name=name,
            module=name,
            role="select",
            inputs=tuple(value.index for value in values),
            decisions=(decision,),
            specs={(i,): spec for i in range(len(options))},
            option_names=(options,),
        )
        return self._append(node, (values[0].channels, values[0].height, values[0].width))

    def add(self, name: str, terms: Sequence[Value | None]) -> Value:
        """The sum of the terms that exist; a single one is passed on."""
        present = [term for term in terms if term is not None]
        if not present:
            raise ValueError(f"{name}: a sum without terms; a valid genotype has an operation other than none into every node")
        if len(present) == 1:
            return present[0]
        shapes = {(term.channels, term.height, term.width) for term in present}
        if len(shapes) > 1:
            raise ValueError(f"{name}: terms of different shapes {sorted(shapes)} cannot be added")
        return self.op(name, _elementwise("add", present[0]), *present)

    def concat(self, name: str, values: Sequence[Value]) -> Value:
        """Concatenation along the channels; a single value is passed on."""
        if len(values) == 1:
            return values[0]
        first = values[0]
        sizes = {(value.height, value.width) for value in values}
        if len(sizes) > 1:
            raise ValueError(f"{name}: maps of different sizes {sorted(sizes)} cannot be concatenated")
        spec = OpSpec(
            kind="concat",
            in_channels=first.channels,
            height=first.height,
            width=first.width,
            out_channels=sum(value.channels for value in values),
            out_height=first.height,
            out_width=first.width,
            groups=len(values),
        )
        return self.op(name, spec, *values)

    def idle(self, name: str, spec: OpSpec) -> None:
        """An operation whose weights the network holds under a name, and that nothing runs."""
        self._take_name(name)
        self._idle[name] = spec

    def finish(self, **outputs: Value) -> Graph:
        """The graph of everything that the outputs need, in the order of description, and of what is idle."""
        return replace(_prune(self._nodes, {name: value.index for name, value in outputs.items()}), idle=dict(self._idle))

    def _append(self, node: Node, shape: tuple[int, int, int]) -> Value:
        self._take_name(node.name)
        self._nodes.append(node)
        return Value(len(self._nodes) - 1, *shape)

    def _take_name(self, name: str) -> None:
        if name in self._names:
            raise ValueError(f"two nodes are called {name!r}")
        self._names.add(name)


def map_spec(kind: str, value: Value, target: Value, channels: int) -> OpSpec:
    """An operation without kernel or stride that turns `value` into `channels` channels at the size of `target`."""
    return OpSpec(
        kind=kind,
        in_channels=value.channels,
        height=value.height,
        width=value.width,
        out_channels=channels,
        out_height=target.height,
        out_width=target.width,
    )


def _elementwise(kind: str, value: Value) -> OpSpec:
    return map_spec(kind, value, value, value.channels)


def _prune(nodes: Sequence[Node], outputs: Mapping[str, int]) -> Graph:
    """Drop what no output reads and number the rest from 0."""
    alive: set[int] = set()
    stack: list[int] = list(outputs.values())
    while stack:
        index = stack.pop()
        if index not in alive:
            alive.add(index)
            stack.extend(nodes[index].inputs)
    number = {old: new for new, old in enumerate(sorted(alive))}
    kept = tuple(_renumbered(nodes[old], number) for old in sorted(alive))
    return Graph(kept, {name: number[index] for name, index in outputs.items()})


def _renumbered(node: Node, number: Mapping[int, int]) -> Node:
    return Node(
        name=node.name,
        module=node.module,
        role=node.role,
        inputs=tuple(number[index] for index in node.inputs),
        decisions=node.decisions,
        specs=node.specs,
        option_names=node.option_names,
        factory=node.factory,
        chosen=node.chosen,
    )
