"""Branches: what the decisions of a derived network say, which of them make a network, and which cells branches share.

A decision is named `branch.STRIDE.layer.NUMBER.PART`, part being op, scale (where the layer computes) or width (of what leaves it).
All three are `none` where a branch has no such layer. Numbers are positions in the derived network, counted after compaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.errors import GenotypeError
from nas.space.draws import draw, draw_distinct
from search_spaces.fasterseg.config import (
    BRANCHES,
    OPS,
    STRIDES,
    FasterSegConfig,
    scale_name,
    stride_of,
    width_name,
    width_of,
)

if TYPE_CHECKING:
    import torch

NONE = "none"
"""The option of a layer that a branch does not have."""
PARTS = ("op", "scale", "width")
"""Decisions of a layer."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Layer of a branch.

    Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917: each has an operator, a scale and an expansion ratio.

    Args:
        op: One of `OPS`.
        stride: Stride of the map that it reads: 8, 16 or 32.
        width: Width of the map that leaves it, in twelfths.
    """

    op: str
    stride: int
    width: int


@dataclass(frozen=True, slots=True)
class Branch:
    """Branch of a derived network: a path through the lattice.

    Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917: a network has two, which end at different scales.

    Args:
        stride: Stride of the map in which it ends: 8, 16 or 32.
        layers: Its layers, at least one.
    """

    stride: int
    layers: tuple[Layer, ...]

    def out_stride(self, number: int) -> int:
        """Stride of the map that leaves a layer: that of the next one, and of the last layer its own."""
        return self.layers[min(number + 1, len(self.layers) - 1)].stride


def decision_name(stride: int, number: int, part: str) -> str:
    """Name of the decision on a part of a layer.

    >>> decision_name(32, 4, "op")
    'branch.32.layer.4.op'
    """
    return f"branch.{stride}.layer.{number}.{part}"


def branch_options(config: FasterSegConfig) -> dict[str, tuple[str, ...]]:
    """All decisions of a derived network and their options."""
    widths = tuple(width_name(width) for width in config.widths)
    of_part = {"op": (NONE, *OPS), "scale": (NONE, *map(scale_name, STRIDES)), "width": (NONE, *widths)}
    options = {"branches": tuple(BRANCHES), "stem.width": widths, "head.width": widths}
    for stride in reversed(STRIDES):
        for number in range(config.layers):
            options.update({decision_name(stride, number, part): of_part[part] for part in PARTS})
    return options


def decided_choices(branches: tuple[Branch, ...], config: FasterSegConfig, *, stem_width: int, head_width: int) -> dict[str, str]:
    """The decisions that state some branches; `read_branches` backwards.

    Args:
        branches: The branches, in the order in which they are fused.
        config: Settings of the space.
        stem_width: Width of the stem, in twelfths.
        head_width: Width of the head, in twelfths.
    """
    strides = tuple(branch.stride for branch in branches)
    decided = dict.fromkeys(branch_options(config), NONE)
    decided["branches"] = next(name for name, ends in BRANCHES.items() if ends == strides)
    decided |= {"stem.width": width_name(stem_width), "head.width": width_name(head_width)}
    for branch in branches:
        for number, layer in enumerate(branch.layers):
            stated = {"op": layer.op, "scale": scale_name(layer.stride), "width": width_name(layer.width)}
            decided |= {decision_name(branch.stride, number, part): option for part, option in stated.items()}
    return decided


def read_branches(decided: Mapping[str, str], config: FasterSegConfig) -> tuple[Branch, ...]:
    """The branches that decisions state, in the order in which they are fused.

    Args:
        decided: Decision -> option, complete and each with one of its options.
        config: Settings of the space.

    Raises:
        GenotypeError: If they make no network, with the name of the offending decision.
    """
    used = BRANCHES[decided["branches"]]
    for stride in set(STRIDES) - set(used):
        for number in range(config.layers):
            _expect_none(decided, stride, number, f"choices.branches is {decided['branches']}")
    return tuple(_read_branch(decided, stride, config.layers) for stride in used)


def shared_layers(first: Branch, second: Branch) -> int:
    """Number of leading layers at which two branches are one, as in the official code.

    A layer is shared if operator and width agree and both branches go on, at the same scale, and all layers before it are shared.
    So the last layer of a branch never is.
    """
    count = 0
    for here, there, next_here, next_there in zip(first.layers, second.layers, first.layers[1:], second.layers[1:], strict=False):
        if (here.op, here.width, next_here.stride) != (there.op, there.width, next_there.stride):
            break
        count += 1
    return count


def cell_owners(branches: tuple[Branch, ...]) -> tuple[tuple[int, ...], ...]:
    """For each branch and layer the number of the first branch that shares it, which is the branch itself where it has its own."""
    owners = []
    for number, branch in enumerate(branches):
        shared = [shared_layers(other, branch) for other in branches[:number]]
        first = [next((i for i, count in enumerate(shared) if count > layer), number) for layer in range(len(branch.layers))]
        owners.append(tuple(first))
    return tuple(owners)


def random_branches(config: FasterSegConfig, *, head_width: int, generator: torch.Generator) -> tuple[Branch, ...]:
    """Branches drawn at random: uniformly which, their lengths, where they go down, operator and width at each layer and scale.

    As in the lattice, branches that run at one scale in one layer have the same operator there, so that they share what they can.

    Args:
        config: Settings of the space.
        head_width: Width in which each branch ends, in twelfths.
        generator: Where the draws come from.
    """
    ops = [{stride: OPS[draw(len(OPS), generator)] for stride in STRIDES} for _ in range(config.layers)]
    widths = [{stride: config.widths[draw(len(config.widths), generator)] for stride in STRIDES} for _ in range(config.layers)]
    branches = []
    for end in list(BRANCHES.values())[draw(len(BRANCHES), generator)]:
        scales = STRIDES[: STRIDES.index(end) + 1]
        length = len(scales) + draw(config.layers - len(scales) + 1, generator)
        downs = sorted(draw_distinct(length - 1, len(scales) - 1, generator))
        path = [scales[sum(down < number for down in downs)] for number in range(length)]
        leaving = [widths[number][path[number + 1]] for number in range(length - 1)]
        layers = [
            Layer(ops[number][stride], stride, width)
            for number, (stride, width) in enumerate(zip(path, [*leaving, head_width], strict=True))
        ]
        branches.append(Branch(end, tuple(layers)))
    return tuple(branches)


def _read_branch(decided: Mapping[str, str], end: int, most: int) -> Branch:
    layers: list[Layer] = []
    for number in range(most):
        op = decision_name(end, number, "op")
        if decided[op] == NONE:
            if number == 0:
                raise GenotypeError(f"choices.{op}: got none, expected an operator, for choices.branches has this branch")
            _expect_none(decided, end, number, f"choices.{op} is none")
        elif len(layers) < number:
            raise _wrong(decided, op, f"none, for layer {len(layers)} of this branch is none")
        else:
            layers.append(_read_layer(decided, end, number, layers))
    last = len(layers) - 1
    if layers[last].stride != end:
        raise _wrong(decided, decision_name(end, last, "scale"), f"1/{end}, where this branch ends, for this is its last layer")
    width = decision_name(end, last, "width")
    if decided[width] != decided["head.width"]:
        raise _wrong(decided, width, f"{decided['head.width']} as in choices.head.width, for this is its last layer")
    return Branch(end, tuple(layers))


def _read_layer(decided: Mapping[str, str], end: int, number: int, before: list[Layer]) -> Layer:
    """A layer that has an operator, after those before it."""
    names = {part: decision_name(end, number, part) for part in PARTS}
    for part in ("scale", "width"):
        if decided[names[part]] == NONE:
            raise GenotypeError(f"choices.{names[part]}: got none, expected a {part}, for choices.{names['op']} is an operator")
    stride = stride_of(decided[names["scale"]])
    allowed = (before[-1].stride, 2 * before[-1].stride) if before else STRIDES[:1]
    if stride not in allowed:
        wanted = " or ".join(scale_name(one) for one in allowed if one in STRIDES)
        raise _wrong(
            decided, names["scale"], f"{wanted}, for " + ("a layer goes down once at most" if before else "branches begin there")
        )
    return Layer(decided[names["op"]], stride, width_of(decided[names["width"]]))


def _expect_none(decided: Mapping[str, str], stride: int, number: int, reason: str) -> None:
    for part in PARTS:
        name = decision_name(stride, number, part)
        if decided[name] != NONE:
            raise _wrong(decided, name, f"none, for {reason}")


def _wrong(decided: Mapping[str, str], name: str, expected: str) -> GenotypeError:
    return GenotypeError(f"choices.{name}: got {decided[name]}, expected {expected}")
