"""Operations of the lattice at a deployment, read off the derived network's own description: which there are, and where."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from nas.ops import OpSpec, is_free, out_size
from nas.space.deployment import Deployment
from nas.space.graph import Graph, NetworkBuilder, Value
from search_spaces.fasterseg.config import BRANCHES, STRIDES, FasterSegConfig, channels
from search_spaces.fasterseg.deployed.branches import Branch, Layer, branch_options, decided_choices
from search_spaces.fasterseg.deployed.derived import describe_derived, describe_stem
from search_spaces.fasterseg.deployed.operators import lattice_spec
from search_spaces.fasterseg.lattice.lattice_choices import LATTICE_OPS, goes_down, strides_of

Place = tuple[int, int]
"""Layer and stride of a cell."""


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
