"""Expected costs of the operations of the lattice, over the draws of operators and widths."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from nas.cost.contraction import Contraction
from nas.ops import OpSpec
from search_spaces.fasterseg.latency.deployed_lattice import DeployedLattice, down_places, keep_places
from search_spaces.fasterseg.lattice.lattice_choices import HEAD_WIDTH, LATTICE_OPS, STEM_WIDTH, op_decision, width_in, width_out

Cost = Callable[[OpSpec], float]
"""Cost of an operation."""

REFINES = {(32, 16): "refines32.0", (32, 8): "refines32.1", (16, 8): "refines16"}
"""(stride at which a branch ends, stride of an earlier map of it) -> the part of a network that joins that map."""


def operator_contractions(lattice: DeployedLattice, cost: Cost, *, down: bool) -> tuple[Contraction, ...]:
    """Expected cost of what each cell keeps, or sends down, over the draws of operator and widths.

    Args:
        lattice: What determines the operations.
        cost: What an operation costs; asked for the skip of stride 1, too, which is `identity`.
        down: What cells send down, in the order of `down_places`; else what they keep, in that of `keep_places`.
    """
    layers, widths = lattice.config.layers, lattice.config.widths
    step = 2 if down else 1

    @functools.cache
    def coefficients(stride: int) -> Tensor:
        """[operators, widths that enter, widths that leave]."""
        costs = [[[cost(lattice.operator(op, stride, (a, b), down=down)) for b in widths] for a in widths] for op in LATTICE_OPS]
        return torch.tensor(costs, dtype=torch.float64)

    return tuple(
        Contraction(
            (op_decision(layer, stride), width_in(layer, stride), width_out(layer, stride * step, layers=layers)),
            coefficients(stride),
        )
        for layer, stride in (down_places(layers) if down else keep_places(layers))
    )


def stem_contraction(lattice: DeployedLattice, cost: Cost) -> Contraction:
    """Cost of the stem by its width."""
    costs = [sum(cost(spec) for _, spec in lattice.stem(width).operations()) for width in lattice.config.widths]
    return Contraction((STEM_WIDTH,), torch.tensor(costs, dtype=torch.float64))


def decoder_costs(lattice: DeployedLattice, cost: Cost, option: str) -> dict[str, Tensor]:
    """Cost of each part after the branches, by the width of all maps that these leave and by the head's.

    Args:
        lattice: What determines the operations.
        cost: What an operation costs.
        option: Of `branches`.

    Returns:
        Part -> [W, W]; only the parts of `REFINES` depend on the first width.
    """
    widths = lattice.config.widths
    totals: dict[str, Tensor] = {}
    for (i, inner), (j, head) in itertools.product(enumerate(widths), repeat=2):
        for part, spec in lattice.smallest_network(option, (inner, head)).operations():
            if not part.startswith(("stem", "cells")):
                total = totals.setdefault(part, torch.zeros(len(widths), len(widths), dtype=torch.float64))
                total[i, j] += cost(spec)
    return totals


def decoder_contraction(costs: Mapping[str, Tensor]) -> Contraction:
    """Cost by the head's width of the parts after the branches that are not in `REFINES`, from `decoder_costs`."""
    parts = [part for part in costs if part not in REFINES.values()]
    return Contraction((HEAD_WIDTH,), torch.stack([costs[part][0] for part in parts]).sum(dim=0))
