"""Probability that what a cell of the lattice computes is read, when each cell's input is drawn.

A branch is a path, followed from its end: each cell names the one that its input is from. Two branches that meet in a cell are one
from there on, so going from layer to layer the set of strides at which a branch runs is a Markov chain.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.space.weights import Weights
from search_spaces.fasterseg.config import BRANCHES, STRIDES
from search_spaces.fasterseg.lattice.lattice_choices import has_two_inputs, input_decision

BRANCHES_DECISION = "branches"
"""The decision on the branches, which weights may hold; without it the options of `BRANCHES` are equally probable."""
STATES = tuple(frozenset(strides) for count in range(1, 3) for strides in itertools.combinations(STRIDES, count))
"""Strides at which branches run in a layer: at most two, because there are two branches."""
_DOWN, _KEEP, _ABSENT = range(3)
"""A cell's input: the two options, and that there is none to be drawn, which has probability 1."""


@dataclass(frozen=True, slots=True)
class Reads:
    """Probabilities that a map is read; L layers, strides in the order of `STRIDES`.

    Of the lattice of Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917.

    Args:
        keep: What a cell keeps, by any branch, [..., L, 3].
        down: What it sends down, by any branch, [..., L, 3].
        down_of_32: The same by the branch that ends at 32, [..., L, 3].
        down_of_16: The same by the branch that ends at 16, which exists as often as `branches` says, [..., L, 3].
        options: Of `branches`, [..., 2].
    """

    keep: Tensor
    down: Tensor
    down_of_32: Tensor
    down_of_16: Tensor
    options: Tensor


class ReadProbability(nn.Module):
    """Weights -> `Reads`, exact for independent draws of all decisions.

    Of the lattice of Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917; the Markov chain is [reading].

    Args:
        layers: L.

    Shapes:
        Betas [2] or [N, 2] -> the fields of `Reads`.
    """

    inputs: Tensor
    rows: Tensor
    moves: Tensor
    starts: Tensor
    members: Tensor

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = layers
        places = [(layer, stride) for layer in range(layers) for stride in STRIDES]
        self.decisions = [input_decision(*place) for place in places if has_two_inputs(*place)]
        fixed = torch.eye(2, dtype=torch.float64)  # rows 0 and 1: from the finer scale, from the same
        row_of = {name: number for number, name in enumerate(self.decisions, start=len(fixed))}
        rows = [row_of.get(input_decision(layer, stride), int(stride == STRIDES[0])) for layer, stride in places]
        self.register_buffer("inputs", fixed, persistent=False)
        self.register_buffer("rows", torch.tensor(rows), persistent=False)
        self.register_buffer("moves", _moves(), persistent=False)
        self.register_buffer("starts", _starts(), persistent=False)
        members = [[float(stride in state) for stride in STRIDES] for state in STATES]
        self.register_buffer("members", torch.tensor(members, dtype=torch.float64), persistent=False)

    def forward(self, weights: Weights) -> Reads:
        """Follow all branches from the last layer to the first."""
        z = self._inputs(weights)  # [..., L, 3, 2]
        options = self._options(weights)
        alive = self._alive(z, options)  # [..., 3, L, 3]
        ahead = functional.pad(alive[..., 1:, :], (0, 0, 0, 1))  # what runs in the next layer
        chosen = functional.pad(z[..., 1:, :, :], (0, 0, 0, 0, 0, 1)).unsqueeze(-4)
        keep = ahead * chosen[..., _KEEP]
        down = functional.pad((ahead * chosen[..., _DOWN])[..., 1:], (0, 1))
        last = functional.pad(alive[..., -1:, :], (0, 0, self.layers - 1, 0))
        any_branch, of_32, of_16 = range(3)
        return Reads(
            (keep + last)[..., any_branch, :, :],
            down[..., any_branch, :, :],
            down[..., of_32, :, :],
            down[..., of_16, :, :],
            options,
        )

    def _inputs(self, weights: Weights) -> Tensor:
        """[..., L, 3, 2]: where each cell's input is from; cells that do not exist are given one."""
        stacked = torch.stack(torch.broadcast_tensors(*(weights.values[name] for name in self.decisions)), dim=-2).double()
        fixed = self.inputs.expand(*stacked.shape[:-2], *self.inputs.shape)
        rows = torch.cat([fixed, stacked], dim=-2)[..., self.rows, :]
        return rows.reshape(*rows.shape[:-2], self.layers, len(STRIDES), 2)

    def _options(self, weights: Weights) -> Tensor:
        """[..., 2]: probabilities of the options of `branches`."""
        given = weights.values.get(BRANCHES_DECISION)
        return self.inputs.new_full((len(BRANCHES),), 1 / len(BRANCHES)) if given is None else given.double()

    def _alive(self, z: Tensor, options: Tensor) -> Tensor:
        """[..., 3, L, 3]: probability that a cell runs for any branch, for the one that ends at 32, for the one that ends at 16."""
        ways = functional.pad(z[..., 1:, :], (0, 1), value=1.0)  # [..., L, 2, 3]
        first, second = ways.unbind(dim=-2)
        steps = torch.einsum("...la,...lb,abst->...lst", first, second, self.moves).unbind(dim=-3)
        state = torch.einsum("...b,bks->...ks", options, self.starts)
        states = [state]
        for step in reversed(steps[1:]):
            state = state @ step
            states.append(state)
        batch = torch.broadcast_shapes(*(one.shape for one in states))
        together: Tensor = torch.stack([one.expand(batch) for one in reversed(states)], dim=-2)  # [..., 3, L, S]
        return torch.matmul(together, self.members)


def _moves() -> Tensor:
    """[3, 3, S, S]: 1 where, given the inputs of the cells at 16 and at 32, one set of strides leads to another a layer before.

    Only the inputs of cells that run are looked at: for the others there is `_ABSENT`.
    """
    moves = torch.zeros(3, 3, len(STATES), len(STATES), dtype=torch.float64)
    for before, state in enumerate(STATES):
        ways = [(_DOWN, _KEEP) if stride in state else (_ABSENT,) for stride in STRIDES[1:]]
        for pair in itertools.product(*ways):
            of_stride = dict(zip(STRIDES[1:], pair, strict=True))
            after = frozenset(stride // 2 if of_stride.get(stride) == _DOWN else stride for stride in state)
            moves[(*pair, before, STATES.index(after))] = 1.0
    return moves


def _starts() -> Tensor:
    """[options, 3, S]: where the branches of an option end; all of them, the one that ends at 32, the one that ends at 16."""
    starts = torch.zeros(len(BRANCHES), 3, len(STATES), dtype=torch.float64)
    for option, ends in enumerate(BRANCHES.values()):
        for row, strides in enumerate((ends, {32}, {16} & set(ends))):
            if strides:
                starts[option, row, STATES.index(frozenset(strides))] = 1.0
    return starts
