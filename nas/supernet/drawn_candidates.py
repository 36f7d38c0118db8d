"""Choice among architectures by the loss that the supernet has with each of them, instead of the most probable one alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nas.cost.repair import derive_within, is_within
from nas.errors import ConfigError, GenotypeError
from nas.space.search_space import SearchSpace
from nas.space.weights import one_hot
from nas.supernet.derivation import DerivedArchitectures
from nas.supernet.relaxation.gumbel import gumbel_noise
from nas.supernet.supernet_evaluation import SupernetEvaluation

SHARES = (0.125, 0.25, 1.0)
"""Shares of the validation images, one after the other."""
KEPT = 0.25
"""Share of the candidates, those of least loss, that are scored on the next share of the images."""
TRIES = 20
"""Draws after which one that exceeds the targets is repaired, exactly; most draws near the targets need no repair."""
DRAWN = 0.5
"""Share of the candidates that are drawn; the others are bred."""
GENERATIONS = 4
"""Generations of those that are bred."""
PARENTS = 0.25
"""Share of the candidates so far, those of least loss, that a generation is bred from."""
DRAWS_EACH = 10
"""Draws for each candidate that is wanted, after which those found suffice: a decided search draws the same ones again."""


class Scored(NamedTuple):
    """A candidate with its loss on the validation images that it was scored on last.

    Args:
        choices: Decision -> option.
        loss: Cross-entropy.
    """

    choices: dict[str, str]
    loss: float


def check_candidates(space: SearchSpace, count: int) -> None:
    """Refuse candidates in a space whose derived networks the supernet cannot score.

    Raises:
        ConfigError: If so.
    """
    if count and (not space.contains_derived or len(space.architecture_sets) > 1):
        raise ConfigError(
            f"search.candidates: got {count}, expected 0 for space {space.config.name}, which derives networks that are no part "
            "of its supernet, or several at once"
        )


def draw_candidates(derived: DerivedArchitectures, count: int, generator: torch.Generator) -> list[dict[str, str]]:
    """Distinct architectures within the targets: the most probable one, and draws from the probabilities; as many as there are.

    A draw is the argmax of the logits with Gumbel noise, which is one from their softmax (Maddison et al., "A* Sampling", NeurIPS
    2014). One that exceeds the targets is drawn again, and after `TRIES` draws repaired.

    Args:
        derived: The search as it stands.
        count: How many are wanted, at least 1.
        generator: Source of the noise, on the CPU.
    """
    found = [dict(derived.first().choices)]
    draws = _draws(derived, generator)
    for _ in range(DRAWS_EACH * count):
        if len(found) == count:
            break
        choices = next(draws)
        if choices not in found:
            found.append(choices)
    return found


def _draws(derived: DerivedArchitectures, generator: torch.Generator) -> Iterator[dict[str, str]]:
    """Draws within the targets, without end."""
    space, limits, name = derived.space, derived.costs.limits(), derived.first_set
    choices, logits = space.choices(), derived.guided_logits()[name]
    while True:
        for _ in range(TRIES):
            noisy: Mapping[str, Tensor] = {
                group: values + gumbel_noise(values.shape, generator=generator) for group, values in logits.items()
            }
            drawn = dict(space.derive({name: noisy})[name].choices)
            if is_within(drawn, choices, limits):
                break
        else:
            drawn = dict(derive_within(space, {name: noisy}, limits)[name].choices)
        yield drawn


def best_candidates(evaluation: SupernetEvaluation, count: int, generator: torch.Generator) -> tuple[list[Scored], int]:
    """The candidates that all validation images were spent on, the best first; and how many candidates there were.

    Half of them are drawn (`draw_candidates`), half are bred from the best so far: evolution in the supernet (Guo et al., Single
    Path One-Shot NAS, section 3.3, arXiv:1904.00420). All are scored on an eighth of the images, the best quarter of them on a
    quarter, and of these the best quarter on all (successive halving with a factor of four; Jamieson and Talwalkar, AISTATS 2016,
    arXiv:1502.07943). The loss ranks where mIoU does not: in `space=mini`, Spearman with the mIoU of trained networks is 0.86 for
    the loss of a supernet that was trained on uniform draws, and 0.77 to 0.88 for its mIoU. Batch-norm statistics are estimated
    for each candidate.

    Args:
        evaluation: Of the supernet.
        count: How many candidates are wanted, at least 1.
        generator: Source of chance, on the CPU.
    """
    derived = evaluation.derived
    scored = _scored(evaluation, draw_candidates(derived, max(1, round(DRAWN * count)), generator), SHARES[0])
    size = math.ceil((count - len(scored)) / GENERATIONS)
    while len(scored) < count:
        parents = [one.choices for one in scored[: max(2, round(PARENTS * len(scored)))]]
        children = _children(derived, parents, [one.choices for one in scored], min(size, count - len(scored)), generator)
        if not children:
            break
        scored = sorted([*scored, *_scored(evaluation, children, SHARES[0])], key=lambda one: one.loss)
    found = len(scored)
    for share in SHARES[1:]:
        scored = _scored(evaluation, [one.choices for one in scored[: math.ceil(KEPT * len(scored))]], share)
    return scored, found


def _scored(evaluation: SupernetEvaluation, found: Sequence[dict[str, str]], share: float) -> list[Scored]:
    """Candidates with their losses on a share of the images, the best first."""
    name, choices = evaluation.derived.first_set, evaluation.space.choices()
    weights = (one_hot(one, choices, device=evaluation.fabric.device, architecture=name) for one in found)
    return sorted(map(Scored, found, evaluation.losses(weights, share=share)), key=lambda one: one.loss)


def _children(
    derived: DerivedArchitectures,
    parents: Sequence[dict[str, str]],
    known: Sequence[dict[str, str]],
    count: int,
    generator: torch.Generator,
) -> list[dict[str, str]]:
    """Architectures within the targets that are not known, bred from parents; fewer where hardly any is left."""
    choices, limits = derived.space.choices(), derived.costs.limits()
    options = {name: given for name, given in derived.space.genotype_choices().items() if len(given) > 1}
    found: list[dict[str, str]] = []
    for _ in range(DRAWS_EACH * count):
        if len(found) == count:
            break
        child = _bred(parents, options, generator)
        try:
            derived.space.check(child)
        except GenotypeError:
            continue
        if child not in found and child not in known and is_within(child, choices, limits):
            found.append(child)
    return found


def _bred(parents: Sequence[dict[str, str]], options: Mapping[str, Sequence[str]], generator: torch.Generator) -> dict[str, str]:
    """A child: each decision of one of two parents, one decision changed by chance."""

    def drawn(below: int) -> int:
        return int(torch.randint(below, (1,), generator=generator))

    one, other = (parents[drawn(len(parents))] for _ in range(2))
    child = {name: (one, other)[drawn(2)][name] for name in one}
    name = list(options)[drawn(len(options))]
    child[name] = options[name][drawn(len(options[name]))]
    return child
