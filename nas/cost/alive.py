"""With what probability is the result of a node read? The pruning rule of derived networks, relaxed.

Backwards from the outputs: alive(v) = 1 - prod_f (1 - alive(f) * (1 - prod_{r in f} (1 - P(r reads v)))), where readers r with a
common fate f, i.e. with the same alive probability because they feed the same place, are taken together. P(r reads v) is one for a
fixed operation, 1 - z_none for an edge. For one-hot weights this is exactly reachability. Between different fates the draws are
taken as independent, but the inputs of one path selection s exclude each other: what is read under several of them is read with
probability sum_i z_i * P(read under input i), which enters the fate of s like one more reader.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nas.cost.contraction import Contraction, ContractionBank
from nas.space.graph import Graph, Node
from nas.space.weights import Weights

Fates = dict[int, list[int]]
"""Gate of the readers -> their reading probabilities, as numbers of contractions."""


@dataclass(frozen=True, slots=True)
class Way:
    """A gate that is one input of a path selection.

    Args:
        gate: Gate of the selection.
        selection: Number of the selection's node.
        read: Number of the contraction that gives the input's weight.
    """

    gate: int
    selection: int
    read: int


@dataclass(slots=True)
class AliveProgram:
    """The program that computes which results are read.

    Args:
        gate_of: For each node the number of its gate; gate 0 is always alive.
        reads: Reading probabilities that are not constant one.
        gates: For gate 1, 2, ... the fates that keep it alive; an empty list of reads means that one reader always reads.
        ways: Those gates that are an input of a path selection.
    """

    gate_of: list[int] = field(default_factory=list)
    reads: list[Contraction] = field(default_factory=list)
    gates: list[Fates] = field(default_factory=list)
    ways: dict[int, Way] = field(default_factory=dict)


def compile_alive(graph: Graph) -> AliveProgram:
    """Assign gates to the nodes of a graph, from the outputs backwards."""
    program = AliveProgram(gate_of=[0] * len(graph.nodes))
    readers: dict[int, list[tuple[Node, int, int]]] = defaultdict(list)
    ways: dict[tuple[int, int], int] = {}
    for index, node in enumerate(graph.nodes):
        for position, source in enumerate(node.inputs):
            readers[source].append((node, index, position))
    outputs = set(graph.outputs.values())
    for index in reversed(range(len(graph.nodes))):
        if index not in outputs:
            program.gate_of[index] = _gate(program, readers[index], ways)
    return program


def _way(program: AliveProgram, selection: int, contraction: Contraction) -> int:
    """A new gate for one input of a path selection."""
    program.reads.append(contraction)
    gate, read = program.gate_of[selection], len(program.reads) - 1
    program.gates.append({gate: [read]})
    program.ways[len(program.gates)] = Way(gate, selection, read)
    return len(program.gates)


def _gate(program: AliveProgram, readers: list[tuple[Node, int, int]], ways: dict[tuple[int, int], int]) -> int:
    fates: Fates = defaultdict(list)
    always: set[int] = set()
    for node, index, position in readers:
        gate = program.gate_of[index]
        contraction = _reading(node, position)
        if contraction is not None and node.role == "select":
            if (index, position) not in ways:
                ways[index, position] = _way(program, index, contraction)
            always.add(ways[index, position])
        elif contraction is None:
            always.add(gate)
        else:
            program.reads.append(contraction)
            fates[gate].append(len(program.reads) - 1)
    if 0 in always:
        return 0
    for gate in always:
        fates[gate] = []
    if len(fates) == 1 and always:
        return next(iter(always))
    program.gates.append(dict(fates))
    return len(program.gates)


def _reading(node: Node, position: int) -> Contraction | None:
    """The probability that a node reads one of its inputs; None if it always does."""
    combinations = {c: node.reads(c, position) for c in node.specs}
    if all(combinations.values()):
        return None
    coefficients = torch.zeros(tuple(len(options) for options in node.option_names))
    for combination, reads in combinations.items():
        coefficients[combination] = float(reads)
    return Contraction(node.decisions, coefficients)


class AliveProbability(nn.Module):
    """Evaluates an `AliveProgram`.

    Args:
        program: What to compute.
    """

    def __init__(self, program: AliveProgram) -> None:
        super().__init__()
        self.reads = ContractionBank(program.reads) if program.reads else None
        self.gates = program.gates
        self.ways = program.ways
        self.register_buffer("always", torch.ones(1, dtype=torch.float64), persistent=False)

    always: Tensor

    def forward(self, weights: Weights) -> Tensor:
        """Alive probability of each gate, [1 + gates] or [N, 1 + gates]."""
        if self.reads is None:
            return self.always  # without reads that may fail there is only gate 0
        misses = 1 - self.reads(weights)  # [..., R]
        columns = misses.unbind(dim=-1)
        alive = [torch.ones_like(columns[0])]
        for fates in self.gates:
            alive.append(1 - self._dead(fates, columns, alive))
        return torch.stack(alive, dim=-1)

    def _dead(self, fates: Fates, misses: Sequence[Tensor], alive: Sequence[Tensor]) -> Tensor:
        """The probability that nobody reads; what selections read is joined first, from the innermost one outwards."""
        one = torch.ones_like(alive[0])
        joined: dict[int, dict[int, Tensor]] = defaultdict(dict)  # gate -> selection -> sum_i z_i * P(read under i)
        dead = one
        for gate in sorted(_with_enclosing(fates, self.ways), reverse=True):
            unread = one
            if gate in fates:
                missed = _product([misses[i] for i in fates[gate]])
                unread = 1 - one if missed is None else missed
            for read in joined[gate].values():
                unread = unread * (1 - read)
            way = self.ways.get(gate)
            if way is None:
                dead = dead * (1 - alive[gate] * (1 - unread))
            else:
                share = (1 - misses[way.read]) * (1 - unread)
                joined[way.gate][way.selection] = joined[way.gate].get(way.selection, 0) + share
        return dead


def _with_enclosing(gates: Iterable[int], ways: Mapping[int, Way]) -> set[int]:
    """The gates and those of all path selections around them."""
    found: set[int] = set()
    for gate in gates:
        outer: int | None = gate
        while outer is not None and outer not in found:
            found.add(outer)
            outer = ways[outer].gate if outer in ways else None
    return found


def _product(factors: list[Tensor]) -> Tensor | None:
    product = None
    for factor in factors:
        product = factor if product is None else product * factor
    return product
