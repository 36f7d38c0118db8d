"""Draws that are networks: of some decisions, not all may take the same option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nas.space.choice import Choice, NeverAll


def barred(scores: Tensor, rows: Tensor, option: int) -> Tensor:
    """Options that must not be taken, so that no set of decisions takes `option` throughout [reading].

    A decision is barred from `option` where all others of its set take it. It is the only one that does not; or, if all do, the one
    with the largest score of another option, which derivation would repair too. LGCNet (arXiv:2302.08481) is silent about nodes
    without input. The gradient of a barred option is zero, so that no search is drawn towards a node without input and what it
    would save.

    Args:
        scores: Perturbed logits, [..., m, q]; a decision takes the option of its largest score.
        rows: The decisions of each set, [c, e], shorter sets filled up with -1. No decision is in two sets.
        option: Index of the option.

    Returns:
        True where barred, [..., m, q].
    """
    real, rows = rows >= 0, rows.clamp(min=0)
    other = (scores.argmax(dim=-1) != option)[..., rows] & real  # [..., c, e]: decided otherwise
    index = torch.tensor(option, device=scores.device)
    best = scores.index_fill(-1, index, float("-inf")).max(dim=-1).values[..., rows].masked_fill(~real, float("-inf"))
    place = torch.where(other.any(dim=-1), other.int().argmax(dim=-1), best.argmax(dim=-1))  # [..., c]
    decision = rows.expand(*place.shape, rows.shape[-1]).gather(-1, place[..., None]).squeeze(-1)
    alone = other.sum(dim=-1) <= 1
    bar = torch.zeros(scores.shape[:-1], dtype=torch.bool, device=scores.device).scatter(-1, decision, alone)
    return bar[..., None] & (torch.arange(scores.shape[-1], device=scores.device) == option)


def bar_invalid(logits: Tensor, noise: Tensor, members: Sequence[Choice], never_all: Sequence[NeverAll]) -> Tensor:
    """The logits [..., m, q] of `members`, with -inf where an option would make the draw no network."""
    number = {choice.name: i for i, choice in enumerate(members)}
    sets = [entry for entry in never_all if entry.decisions[0] in number]
    for option in dict.fromkeys(entry.option for entry in sets):
        rows = [[number[name] for name in entry.decisions] for entry in sets if entry.option == option]
        longest = max(map(len, rows))
        padded = torch.tensor([row + [-1] * (longest - len(row)) for row in rows], device=logits.device)
        mask = barred(logits + noise, padded, members[0].options.index(option))
        logits = logits.masked_fill(mask, float("-inf"))
    return logits


def check_sets(never_all: Sequence[NeverAll], stack_of: Mapping[str, object]) -> None:
    """Refuse sets that are not drawn together.

    Raises:
        ValueError: If the decisions of a set have different options or relaxations, or a decision is in two sets.
    """
    seen: set[str] = set()
    for entry in never_all:
        if len({stack_of[name] for name in entry.decisions}) > 1:
            raise ValueError(
                f"{entry.decisions}: their options or relaxations differ, expected the same for decisions that exclude"
            )
        if seen & set(entry.decisions):
            raise ValueError(f"{sorted(seen & set(entry.decisions))}: in two sets of never_all, expected one")
        seen |= set(entry.decisions)
