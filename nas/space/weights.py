"""`Weights` (z): how much each option of each decision counts in one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.space.choice import Choice


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of all decisions in one pass, given alike to the network and to the expected latency.

    Args:
        values: Decision name -> [q], or [N, q] when each image has weights of its own; sums to 1 over the last axis.
        drawn: Decision name -> index of the only option to run, for decisions that were sampled; empty: all options run.
        architecture: Name of the architecture set that the weights belong to.
    """

    values: Mapping[str, Tensor]
    drawn: Mapping[str, int]
    architecture: str = "default"

    def replace(self, values: Mapping[str, Tensor]) -> Weights:
        """The same weights with some decisions replaced, e.g. held uniform; what is replaced was not drawn."""
        drawn = {name: index for name, index in self.drawn.items() if name not in values}
        return Weights({**self.values, **values}, drawn, self.architecture)

    def fix(self, indices: Mapping[str, int]) -> Weights:
        """The same weights with some decisions held at an option, as if it had been drawn; there is no gradient to them.

        Args:
            indices: Decision name -> index of the option.
        """
        held = {}
        for name, index in indices.items():
            value = torch.zeros_like(self.values[name])
            value[..., index] = 1.0
            held[name] = value
        return Weights({**self.values, **held}, {**self.drawn, **indices}, self.architecture)


def one_hot(
    decided: Mapping[str, str],
    choices: Sequence[Choice],
    *,
    device: torch.device | None = None,
    architecture: str = "default",
) -> Weights:
    """The weights of a discrete architecture; only the decided options run."""
    drawn = {choice.name: choice.options.index(decided[choice.name]) for choice in choices}
    values = {
        choice.name: torch.nn.functional.one_hot(torch.tensor(drawn[choice.name]), len(choice.options)).float().to(device)
        for choice in choices
    }
    return Weights(values, drawn, architecture)


def uniform(choices: Sequence[Choice], *, device: torch.device | None = None) -> Weights:
    """Equal weights for all options of every decision."""
    values = {choice.name: torch.full((len(choice.options),), 1 / len(choice.options), device=device) for choice in choices}
    return Weights(values, {})
