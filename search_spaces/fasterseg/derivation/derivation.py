"""From architecture parameters to the decisions of derived networks: path, widths, operators of each branch.

Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917. With `space.fidelity=corrected` each branch takes the path of
`space.path_rule`, and is derived from the parameters as they are. With `official` it takes the official path, and the branches that
end at 8, 16 and 32 are derived one after another from one copy of the parameters: betas are normalised again for each, and a skip
that was ruled out for one stays so for the next (Q12 and Q13 of the README). The caller's tensors stay as they are in both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from search_spaces.fasterseg.config import BRANCHES, STRIDES, FasterSegConfig
from search_spaces.fasterseg.deployed.branches import Branch, Layer, decided_choices
from search_spaces.fasterseg.derivation.compaction import kept_operators, mask_skip
from search_spaces.fasterseg.derivation.paths import likeliest_downs, most_probable_path, official_path

if TYPE_CHECKING:
    from torch import Tensor

TARGET_MS = 8.3
"""Latency at which the official `branch_score` is the mIoU."""
EXPONENT = -0.07
"""Exponent of the latency in the score of a branch."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Architecture parameters of one architecture, as logits; L layers.

    Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917: alpha of operators, beta of paths, and expansion ratios, in the layout of
    the official code.

    Args:
        alphas: [L, 5], [L-1, 5], [L-2, 5]: operators of the cells at each scale, skip first.
        betas: [L-2, 2], [L-3, 2]: from the finer scale or from the same, for the scales 1/16 and 1/32.
        ratios: [L-1, W], [L-1, W], [L-2, W]: widths of what enters the cells at each scale; None: all have the largest one.
    """

    alphas: tuple[Tensor, ...]
    betas: tuple[Tensor, ...]
    ratios: tuple[Tensor, ...] | None

    def __post_init__(self) -> None:
        """Check that they are of one lattice."""
        count = self.layers
        expected = {"alphas": (count, count - 1, count - 2), "betas": (count - 2, count - 3)}
        if self.ratios is not None:
            expected["ratios"] = (count - 1, count - 1, count - 2)
        for name, rows in expected.items():
            got = tuple(len(one) for one in getattr(self, name))
            if got != rows:
                raise ValueError(f"got {name} of {got} rows, expected {rows}, for there are {count} layers")

    @classmethod
    def of(cls, logits: Mapping[str, Tensor]) -> Parameters:
        """Parameters of an architecture set; without groups of widths all have the largest one (Q11 of the README).

        Args:
            logits: Group of `lattice_choices` -> logits [p, q].
        """
        operators = tuple(logits[f"op_{stride}"] for stride in STRIDES)
        # Of three layers no cell at 1/32 has two inputs, so that there is no group of them.
        inputs = tuple(logits.get(f"input_{stride}", operators[0].new_empty(0, 2)) for stride in STRIDES[1:])
        widths = tuple(logits[f"width_{stride}"] for stride in STRIDES) if f"width_{STRIDES[0]}" in logits else None
        return cls(operators, inputs, widths)

    @property
    def layers(self) -> int:
        """L."""
        return len(self.alphas[0])

    def copied(self) -> Parameters:
        """The same numbers in tensors of their own, without gradients; of widths, which nothing changes, the same tensors."""
        alphas, betas = (tuple(one.detach().clone() for one in group) for group in (self.alphas, self.betas))
        return replace(self, alphas=alphas, betas=betas)


def derive_all(
    parameters: Parameters, *, config: FasterSegConfig, stem_width: int, head_width: int, keep_layers: bool
) -> dict[str, dict[str, str]]:
    """The derived network of each combination of branches.

    Args:
        parameters: Of one architecture, with `config.layers` layers.
        config: Settings of the space.
        stem_width: Width of the stem, in twelfths.
        head_width: Width of the head, in twelfths.
        keep_layers: Never choose a skip, as for the teacher, so that no layer is left out.

    Returns:
        Option of `branches` -> the decisions of that network.

    Raises:
        ConfigError: If there are too few layers for the official paths.
    """
    found = derive_branches(parameters, config, head_width=head_width, keep_layers=keep_layers)
    return {
        option: decided_choices(tuple(found[end] for end in ends), config, stem_width=stem_width, head_width=head_width)
        for option, ends in BRANCHES.items()
    }


def derive_branches(parameters: Parameters, config: FasterSegConfig, *, head_width: int, keep_layers: bool) -> dict[int, Branch]:
    """The branch that ends at each stride.

    Args:
        parameters: Of one architecture.
        config: Settings of the space; the columns of `ratios` stand for its widths.
        head_width: Width in which each branch ends, in twelfths.
        keep_layers: Never choose a skip, as for the teacher, so that no layer is left out.

    Returns:
        Stride 8, 16, 32 -> branch.

    Raises:
        ConfigError: If there are too few layers for the official paths.
    """
    branches = {}
    working = parameters.copied()
    for last, end in enumerate(STRIDES):
        if config.fidelity == "official":
            working = replace(working, betas=tuple(beta.softmax(dim=-1) for beta in working.betas))
            scales = official_path(working.betas, last, layers=working.layers)
        else:
            working = parameters.copied()
            rule = likeliest_downs if config.path_rule == "downs" else most_probable_path
            scales = rule(working.betas, last, layers=working.layers)
        branches[end] = _derive_branch(working, scales, widths=config.widths, head_width=head_width, keep_layers=keep_layers)
    return branches


def branch_score(miou: float, latency_ms: float | None, *, target_ms: float = TARGET_MS) -> float:
    """Score by which branches are chosen: mIoU (latency / target)^-0.07, as in the official code.

    The form is that of Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", CVPR 2019, arXiv:1807.11626.

    Args:
        miou: Of the supernet's output over the two branches, from 0 to 1.
        latency_ms: Of the derived network of these branches, in the unit of the target; None: not known, the score is the mIoU.
        target_ms: Latency at which the score is the mIoU, above 0; officially 8.3 ms.
    """
    return miou if latency_ms is None else miou * math.pow(latency_ms / target_ms, EXPONENT)


def choose_branches(with_8: float, with_16: float) -> str:
    """The option of `branches`: 32+8 if its score is the larger one, else 32+16."""
    ends = (32, 8) if with_8 > with_16 else (32, 16)
    return next(name for name, branches in BRANCHES.items() if branches == ends)


def _derive_branch(
    parameters: Parameters, scales: Sequence[int], *, widths: Sequence[int], head_width: int, keep_layers: bool
) -> Branch:
    """The branch along a path; skips that may not be chosen are ruled out in `parameters`."""
    rows = [parameters.alphas[scale][layer - scale] for layer, scale in enumerate(scales)]
    if keep_layers:
        for row in rows:
            mask_skip(row)
    kept = kept_operators(rows, scales)
    # A layer that is left out takes the width of what leaves it along; what leaves the last one kept has the head's.
    leaving = [_width(parameters, number + 1, scales[number + 1], widths) for number, _ in kept[:-1]]
    layers = [Layer(op, STRIDES[scales[number]], width) for (number, op), width in zip(kept, [*leaving, head_width], strict=True)]
    return Branch(STRIDES[scales[-1]], tuple(layers))


def _width(parameters: Parameters, layer: int, scale: int, widths: Sequence[int]) -> int:
    """The width of what enters a cell after layer 0, in twelfths."""
    if parameters.ratios is None:
        return widths[-1]
    return widths[int(parameters.ratios[scale][layer - max(scale, 1)].argmax())]
