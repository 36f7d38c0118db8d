"""`space.fidelity=official`: latency of the lattice as the official code accumulates it (Q1 to Q4 of the README)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from nas.cost.contraction import ContractionBank
from nas.errors import ConfigError
from nas.ops import OpSpec
from nas.space.weights import Weights
from search_spaces.fasterseg.config import STRIDES
from search_spaces.fasterseg.deployed.operators import KINDS
from search_spaces.fasterseg.latency.costs import operator_contractions, stem_contraction
from search_spaces.fasterseg.latency.deployed_lattice import DeployedLattice, Place, down_places, keep_places
from search_spaces.fasterseg.lattice.lattice_choices import input_decision


class OfficialLatticeLatency(nn.Module):
    """The official accumulation over the lattice, from the stem to the sum of the three maps of the last layer, without a decoder.

    Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917, with the quirks of the official code. Q1: `conv_2x_downup` costs what
    `conv_2x` does. Q2: the betas of 1/32 also weigh the cells at 1/16, of layer 2 the last ones. Q3: a layer is computed in place.
    Q4: the three ends are added up. Of a decision that was drawn only the option drawn has a gradient: officially costs are
    looked up at the drawn width and multiplied by its gate.

    Args:
        lattice: What determines the operations.
        cost: Cost of one operation; asked once for each. The skip of stride 1 is asked for, too, as `identity`: our tables have it
            free, the official one has entries.
        overhead: What every network costs beside its operations.

    Shapes:
        Weights [q] or [N, q] -> [] or [N], float64.

    Raises:
        ConfigError: If there are fewer than four layers.
    """

    def __init__(self, lattice: DeployedLattice, cost: Callable[[OpSpec], float], *, overhead: float = 0.0) -> None:
        super().__init__()
        if lattice.config.layers <= len(STRIDES):
            raise ConfigError(
                f"space.layers: got {lattice.config.layers}, expected at least {len(STRIDES) + 1} with space.fidelity=official, "
                "whose latency reads betas that fewer do not have; take more layers, or space.fidelity=corrected"
            )
        self.lattice, self.overhead = lattice, overhead
        cached = functools.cache(cost)
        official = functools.partial(_official_cost, cost=cached)
        keeps, downs = (operator_contractions(lattice, official, down=down) for down in (False, True))
        self.terms = ContractionBank([stem_contraction(lattice, cached), *keeps, *downs])

    def forward(self, weights: Weights) -> Tensor:
        """The accumulated latency, [] or [N] as the weights are, in float64."""
        layers = self.lattice.config.layers
        stem, *terms = self.terms(_gated(weights)).unbind(dim=-1)
        keeps = dict(zip(keep_places(layers), terms, strict=False))
        downs = dict(zip(down_places(layers), terms[len(keeps) :], strict=True))
        betas = [weights.values[input_decision(layer, STRIDES[-1])].double().unbind(dim=-1) for layer in range(3, layers)]
        return _accumulated(stem, keeps, downs, betas) + self.overhead


def _accumulated(
    stem: Tensor, keeps: Mapping[Place, Tensor], downs: Mapping[Place, Tensor], betas: Sequence[tuple[Tensor, ...]]
) -> Tensor:
    """The sum of the three ends.

    Args:
        stem: Latency of the stem, [] or [N], like all others.
        keeps: Of what each cell keeps, layer by layer.
        downs: Of what each cell sends down.
        betas: From layer 3 on, weights of what is from 1/16 and what is from 1/32 in the cell at 1/32.
    """
    nothing = torch.zeros_like(stem)
    out, down = [stem, nothing, nothing], [nothing, nothing]

    def entering(layer: int, scale: int) -> Tensor:
        """As the state is when it is asked for."""
        if scale == 0:
            return out[0]
        if scale == layer:
            return down[scale - 1]
        from_finer, from_same = betas[layer - 3]  # of layer 2 the last
        return from_same * out[scale] + from_finer * down[scale - 1]

    for place, keep in keeps.items():
        layer, scale = place[0], STRIDES.index(place[1])
        out[scale] = entering(layer, scale) + keep
        if place in downs:
            down[scale] = entering(layer, scale) + downs[place]
        elif scale == 1:
            # The last layer sends nothing down; that of 1/8 stays as it was, that of 1/16 does not (found on the official numbers).
            down[scale] = entering(layer, scale)
    return out[0] + out[1] + out[2]


def _gated(weights: Weights) -> Weights:
    """The same weights, with no gradient to what was not drawn."""
    gated = {}
    for name, index in weights.drawn.items():
        value = weights.values[name]
        mask = torch.zeros_like(value)
        mask[..., index] = 1.0
        gated[name] = value * mask
    return Weights({**weights.values, **gated}, weights.drawn, weights.architecture)


def _official_cost(spec: OpSpec, *, cost: Callable[[OpSpec], float]) -> float:
    """Q1: the zoomed double convolution is looked up as the plain one."""
    return cost(replace(spec, kind=KINDS["conv_2x"]) if spec.kind == KINDS["conv_2x_downup"] else spec)
