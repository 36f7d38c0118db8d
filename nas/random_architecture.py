"""Random architectures of a wanted cost: what a search has to beat."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nas.cost.expected import ExpectedLatency
from nas.errors import GenotypeError
from nas.relax import one_hot
from nas.space import SearchSpace


def random_at_cost(
    space: SearchSpace,
    latency: ExpectedLatency,
    *,
    target: float,
    tolerance: float,
    generator: torch.Generator,
    max_moves: int = 20_000,
) -> Mapping[str, str]:
    """An architecture whose cost is within a tolerance of a target.

    A valid architecture is drawn uniformly; then single decisions, drawn uniformly, take the option of a fresh random architecture
    whenever that does not lead further from the target. No accuracy enters.

    Args:
        space: The search space.
        latency: Its cost at the deployed shape.
        target: Wanted cost, in the unit of `latency`.
        tolerance: Largest relative distance from it.
        generator: Source of the draws.
        max_moves: Give up after this many moves.

    Raises:
        ValueError: If the target was not reached: it lies outside of what the space can cost.
    """
    choices = space.choices()

    def distance(decided: Mapping[str, str]) -> float:
        with torch.no_grad():
            return abs(float(latency(one_hot(decided, choices))) - target) / target

    current = dict(space.random_choices(generator))
    best = distance(current)
    for _ in range(max_moves):
        if best <= tolerance:
            return current
        name = choices[int(torch.randint(len(choices), (), generator=generator))].name
        moved = {**current, name: space.random_choices(generator)[name]}
        if not _valid(space, moved):
            continue
        if (moved_distance := distance(moved)) <= best:
            current, best = moved, moved_distance
    raise ValueError(f"got no architecture within {tolerance:.0%} of cost {target:.4g}, nearest at {best:.0%}; give another target")


def _valid(space: SearchSpace, decided: Mapping[str, str]) -> bool:
    try:
        space.check(decided)
    except GenotypeError:
        return False
    return True
