"""Costs of the operations of the lattice, read off the derived network's own description; and which operations there are."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nas.cost.contraction import Contraction
from nas.ops import OpSpec, is_free, out_size
from nas.space.deployment import Deployment
from nas.space.graph import Graph, NetworkBuilder, Value
from search_spaces.fasterseg.config import BRANCHES, STRIDES, FasterSegConfig, channels
from search_spaces.fasterseg.deployed.branches import Branch, Layer, branch_options, decided_choices
from search_spaces.fasterseg.deployed.derived import describe_derived, describe_stem
from search_spaces.fasterseg.deployed.operators import lattice_spec
from search_spaces.fasterseg.lattice.lattice_choices import (
    HEAD_WIDTH,
    LATTICE_OPS,
    STEM_WIDTH,
    goes_down,
    op_decision,
    strides_of,
    width_in,
    width_out,
)

Cost = Callable[[OpSpec], float]
"""Cost of an operation."""
Place = tuple[int, int]
"""Layer and stride of a cell."""

REFINES = {(32, 16): "refines32.0", (32, 8): "refines32.1", (16, 8): "refines16"}
"""(stride at which a branch ends, stride of an earlier map of it) -> the part of a network that joins that map."""


@dataclass(frozen=True, slots=True)
class DeployedLattice:
    """The lattice at a deployment: it determines the operations of all networks of the space, and so their entries in a table.

    Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917: the official table has an entry for each operator, scale and pair of
    widths.

    Args:
        config: Settings of the space.
        deployment: What they are deployed for; its initial channels are F.
    """

    config: FasterSegConfig
    deployment: Deployment

    @property
    def filters(self) -> int:
        """F."""
        return self.deployment.init_channels

    def map_at(self, stride: int, width: int) -> Value:
        """A map of the lattice; width in twelfths."""
        height_px, width_px = (out_size(side, stride) for side in self.deployment.input)
        return Value(-1, channels(self.filters, stride, width), height_px, width_px)

    def operator(self, op: str, stride: int, widths: tuple[int, int], *, down: bool) -> OpSpec:
        """An operator of a cell.

        Args:
            op: One of `LATTICE_OPS`.
            stride: Stride of the map that it reads.
            widths: Width that enters and width that leaves, in twelfths.
            down: Whether it leaves the map at the next coarser scale.
        """
        step = 2 if down else 1
        value, leaving = self.map_at(stride, widths[0]), channels(self.filters, stride * step, widths[1])
        return lattice_spec(op, value, leaving, stride=step)

    def stem(self, width: int) -> Graph:
        """The stem alone; width in twelfths."""
        builder = NetworkBuilder(self.deployment.input, {}, {})
        return builder.finish(stem=describe_stem(builder, builder.image(), filters=self.filters, width=width))

    def smallest_network(self, option: str, widths: tuple[int, int]) -> Graph:
        """A derived network that goes down as soon as it can.

        Args:
            option: Of `branches`.
            widths: That of stem and cells, which every map has that a branch leaves, and that of the head; in twelfths.
        """
        inner, head = widths
        config = replace(self.config, layers=len(STRIDES))
        branches = tuple(_straight_down(end, inner, head) for end in BRANCHES[option])
        decided = decided_choices(branches, config, stem_width=inner, head_width=head)
        builder = NetworkBuilder(self.deployment.input, branch_options(config), decided)
        return describe_derived(
            builder, decided, branches, filters=self.filters, num_classes=self.deployment.num_classes, with_attention=False
        )


def _straight_down(end: int, inner: int, head: int) -> Branch:
    scales = STRIDES[: STRIDES.index(end) + 1]
    return Branch(end, tuple(Layer("conv", stride, head if stride == end else inner) for stride in scales))


def keep_places(layers: int) -> tuple[Place, ...]:
    """All cells, which are those that keep a map at its scale, layer by layer."""
    return tuple((layer, stride) for layer in range(layers) for stride in strides_of(layer))


def down_places(layers: int) -> tuple[Place, ...]:
    """The cells that also send a map down, layer by layer."""
    return tuple(place for place in keep_places(layers) if goes_down(*place, layers=layers))


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


def plan_specs(lattice: DeployedLattice) -> tuple[OpSpec, ...]:
    """The distinct operations that any derived network, or the expected latency of the lattice, can need; sorted."""
    specs = {*_cell_specs(lattice)}
    for option, inner, head in itertools.product(BRANCHES, lattice.config.widths, lattice.config.widths):
        specs.update(lattice.smallest_network(option, (inner, head)).specs())
    return tuple(sorted(spec for spec in specs if not is_free(spec)))


def _cell_specs(lattice: DeployedLattice) -> Iterator[OpSpec]:
    widths = lattice.config.widths
    pairs = [(a, b) for a in widths for b in widths]
    for op, stride, down in itertools.product(LATTICE_OPS, STRIDES, (False, True)):
        if not down or stride < STRIDES[-1]:
            yield from (lattice.operator(op, stride, pair, down=down) for pair in pairs)
