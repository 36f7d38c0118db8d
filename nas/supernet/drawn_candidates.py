"""Choice among drawn architectures by the loss that the supernet has with each of them, instead of the most probable one alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from nas.cost.repair import derive_within, is_within
from nas.errors import ConfigError
from nas.space.search_space import SearchSpace
from nas.space.weights import one_hot
from nas.supernet.derivation import DerivedArchitectures
from nas.supernet.relaxation.gumbel import gumbel_noise
from nas.supernet.supernet_evaluation import SupernetEvaluation

SHARES = (0.125, 0.25, 0.5, 1.0)
"""Shares of the validation images, one after the other; the better half of the candidates goes on to the next."""
TRIES = 20
"""Draws after which one that exceeds the targets is repaired, exactly; most draws near the targets need no repair."""
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


def rank_candidates(evaluation: SupernetEvaluation, found: list[dict[str, str]]) -> list[Scored]:
    """The candidates that all validation images were spent on, the best first.

    The loss ranks where mIoU does not: in `space=mini`, Spearman with the mIoU of trained networks is 0.88 for the loss of a
    supernet that was trained on uniform draws, and 0.69 for its mIoU. Batch-norm statistics are estimated for each candidate. The
    worse half is left after an eighth, a quarter and a half of the images (successive halving; Jamieson and Talwalkar, AISTATS
    2016, arXiv:1502.07943).

    Args:
        evaluation: Of the supernet.
        found: The candidates, at least one.
    """
    name, choices = evaluation.derived.first_set, evaluation.space.choices()
    left, scored = found, []
    for share in SHARES:
        weights = (one_hot(one, choices, device=evaluation.fabric.device, architecture=name) for one in left)
        losses = evaluation.losses(weights, share=share)
        scored = sorted(map(Scored, left, losses), key=lambda one: one.loss)
        left = [one.choices for one in scored[: -(-len(scored) // 2)]]
    return scored
