"""The latency loss takes operators, paths and widths apart.

Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917: the decoupled and fine-grained latency regularisation of the abstract.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from search_spaces.fasterseg.config import FasterSegConfig
from search_spaces.fasterseg.latency.deployed_lattice import keep_places
from search_spaces.fasterseg.lattice.lattice_choices import has_two_inputs, input_decision, op_decision, width_in

if TYPE_CHECKING:
    from torch import Tensor

    from nas.space.weights import Weights

SHARES = (1 / 500, 497 / 500, 2 / 500)
"""Shares of operators, paths and widths in the loss."""
SHARES_OF_ONE_WIDTH = (1 / 500, 499 / 500)
"""The same where there is one width, so that there is none to learn."""


def decoupled(weights: Weights, config: FasterSegConfig) -> tuple[tuple[float, Weights], ...]:
    """Terms of the latency loss, (share, weights) each: sum over terms of share * expected latency(weights).

    Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917; the shares are those of the official code. In the terms of operators and
    of paths all widths between layers are the largest. The inputs weigh alike in that of operators, the operators in that of paths,
    both in that of widths. The widths of stem and head are those given.

    Args:
        weights: Of all decisions of the lattice.
        config: Settings of the space.
    """
    places = keep_places(config.layers)
    ops = _uniform(weights, (op_decision(*place) for place in places))
    inputs = _uniform(weights, (input_decision(*place) for place in places if has_two_inputs(*place)))
    widest = weights.fix({width_in(*place): len(config.widths) - 1 for place in places if place[0] > 0})
    terms = (widest.replace(inputs), widest.replace(ops), weights.replace({**ops, **inputs}))
    shares = SHARES if len(config.widths) > 1 else SHARES_OF_ONE_WIDTH
    return tuple(zip(shares, terms, strict=False))


def _uniform(weights: Weights, names: Iterable[str]) -> dict[str, Tensor]:
    values = {name: weights.values[name] for name in names}
    return {name: value.new_full(value.shape, 1 / value.shape[-1]) for name, value in values.items()}
