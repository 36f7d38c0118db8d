"""Layers of a path that are kept, with their operators: skips are left out where a network remains.

The paper of FasterSeg (arXiv:1912.10917) is silent about it; the rules are those of the official code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from search_spaces.fasterseg.deployed.operators import SKIP as SKIP_OP
from search_spaces.fasterseg.lattice.lattice_choices import LATTICE_OPS

if TYPE_CHECKING:
    from torch import Tensor

SKIP = LATTICE_OPS.index(SKIP_OP)
"""Column of the skip."""


def least_length(scales: Sequence[int]) -> int:
    """Least number of layers of a branch: round(L / 3) and two for each down, but not more than it has (official code).

    >>> least_length([0] * 6 + [1] * 5 + [2] * 5), least_length([0, 1, 1, 2])
    (9, 4)
    """
    return min(len(scales), round(len(scales) / 3) + 2 * scales[-1])


def kept_operators(rows: Sequence[Tensor], scales: Sequence[int]) -> list[tuple[int, str]]:
    """Layers of a path that remain when skips are left out (official code).

    A layer that goes down is kept, and so is one after each down, and as many as `least_length` says; where these choose the skip
    they take the next best operator.

    Args:
        rows: The logits of the operators [5] of each layer, skip first. Skips that may not be chosen are set to -inf in place.
        scales: The scale of each layer.

    Returns:
        (layer, operator) of each layer that is kept.
    """
    count = len(rows)
    downs = [layer for layer in range(count - 1) if scales[layer] < scales[layer + 1]]
    share = [float(row.softmax(dim=0)[SKIP]) for row in rows]
    candidates = [layer for layer, row in enumerate(rows) if _skips(row) and layer not in downs]
    for start, stop in pairwise([*downs, count]):
        segment = range(start + 1, stop)
        if segment and set(segment) <= set(candidates):
            mask_skip(rows[min(reversed(segment), key=share.__getitem__)])
    left_out = sorted(candidates, key=share.__getitem__, reverse=True)[: count - least_length(scales)]
    kept = []
    for layer, row in enumerate(rows):
        if _skips(row):
            if layer in left_out:
                continue
            mask_skip(row)
        kept.append((layer, LATTICE_OPS[int(row.argmax())]))
    return kept


def mask_skip(row: Tensor) -> None:
    """Rule the skip out, in place."""
    row[SKIP] = -math.inf


def _skips(row: Tensor) -> bool:
    return int(row.argmax()) == SKIP
