"""From architecture parameters to branches: path, widths, operators, compaction (SPEC section 10, steps 1 to 4).

Each branch is derived by itself and leaves the parameters as they are. Officially betas are normalised anew and masks of skips stay
from one branch to the next (Q13), which makes no difference for the released parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from search_spaces.fasterseg.branches import Branch, Layer
from search_spaces.fasterseg.config import BRANCHES, OPS, STRIDES

SKIP = 0
"""Column of the skip, which lies before those of `OPS`."""
LEAST_LAYERS = 8
"""Layers that a lattice needs for a path with two downs."""
TARGET_MS = 8.3
"""Latency at which `branch_score` is the mIoU."""
EXPONENT = -0.07
"""How much a branch gains by being faster."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The architecture parameters of one architecture, as logits; L layers (SPEC section 6).

    Args:
        alphas: [L, 5], [L-1, 5], [L-2, 5]: operators of the cells at each scale, skip first.
        betas: [L-2, 2], [L-3, 2]: from the finer scale or from the same, for the scales 1/16 and 1/32.
        ratios: [L-1, W], [L-1, W], [L-2, W]: widths of what enters the cells at each scale.
    """

    alphas: tuple[Tensor, Tensor, Tensor]
    betas: tuple[Tensor, Tensor]
    ratios: tuple[Tensor, Tensor, Tensor]

    @property
    def layers(self) -> int:
        """L."""
        return len(self.alphas[0])


def derive_branch(parameters: Parameters, end: int, *, widths: Sequence[int], head_width: int, keep_layers: bool) -> Branch:
    """The branch that ends at a stride.

    Args:
        parameters: Of one architecture.
        end: 8, 16 or 32.
        widths: The widths that the columns of `ratios` stand for, in twelfths.
        head_width: Width in which the branch ends, in twelfths.
        keep_layers: Never choose a skip, as for the teacher, so that no layer is left out.

    Raises:
        ValueError: If there are too few layers.
    """
    scales = derive_path(parameters, STRIDES.index(end))
    columns = [parameters.ratios[scale][layer - max(scale, 1)].argmax() for layer, scale in enumerate(scales) if layer]
    logits = [parameters.alphas[scale][layer - scale].detach().clone() for layer, scale in enumerate(scales)]
    if keep_layers:
        for row in logits:
            row[SKIP] = -torch.inf
    kept = _kept_operators(logits, scales)
    leaving = [widths[int(column)] for column in columns]
    # A layer that is left out takes the width of what leaves it along; what leaves the last one kept has the head's.
    layers = [Layer(op, STRIDES[scales[number]], leaving[number]) for number, op in kept[:-1]]
    number, op = kept[-1]
    return Branch(end, (*layers, Layer(op, STRIDES[scales[number]], head_width)))


def derive_path(parameters: Parameters, last: int) -> list[int]:
    """The scale of each layer of a path that ends at scale `last` (0, 1, 2), as the official code chooses it (Q12).

    One down: in the layer of the most probable down to 1/16, first and last row left out. Two: the pair of rows with the largest
    product, the second at least two behind the first. The probabilities of staying are not compared.

    Raises:
        ValueError: If there are too few layers.
    """
    count = parameters.layers
    if count < LEAST_LAYERS:
        raise ValueError(f"got architecture parameters of {count} layers, expected at least {LEAST_LAYERS}")
    first, second = (beta.detach().softmax(dim=-1)[:, 0].tolist() for beta in parameters.betas)
    downs: tuple[int, ...] = ()
    if last == 1:
        downs = (max(range(1, count - 3), key=first.__getitem__),)
    elif last == 2:
        pairs = [(m, n) for n in range(count - 4) for m in range(1, n - 1)]
        m, n = max(pairs, key=lambda pair: first[pair[0]] * second[pair[1]])
        downs = (m + 1, n + 2)
    return [sum(down < layer for down in downs) for layer in range(count)]


def branch_score(miou: float, latency_ms: float) -> float:
    """MIoU (latency / 8.3 ms)^-0.07: by which branches are chosen.

    Args:
        miou: Of the supernet's output over the two branches, from 0 to 1.
        latency_ms: Of the derived network of these branches.
    """
    return miou * math.pow(latency_ms / TARGET_MS, EXPONENT)


def choose_branches(with_8: float, with_16: float) -> str:
    """The option of `branches`: 32+8 if its score is the larger one, else 32+16."""
    ends = (32, 8) if with_8 > with_16 else (32, 16)
    return next(name for name, branches in BRANCHES.items() if branches == ends)


def _kept_operators(logits: list[Tensor], scales: Sequence[int]) -> list[tuple[int, str]]:
    """(layer, operator) of what is left when skips are left out; `logits` is changed."""
    count = len(logits)
    downs = [layer for layer in range(count - 1) if scales[layer] < scales[layer + 1]]
    share = [float(row.softmax(dim=0)[SKIP]) for row in logits]
    candidates = [layer for layer, row in enumerate(logits) if int(row.argmax()) == SKIP and layer not in downs]
    for start, stop in pairwise([*downs, count]):
        segment = range(start + 1, stop)
        if segment and set(segment) <= set(candidates):
            least = min(reversed(segment), key=share.__getitem__)
            logits[least][SKIP] = -torch.inf
    room = count - (round(count / 3) + 2 * scales[-1])
    left_out = set(sorted(candidates, key=share.__getitem__, reverse=True)[:room])
    kept = []
    for layer, row in enumerate(logits):
        if int(row.argmax()) != SKIP:
            kept.append((layer, OPS[int(row.argmax()) - 1]))
        elif layer not in left_out:
            kept.append((layer, OPS[int(row[1:].argmax())]))
    return kept
