"""Random architectures of wanted costs: what a search has to beat, and what a table is validated on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from nas.cost.expected import ExpectedLatency
from nas.errors import GenotypeError
from nas.space.search_space import SearchSpace
from nas.space.weights import Weights

SPREAD_MOVES = 600
"""Most moves towards a cost where the nearest one will do."""
DRAWS_EACH = 20
"""Random networks drawn for each that is wanted, where costs are spread by drawing alone."""
ENDS = (1e-9, 1e9)
"""Costs below and above all that a space can have."""


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

    A valid architecture is drawn uniformly; then single decisions, drawn uniformly, take an option drawn uniformly whenever that
    does not lead further from the target. No accuracy enters.

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
    walk = _Walk(space, latency, [target], generator)
    walk.go(tolerance * target, max_moves=max_moves)
    distance = float(walk.distances()[0]) / target
    if distance > tolerance:
        raise ValueError(
            f"got no architecture within {tolerance:.0%} of cost {target:.4g}, nearest at {distance:.0%}; give another target"
        )
    return walk.decided[0]


def spread_over_costs(
    space: SearchSpace, latency: ExpectedLatency, *, count: int, generator: torch.Generator
) -> list[Mapping[str, str]]:
    """Random architectures whose costs are spread evenly between the lowest and the highest that random moves reach.

    Args:
        space: The search space.
        latency: Its cost at the deployed shape.
        count: How many, in ascending order of cost.
        generator: Source of the draws.
    """
    ends = _Walk(space, latency, ENDS, generator)
    ends.go(0.0, max_moves=SPREAD_MOVES)
    low, high = ends.costs.tolist()
    targets = torch.linspace(low, high, count + 2, dtype=torch.float64)[1:-1].tolist()
    walk = _Walk(space, latency, targets, generator)
    walk.go(0.4 * (high - low) / (count + 1), max_moves=SPREAD_MOVES)
    order = walk.costs.argsort(stable=True).tolist()
    return [walk.decided[index] for index in order]


def drawn_over_costs(
    space: SearchSpace, cost: Callable[[Mapping[str, str]], float], *, count: int, generator: torch.Generator
) -> list[Mapping[str, str]]:
    """Random architectures whose costs are spread evenly between the cheapest and the dearest of many draws.

    For spaces whose derived networks decide other things than they search, so that no single decision can be moved.

    Args:
        space: The search space.
        cost: Predicted cost of a derived network.
        count: How many, in ascending order of cost.
        generator: Source of the draws.
    """
    drawn = [space.random_choices(generator) for _ in range(DRAWS_EACH * count)]
    costs = torch.tensor([cost(choices) for choices in drawn], dtype=torch.float64)
    left = costs.clone()
    chosen = []
    for target in torch.linspace(float(costs.min()), float(costs.max()), count, dtype=torch.float64):
        chosen.append(int((left - target).abs().argmin()))
        left[chosen[-1]] = float("inf")
    return [drawn[index] for index in sorted(chosen, key=costs.__getitem__)]


class _Walk:
    """Architectures that move each towards its own cost, all of them costed at once.

    Args:
        space: The search space.
        latency: Its cost at the deployed shape.
        targets: Wanted cost of each.
        generator: Source of the draws.
    """

    def __init__(self, space: SearchSpace, latency: ExpectedLatency, targets: Sequence[float], generator: torch.Generator) -> None:
        self.space, self.latency, self.generator = space, latency, generator
        self.choices = space.choices()
        self.rows = {size: torch.eye(size, dtype=torch.float64) for size in {len(choice.options) for choice in self.choices}}
        self.targets = torch.tensor(targets, dtype=torch.float64)
        self.decided: list[Mapping[str, str]] = [dict(space.random_choices(generator)) for _ in targets]
        self.costs = self._cost(self.decided)

    def distances(self) -> Tensor:
        """Distance of each from its target, [N]."""
        return (self.costs - self.targets).abs()

    def go(self, near_enough: float, *, max_moves: int) -> None:
        """Move those that are not near enough yet, one decision each at a time."""
        for _ in range(max_moves):
            moving = (self.distances() > near_enough).nonzero().flatten().tolist()
            moves = {index: moved for index in moving if (moved := self._moved(self.decided[index])) is not None}
            if not moving:
                return
            if not moves:
                continue
            costs = self._cost(list(moves.values()))
            for (index, moved), cost in zip(moves.items(), costs.tolist(), strict=True):
                if abs(cost - self.targets[index]) <= abs(self.costs[index] - self.targets[index]):
                    self.decided[index], self.costs[index] = moved, cost

    def _moved(self, decided: Mapping[str, str]) -> Mapping[str, str] | None:
        """One decision, drawn uniformly, takes an option drawn uniformly; None where that makes no network."""
        choice = self.choices[int(torch.randint(len(self.choices), (), generator=self.generator))]
        option = choice.options[int(torch.randint(len(choice.options), (), generator=self.generator))]
        moved = {**decided, choice.name: option}
        try:
            self.space.check(moved)
        except GenotypeError:
            return None
        return moved

    @torch.no_grad()
    def _cost(self, decided: Sequence[Mapping[str, str]]) -> Tensor:
        """Cost of each architecture, [N]."""
        values = {}
        for choice in self.choices:
            index = torch.tensor([choice.options.index(one[choice.name]) for one in decided])
            values[choice.name] = self.rows[len(choice.options)][index]
        costs: Tensor = self.latency(Weights(values, {}))
        return costs.expand(len(decided)).clone()
