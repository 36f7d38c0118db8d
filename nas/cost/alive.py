"""With what probability is the result of a node read? The pruning rule of derived networks, relaxed.

Backwards from the outputs: alive(v) = 1 - prod_f (1 - alive(f) * (1 - prod_{r in f} (1 - P(r reads v)))), where readers r with a
common fate f, i.e. with the same alive probability because they feed the same place, are taken together. P(r reads v) is one for a
fixed operation, 1 - z_none for an edge, z_i for input i of a path selection. For one-hot weights this is exactly reachability.
Between different fates the draws are taken as independent.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nas.cost.contraction import Contraction, ContractionBank
from nas.graph import Graph, Node
from nas.relax.weights import Weights

Fates = dict[int, list[int]]
"""Gate of the readers -> their reading probabilities, as numbers of contractions."""


@dataclass(slots=True)
class AliveProgram:
    """What to compute.

    Args:
        gate_of: For each node the number of its gate; gate 0 is always alive.
        reads: Reading probabilities that are not constant one.
        gates: For gate 1, 2, ... the fates that keep it alive; an empty list of reads means that one reader always reads.
    """

    gate_of: list[int] = field(default_factory=list)
    reads: list[Contraction] = field(default_factory=list)
    gates: list[Fates] = field(default_factory=list)


def compile_alive(graph: Graph) -> AliveProgram:
    """Assign gates to the nodes of a graph, from the outputs backwards."""
    program = AliveProgram(gate_of=[0] * len(graph.nodes))
    readers: dict[int, list[tuple[Node, int, int]]] = defaultdict(list)
    for index, node in enumerate(graph.nodes):
        for position, source in enumerate(node.inputs):
            readers[source].append((node, index, position))
    outputs = set(graph.outputs.values())
    for index in reversed(range(len(graph.nodes))):
        if index not in outputs:
            program.gate_of[index] = _gate(program, readers[index])
    return program


def _gate(program: AliveProgram, readers: list[tuple[Node, int, int]]) -> int:
    fates: Fates = defaultdict(list)
    always: set[int] = set()
    for node, index, position in readers:
        gate = program.gate_of[index]
        contraction = _reading(node, position)
        if contraction is None:
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
            dead = None
            for gate, reads in fates.items():
                missed = _product([columns[i] for i in reads])
                here = 1 - alive[gate] if missed is None else 1 - alive[gate] * (1 - missed)
                dead = here if dead is None else dead * here
            alive.append(torch.zeros_like(alive[0]) if dead is None else 1 - dead)
        return torch.stack(alive, dim=-1)


def _product(factors: list[Tensor]) -> Tensor | None:
    product = None
    for factor in factors:
        product = factor if product is None else product * factor
    return product
