"""The path of a branch through the lattice: by where going down is likeliest, as a whole, or officially (Q12 of the README).

A path is the scale (0, 1, 2) of each layer. It begins at scale 0, goes down by one scale at most from layer to layer, never up, and
ends at the branch's scale. Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nas.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

OFFICIAL_LEAST_LAYERS = 8
"""Layers that a lattice needs for an official path with two downs."""

_Paths = dict[int, tuple[float, tuple[int, ...]]]
"""Scale of the latest layer -> log probability and scales of the best path to it."""


def most_probable_path(betas: Sequence[Tensor], last: int, *, layers: int) -> list[int]:
    """The path whose inputs are the most probable ones, all of them together.

    The probability of a path is the product of softmax(beta), of going down as of staying, over those of its cells that have
    two inputs; over all paths to one scale it sums to 1. Of equally probable paths the one that goes down later is taken,
    compared from the end.

    Args:
        betas: Logits [L-2, 2] and [L-3, 2] of the scales 1 and 2: from the finer scale, from the same.
        last: Scale at which it ends.
        layers: L, at least 3.

    Returns:
        [L] scales.
    """
    shares = [beta.detach().double().log_softmax(dim=-1).tolist() for beta in betas]
    best: _Paths = {0: (0.0, (0,))}
    for layer in range(1, layers):
        # The first of equals is kept: from the finer scale.
        best = {scale: max(_extensions(best, layer, scale, shares), key=lambda path: path[0]) for scale in range(min(layer, 2) + 1)}
    return list(best[last][1])


def _extensions(
    best: _Paths, layer: int, scale: int, shares: Sequence[Sequence[Sequence[float]]]
) -> Iterator[tuple[float, tuple[int, ...]]]:
    """The best paths to a cell through each of its inputs: from the finer scale, then from the same."""
    origins = [origin for origin in (scale - 1, scale) if origin in best]
    logs = shares[scale - 1][layer - scale - 1] if len(origins) == 2 else (0.0,)
    for origin, log in zip(origins, logs, strict=True):
        before, path = best[origin]
        yield before + log, (*path, scale)


def likeliest_downs(betas: Sequence[Tensor], last: int, *, layers: int) -> list[int]:
    """The path that goes down in the layers in which that is the most probable: the official comparison, in the layers it is about.

    One down: the cell at scale 1 whose probability of an input from the finer scale is the largest. Two: those at scales 1 and 2
    with the largest product. From `OFFICIAL_LEAST_LAYERS` on, the rows that the official code leaves out are left out, so that each
    scale has some layers. Of equals the first is taken, the second down compared first.

    Args:
        betas: Logits [L-2, 2] and [L-3, 2] of the scales 1 and 2: from the finer scale, from the same.
        last: Scale at which it ends.
        layers: L, at least 3.

    Returns:
        [L] scales.
    """
    first, second = (beta.detach().double().softmax(dim=-1)[:, 0].tolist() for beta in betas)
    downs: tuple[int, ...] = ()
    if last == 1:
        rows = range(1, layers - 3) if layers >= OFFICIAL_LEAST_LAYERS else range(layers - 2)
        downs = (max(rows, key=first.__getitem__) + 1,)
    elif last == 2 and layers == 3:
        downs = (0, 1)
    elif last == 2:
        edge = layers >= OFFICIAL_LEAST_LAYERS
        pairs = [(m, n) for n in range(layers - 3 - edge) for m in range(int(edge), n - 1 if edge else n + 1)]
        m, n = max(pairs, key=lambda pair: first[pair[0]] * second[pair[1]])
        downs = (m + 1, n + 2)
    return [sum(down < layer for down in downs) for layer in range(layers)]


def official_path(shares: Sequence[Tensor], last: int, *, layers: int) -> list[int]:
    """The path as the official code chooses it.

    One down: in the layer of the most probable down to scale 1, first and last row left out, which is one layer before the one
    that the row is about. Two: the pair of rows with the largest product, the second at least two after the first. The
    probabilities of staying are not compared.

    Args:
        shares: Probabilities [L-2, 2] and [L-3, 2] of the scales 1 and 2: from the finer scale, from the same.
        last: Scale at which it ends.
        layers: L.

    Raises:
        ConfigError: If there are too few layers.
    """
    if layers < OFFICIAL_LEAST_LAYERS:
        raise ConfigError(
            f"space.layers: got {layers} with space.fidelity=official, expected at least {OFFICIAL_LEAST_LAYERS} to derive from, "
            "for a path with two downs; take more layers, or space.fidelity=corrected"
        )
    first, second = (share.detach()[:, 0] for share in shares)
    downs: tuple[int, ...] = ()
    if last == 1:
        row = first.tolist()
        downs = (max(range(1, layers - 3), key=row.__getitem__),)
    elif last == 2:
        products = first.outer(second).tolist()
        pairs = [(m, n) for n in range(layers - 4) for m in range(1, n - 1)]
        m, n = max(pairs, key=lambda pair: products[pair[0]][pair[1]])
        downs = (m + 1, n + 2)
    return [sum(down < layer for down in downs) for layer in range(layers)]
