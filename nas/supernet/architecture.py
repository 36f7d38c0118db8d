"""The architecture parameters of a search: logits by group, and the communication between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nas.space.choice import Choice
from nas.space.search_space import SearchSpace, open_choices


class Architecture(nn.Module):
    """The logits (log alpha) of one architecture set, and the module that guides them.

    Args:
        space: The search space.
        generator: Source of the initial logits.
        name: The architecture set; what it does not search has no logits.
    """

    def __init__(self, space: SearchSpace, generator: torch.Generator, name: str = "default") -> None:
        super().__init__()
        self.choices = open_choices(space, name)
        shapes = group_shapes(self.choices)
        self.alpha = nn.ParameterDict(
            {group: nn.Parameter(space.initial_logits(group, shape, generator)) for group, shape in shapes.items()}
        )
        self.communication = space.communication()

    def forward(self) -> dict[str, Tensor]:
        """alpha_guided: group -> [p, q]. Everything downstream uses these: sampling, latency, derivation."""
        logits: dict[str, Tensor] = dict(self.alpha.items())
        return logits if self.communication is None else self.communication(logits)


def group_shapes(choices: Sequence[Choice]) -> dict[str, tuple[int, int]]:
    """(p, q) of each group's logits.

    Raises:
        ValueError: If decisions of a group have different options or their rows are not 0 ... p - 1.
    """
    members: dict[str, list[Choice]] = defaultdict(list)
    for choice in choices:
        members[choice.group].append(choice)
    for group, decisions in members.items():
        if len({choice.options for choice in decisions}) > 1:
            raise ValueError(f"group {group}: its decisions have different options; give them groups of their own")
        if sorted(choice.row for choice in decisions) != list(range(len(decisions))):
            raise ValueError(f"group {group}: got rows {[c.row for c in decisions]}, expected 0 to {len(decisions) - 1}")
    return {group: (len(decisions), len(decisions[0].options)) for group, decisions in members.items()}


def choice_entropy(logits: dict[str, Tensor]) -> Tensor:
    """Mean over decisions of the entropy of softmax(logits) over its largest value log q: 1 uniform, 0 decided."""
    entropies = []
    for values in logits.values():
        if values.shape[-1] > 1:
            log_p = torch.log_softmax(values, dim=-1)
            entropies.append(-(log_p.exp() * log_p).sum(dim=-1) / torch.log(torch.tensor(float(values.shape[-1]))))
    return torch.cat(entropies).mean() if entropies else torch.zeros(())


def same_logits(one: Mapping[str, Mapping[str, Tensor]], other: Mapping[str, Mapping[str, Tensor]]) -> bool:
    """Whether two states of the guided logits, by architecture set and group, are the same."""
    return all(torch.equal(values, other[name][group]) for name, groups in one.items() for group, values in groups.items())


def light_share(choices: Mapping[str, str], space: SearchSpace) -> float | None:
    """Share of zero, skip and pooling among the decisions that offer one; None: none does."""
    offering = [name for name, options in space.genotype_choices().items() if space.light_options.intersection(options)]
    return sum(choices[name] in space.light_options for name in offering) / len(offering) if offering else None
