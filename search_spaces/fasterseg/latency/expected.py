"""Expected latency of the derived networks that the lattice stands for: the cells on their paths, and all else.

It differs from the official accumulation in Q1 to Q4 of the README: each operator has its own entry, each cell its own betas, paths
are followed as they are, a cell that both branches read is counted once, and the decoder is counted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.cost.contraction import Contraction, ContractionBank
from nas.ops import OpSpec, is_free
from nas.space.weights import Weights
from search_spaces.fasterseg.config import BRANCHES, STRIDES
from search_spaces.fasterseg.latency.costs import (
    REFINES,
    decoder_contraction,
    decoder_costs,
    operator_contractions,
    stem_contraction,
)
from search_spaces.fasterseg.latency.deployed_lattice import DeployedLattice, down_places, keep_places
from search_spaces.fasterseg.latency.official import OfficialLatticeLatency
from search_spaces.fasterseg.latency.paths import ReadProbability, Reads
from search_spaces.fasterseg.lattice.lattice_choices import HEAD_WIDTH, width_in


class LatticeLatency(nn.Module):
    """Expected latency over independent draws of all decisions, E[LAT] = sum_t P(t is read) E[cost of t], in the unit of `cost`.

    It takes the place of the latency of the supernet in Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917 [reading]. Without
    skips the mean is exact, and for one-hot weights it is the prediction of the network whose paths, operators and widths they
    state.

    A skip of stride 1 costs nothing: derivation leaves the layer out. One of stride 2 costs what the supernet runs. With skips the
    value is no mean of predictions. After a layer that is left out the map counts with the width that the skip would give it, where
    the derived network has the one that enters the skip; for a skip of stride 2 derivation takes another operator; and branches may
    share other cells once layers are left out. Paths are those of the drawn inputs; the official derivation chooses its own
    otherwise (Q12 of the README).

    Args:
        lattice: What determines the operations.
        cost: Cost of one operation; asked once for each, and not for free ones (`nas.ops.is_free`).
        overhead: What every network costs beside its operations.

    Shapes:
        Weights [q] or [N, q] -> [] or [N], float64.
    """

    gates: Tensor

    def __init__(self, lattice: DeployedLattice, cost: Callable[[OpSpec], float], *, overhead: float = 0.0) -> None:
        super().__init__()
        self.lattice, self.overhead = lattice, overhead
        self.reads = ReadProbability(lattice.config.layers)
        terms = _terms(lattice, functools.cache(lambda spec: 0.0 if is_free(spec) else cost(spec)))
        self.terms = ContractionBank([term for _, term in terms])
        self.register_buffer("gates", torch.tensor([gate for gate, _ in terms]), persistent=False)

    def forward(self, weights: Weights) -> Tensor:
        """The mean, [] or [N] as the weights are, in float64."""
        terms, gates = self.terms(weights), _gate_values(self.reads(weights))
        total: Tensor = (terms * gates[..., self.gates]).sum(dim=-1) + self.overhead
        return total


_FIELDS = 4
"""Tables of `Reads` that `_gate_values` puts end to end; after them the options of `branches`, and 1."""


def _gate_values(reads: Reads) -> Tensor:
    """All probabilities with which terms count, [..., G]."""
    maps = torch.stack([reads.keep, reads.down, reads.down_of_32, reads.down_of_16], dim=-3).flatten(start_dim=-3)
    options = functional.pad(reads.options, (0, 1), value=1.0)
    return torch.cat([maps, options.expand(*maps.shape[:-1], -1)], dim=-1)


def _terms(lattice: DeployedLattice, cost: Callable[[OpSpec], float]) -> list[tuple[int, Contraction]]:
    """(index among `_gate_values`, costs) of all terms."""
    layers = lattice.config.layers

    def gate(field: int, layer: int, stride: int) -> int:
        return (field * layers + layer) * len(STRIDES) + STRIDES.index(stride)

    keeps = zip(keep_places(layers), operator_contractions(lattice, cost, down=False), strict=True)
    downs = zip(down_places(layers), operator_contractions(lattice, cost, down=True), strict=True)
    terms = [(gate(0, *place), term) for place, term in keeps] + [(gate(1, *place), term) for place, term in downs]
    options = {option: decoder_costs(lattice, cost, option) for option in BRANCHES}
    first = gate(_FIELDS, 0, STRIDES[0])
    terms += [(first + i, decoder_contraction(costs)) for i, costs in enumerate(options.values())]
    terms.append((first + len(options), stem_contraction(lattice, cost)))
    # The map that a branch leaves at a scale enters the cell in which it goes down.
    both = options["32+16"]
    for (end, stride), part in REFINES.items():
        field = 2 if end == 32 else 3
        for layer, _ in (place for place in down_places(layers) if place[1] == stride):
            terms.append((gate(field, layer, stride), Contraction((width_in(layer, stride), HEAD_WIDTH), both[part])))
    return terms


def lattice_latency(lattice: DeployedLattice, cost: Callable[[OpSpec], float], *, overhead: float = 0.0) -> nn.Module:
    """The expected latency that `space.fidelity` asks for.

    Args:
        lattice: What determines the operations.
        cost: Cost of one operation; asked once for each.
        overhead: What every network costs beside its operations.

    Returns:
        A module of (weights) -> expected latency, [] or [N] as the weights are, in float64.
    """
    kind = OfficialLatticeLatency if lattice.config.fidelity == "official" else LatticeLatency
    return kind(lattice, cost, overhead=overhead)
