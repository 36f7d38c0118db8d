"""Exact repair of a derived architecture: the most probable one whose cost stays within limits.

A search's probabilities are independent between decisions, so the log-probability of an architecture is the sum over decisions of
log softmax(logits). Among all valid architectures whose predicted cost is within every limit, the one that loses least of it is the
optimum of a mixed-integer linear program (`nas.cost.architecture_program`), solved to optimality.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.cost.architecture_program import ArchitectureProgram, Share, Terms
from nas.cost.expected import ExpectedLatency
from nas.errors import ConfigError, GenotypeError
from nas.space.capabilities import Derivation, Judge
from nas.space.choice import Choice, argmax_choices
from nas.space.search_space import SearchSpace
from nas.space.weights import one_hot

MAX_EXCLUDED = 200
"""Architectures that are excluded one by one, for rounding or because only the space's own check refuses them."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Bound on the cost of an architecture by one table.

    Args:
        latency: Its cost at the deployed shape.
        most: The largest cost allowed, in the unit of `latency`.
        table: Name of the table, for messages.
        unit: The unit.
    """

    latency: ExpectedLatency
    most: float
    table: str
    unit: str = "ms"

    def cost(self, decided: Mapping[str, str], choices: Sequence[Choice]) -> float:
        """Predicted cost of a discrete architecture."""
        with torch.no_grad():
            return float(self.latency(one_hot(decided, choices, device=self.latency.to_part.device)))


class UnreachableError(ConfigError):
    """No valid architecture is within the limits.

    Args:
        least: By limit, the cost of the architecture that comes nearest to all of them.
        message: What was got, what can be reached.
    """

    def __init__(self, message: str, least: tuple[float, ...]) -> None:
        super().__init__(message)
        self.least = least


def log_probability(logits: Mapping[str, Tensor], choices: Sequence[Choice], decided: Mapping[str, str]) -> float:
    """Log-probability: the sum over decisions d of log softmax(logits of d) at the option decided, in float64.

    Args:
        logits: Group -> [p, q].
        choices: The decisions.
        decided: Decision -> option.
    """
    log_p = _log_softmax(logits)
    return math.fsum(float(log_p[c.group][c.row, c.options.index(decided[c.name])]) for c in choices)


def is_within(decided: Mapping[str, str], choices: Sequence[Choice], limits: Sequence[Limit]) -> bool:
    """Whether an architecture's predicted cost is at most every limit."""
    return all(limit.cost(decided, choices) <= limit.most for limit in limits)


def derive_within(
    space: SearchSpace, logits: Mapping[str, Mapping[str, Tensor]], limits: Sequence[Limit], *, judge: Judge | None = None
) -> Mapping[str, Derivation]:
    """The derivations of all architecture sets, that of the first one repaired if it exceeds a limit.

    Args:
        space: The search space.
        logits: Architecture set -> group -> guided logits [p, q].
        limits: The limits; none: the space's own derivation.
        judge: What is known beside the logits.

    Raises:
        UnreachableError: If no valid architecture is within the limits.
        ConfigError: If the space derives other decisions than it searches.
    """
    name, derivations = space.architecture_sets[0], space.derive(logits, judge)
    if not limits:
        return derivations
    check_repairable(space)
    choices = space.choices()
    if is_within(derivations[name].choices, choices, limits):
        return derivations
    decided = most_probable_within(space, logits[name], limits)
    likeliest = argmax_choices(logits[name], choices)
    stated = " and ".join(f"{limit.most:g} {limit.unit} on {limit.table}" for limit in limits)
    changed = [choice.name for choice in choices if decided[choice.name] != likeliest[choice.name]]
    repairs = tuple(f"{d}: {decided[d]} instead of {likeliest[d]}, for at most {stated}" for d in changed)
    return {**derivations, name: Derivation(decided, repairs)}


def check_repairable(space: SearchSpace) -> None:
    """Refuse a space whose derived networks have decisions of their own: their cost is not that of the decisions searched.

    Raises:
        ConfigError: If so.
    """
    if dict(space.genotype_choices()) != {choice.name: choice.options for choice in space.choices()}:
        raise ConfigError(
            f"target_ms: space {space.config.name} derives other decisions than it searches, so that no limit can be kept exactly; "
            "leave the target out and steer the latency by latency.weight or latency.band_fps"
        )


def most_probable_within(space: SearchSpace, logits: Mapping[str, Tensor], limits: Sequence[Limit]) -> dict[str, str]:
    """The valid architecture of largest log-probability among those within every limit; the argmax itself if it is one.

    Args:
        space: The search space; the decisions of its derived networks are those searched.
        logits: Group -> guided logits [p, q] of one architecture set.
        limits: At least one, all at the same deployed shape.

    Raises:
        UnreachableError: If there is none.
    """
    choices = space.choices()
    likeliest = argmax_choices(logits, choices)
    if is_within(likeliest, choices, limits) and _is_valid(space, likeliest):
        return likeliest
    program, scaled = _program(space, limits)
    objective = _losses(program, logits)
    for _ in range(MAX_EXCLUDED):
        decided = program.solve(objective, scaled)
        if decided is None:
            raise _unreachable(space, limits)
        if not _is_valid(space, decided):
            program.exclude(decided, decided)
        elif not is_within(decided, choices, limits):  # by rounding; the cost depends on what is reached alone
            program.exclude(decided, program.reached(decided))
        else:
            return decided
    raise _exhausted(space)


def check_reachable(space: SearchSpace, limits: Sequence[Limit]) -> None:
    """Refuse limits that no valid architecture meets.

    Raises:
        UnreachableError: With the least that can be reached.
    """
    least = least_costs(space, limits)
    if any(cost > limit.most for cost, limit in zip(least, limits, strict=True)):
        raise _unreachable(space, limits, least)


def least_costs(space: SearchSpace, limits: Sequence[Limit]) -> tuple[float, ...]:
    """Cost by limit of the valid architecture whose largest share cost / limit is least; with one limit the least cost."""
    program, scaled = _program(space, limits)
    for _ in range(MAX_EXCLUDED):
        decided = program.least(scaled)
        if _is_valid(space, decided):
            return tuple(limit.cost(decided, space.choices()) for limit in limits)
        program.exclude(decided, decided)
    raise _exhausted(space)


def _program(space: SearchSpace, limits: Sequence[Limit]) -> tuple[ArchitectureProgram, list[Share]]:
    """The program, and by limit the cost as a share of it."""
    graphs = [limit.latency.graph for limit in limits]
    if any([(n.name, n.specs) for n in graph.nodes] != [(n.name, n.specs) for n in graphs[0].nodes] for graph in graphs):
        raise ValueError("got limits for different graphs, expected all at the same deployed shape")
    program = ArchitectureProgram(space.choices(), graphs[0], space.never_all())
    return program, [_share(program, limit) for limit in limits]


def _share(program: ArchitectureProgram, limit: Limit) -> Share:
    terms = program.cost(limit.latency.cost)
    return {variable: cost / limit.most for variable, cost in terms.items()}, limit.latency.overhead / limit.most


def _losses(program: ArchitectureProgram, logits: Mapping[str, Tensor]) -> Terms:
    """Log-probability that each option loses against the most probable one of its decision."""
    log_p = _log_softmax(logits)
    losses: Terms = {}
    for name, choice in program.choices.items():
        row = log_p[choice.group][choice.row]
        losses.update(zip(program.option[name], (row.max() - row).tolist(), strict=True))
    return losses


def _log_softmax(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {group: torch.log_softmax(values.detach().double().cpu(), dim=-1) for group, values in logits.items()}
    if not all(bool(torch.isfinite(values).all()) for values in found.values()):
        raise ValueError("got logits that are not finite, expected finite ones")
    return found


def _is_valid(space: SearchSpace, decided: Mapping[str, str]) -> bool:
    try:
        space.check(decided)
    except GenotypeError:
        return False
    return True


def _unreachable(space: SearchSpace, limits: Sequence[Limit], least: tuple[float, ...] | None = None) -> UnreachableError:
    least = least_costs(space, limits) if least is None else least
    wanted = ", ".join(f"{limit.most:g} {limit.unit} on {limit.table}" for limit in limits)
    reach = ", ".join(f"{math.ceil(cost * 1e4) / 1e4:.4f} {limit.unit}" for cost, limit in zip(least, limits, strict=True))
    together = "" if len(limits) == 1 else " (nearest to all at once)"
    return UnreachableError(f"target_ms: got {wanted}, the least reachable is {reach}{together}; give a larger target", least)


def _exhausted(space: SearchSpace) -> RuntimeError:
    return RuntimeError(
        f"space {space.config.name}: {MAX_EXCLUDED} architectures were refused by its check() or above a limit by rounding; "
        "what makes an architecture invalid belongs into never_all()"
    )
