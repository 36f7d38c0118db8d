"""Decisions of a search space, and checks of what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.errors import GenotypeError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision.

    Args:
        name: Unique dotted name, e.g. `cells.3.edge.1`.
        options: Option names, in the order of the logits.
        group: Decisions of a group have the same options; their logits form one parameter [p, q].
        row: Row of this decision in its group.
        relaxation: A key of `nas.supernet.relaxation.RELAXATIONS` that overrides the search's; None: the search's.
    """

    name: str
    options: tuple[str, ...]
    group: str
    row: int
    relaxation: str | None = None


@dataclass(frozen=True, slots=True)
class NeverAll:
    """Decisions of which not all may take the same option, e.g. `none` on every edge into a node.

    Args:
        decisions: Their names; they have the same options, and no decision is in two sets.
        option: The option.
    """

    decisions: tuple[str, ...]
    option: str


def argmax_choices(logits: Mapping[str, Tensor], choices: Sequence[Choice]) -> dict[str, str]:
    """The option with the largest logit for each decision; the first on a tie."""
    best = {group: values.detach().argmax(dim=-1).tolist() for group, values in logits.items()}
    return {choice.name: choice.options[best[choice.group][choice.row]] for choice in choices}


def check_decisions(decided: Mapping[str, str], options: Mapping[str, tuple[str, ...]]) -> None:
    """Check names and options of decisions.

    Raises:
        GenotypeError: Naming the first missing, unknown or wrongly decided one.
    """
    for name in options:
        if name not in decided:
            raise GenotypeError(f"choices.{name}: missing, expected one of {', '.join(options[name])}")
    for name, option in decided.items():
        if name not in options:
            raise GenotypeError(f"choices.{name}: this space has no such decision; remove it")
        if option not in options[name]:
            raise GenotypeError(f"choices.{name}: got {option!r}, expected one of {', '.join(options[name])}")
