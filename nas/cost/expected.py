"""Expected latency of a supernet's deployed form: weights times look-ups, differentiable, in a few matrix products."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.cost.alive import AliveProbability, compile_alive
from nas.cost.contraction import Contraction, ContractionBank
from nas.ops import OpSpec, is_free
from nas.space.graph import Combination, Graph, Node
from nas.space.weights import Weights


@dataclass(frozen=True, slots=True)
class _Term:
    """One addend: coefficients over the options of some decisions, counted while a gate is alive."""

    node: Node
    gate: int
    contraction: Contraction


class ExpectedLatency(nn.Module):
    """LAT(a) = sum over edges and operations of Z * cost, plus stem, head and all fixed parts (LGCNet, eq. 8-9).

    A term counts with the probability that its result is read (see `nas.cost.alive`), so that for one-hot weights the value is the
    prediction for the derived, pruned network. The unit is that of `cost`.

    Args:
        graph: The open graph at the deployed shape.
        cost: Cost of one operation; free ones (`nas.ops.is_free`) are not asked for.
        overhead: What every network costs beside its operations; it is in no part.
    """

    def __init__(self, graph: Graph, cost: Callable[[OpSpec], float], *, overhead: float = 0.0) -> None:
        super().__init__()
        graph = graph.deployed()
        self.graph, self.cost, self.overhead = graph, cost, overhead
        gates = compile_alive(graph)
        terms = list(_terms(graph, cost, gates.gate_of))
        self.alive = AliveProbability(gates)
        self.terms = ContractionBank([term.contraction for term in terms])
        self.parts: tuple[str, ...] = tuple(dict.fromkeys(term.node.part for term in terms))
        to_part = torch.zeros(len(terms), len(self.parts), dtype=torch.float64)
        for row, term in enumerate(terms):
            to_part[row, self.parts.index(term.node.part)] = 1.0
        self.register_buffer("to_part", to_part, persistent=False)
        self.register_buffer("gate", torch.tensor([term.gate for term in terms]), persistent=False)

    to_part: Tensor
    gate: Tensor

    def forward(self, weights: Weights) -> Tensor:
        """Expected cost of the whole network, [] or [N] as the weights are, in float64."""
        return self.by_part(weights).sum(dim=-1) + self.overhead

    def by_part(self, weights: Weights) -> Tensor:
        """Expected cost of each of `parts`, [P] or [N, P]."""
        total: Tensor = (self.terms(weights) * self.alive(weights)[..., self.gate]) @ self.to_part
        return total


def _terms(graph: Graph, cost: Callable[[OpSpec], float], gate_of: Sequence[int]) -> list[_Term]:
    terms: list[_Term] = []
    for node, gate in zip(graph.nodes, gate_of, strict=True):
        if node.role in ("input", "select"):
            continue
        if node.role == "op" and node.spec.kind == "add":
            terms.extend(_Term(node, gate, term) for term in _addition_terms(graph, node, cost(node.spec)))
        else:
            costs = {c: 0.0 if is_free(spec) else cost(spec) for c, spec in node.specs.items()}
            terms.append(_Term(node, gate, node_contraction(node, costs)))
    return [term for term in terms if term.contraction.coefficients.any()]


def _addition_terms(graph: Graph, node: Node, addition: float) -> list[Contraction]:
    """(number of present terms - 1) additions; a searched term is present unless it is `none`."""
    constant = -addition
    terms = []
    for index in node.inputs:
        source = graph.nodes[index]
        if any(spec.kind == "none" for spec in source.specs.values()):
            present = {c: addition * (spec.kind != "none") for c, spec in source.specs.items()}
            terms.append(node_contraction(source, present))
        else:
            constant += addition
    return [*terms, Contraction((), torch.tensor(constant, dtype=torch.float64))]


def node_contraction(node: Node, values: Mapping[Combination, float]) -> Contraction:
    """Numbers for each combination of a node's options as coefficients [q1, ..., qn]."""
    shape = tuple(len(options) for options in node.option_names)
    coefficients = torch.zeros(shape, dtype=torch.float64)
    for combination in itertools.product(*(range(size) for size in shape)):
        coefficients[combination] = values[combination]
    return Contraction(node.decisions, coefficients)
