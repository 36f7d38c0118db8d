"""Relaxations: from logits to the weights of the options, as pure functions. Noise is an argument.

`RELAXATIONS` maps a name to its function of (logits [..., q], noise [..., q], tau) -> z [..., q]. `sampled` has the values of
`hard`; what differs is that only the drawn option runs, which `sample` arranges with one device-to-host copy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nas.space.choice import Choice, NeverAll
from nas.space.weights import Weights
from nas.supernet.relaxation.gumbel import gumbel_noise, gumbel_softmax, softmax, straight_through
from nas.supernet.relaxation.validity import bar_invalid, check_sets

__all__ = [
    "RELAXATIONS",
    "gumbel_noise",
    "gumbel_softmax",
    "probabilities",
    "sample",
    "softmax",
    "straight_through",
]

Relaxation = Callable[[Tensor, Tensor, float], Tensor]

RELAXATIONS: dict[str, Relaxation] = {
    "soft": gumbel_softmax,
    "hard": straight_through,
    "sampled": straight_through,
    "softmax": softmax,
}


def sample(
    logits: Mapping[str, Tensor],
    choices: Sequence[Choice],
    *,
    relaxation: str,
    tau: float,
    generator: torch.Generator,
    batch: int | None = None,
    architecture: str = "default",
    never_all: Sequence[NeverAll] = (),
) -> Weights:
    """Draw the weights of all decisions.

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, section III-B: the variables Z are drawn from a fully factorizable joint
    distribution. Decisions with the same number of options and the same relaxation are drawn as one tensor, in the order of
    `choices`, from noise made on the CPU: the same generator state gives the same weights on every device and rank.

    Args:
        logits: Group name -> [p, q], one row a decision of the group.
        choices: The decisions; a decision's own `relaxation` overrides the argument.
        relaxation: A key of `RELAXATIONS`.
        tau: Temperature > 0.
        generator: Source of the noise, on the CPU.
        batch: Draw separately for this many images, z [batch, q]; None: once, z [q]. `sampled` needs None.
        architecture: Name of the architecture set.
        never_all: Sets of decisions of which not all may take an option; where all others of a set do, a decision has weight zero
            on it.

    Raises:
        ValueError: If the relaxation is unknown, `sampled` is asked for each image, or a set of `never_all` is not drawn together.
    """
    _check_relaxation("search", relaxation, batch)
    for choice in choices:
        _check_relaxation(choice.name, choice.relaxation or relaxation, batch)
    values: dict[str, Tensor] = {}
    sampled: list[tuple[list[str], Tensor]] = []
    stacks = _stackable(choices, relaxation)
    check_sets(never_all, {choice.name: stack for stack, members in stacks.items() for choice in members})
    for (_, kind), members in stacks.items():
        stacked = torch.stack([logits[choice.group][choice.row] for choice in members])
        shape = stacked.shape if batch is None else (batch, *stacked.shape)
        noise = gumbel_noise(shape, generator=generator).to(stacked)
        barred = bar_invalid(stacked, torch.zeros_like(noise) if kind == "softmax" else noise, members, never_all)
        z = RELAXATIONS[kind](barred, noise, tau)
        names = [choice.name for choice in members]
        values.update(zip(names, z.unbind(dim=-2), strict=True))
        if kind == "sampled":
            sampled.append((names, z.detach().argmax(dim=-1)))
    return Weights({choice.name: values[choice.name] for choice in choices}, _to_host(sampled), architecture)


def probabilities(logits: Mapping[str, Tensor], choices: Sequence[Choice], *, never_all: Sequence[NeverAll] = ()) -> Weights:
    """Weights of all decisions without noise: softmax(logits), at a temperature of one.

    Args:
        logits: Group name -> [p, q].
        choices: The decisions.
        never_all: As for `sample`.
    """
    plain = [replace(choice, relaxation="softmax") for choice in choices]
    return sample(logits, plain, relaxation="softmax", tau=1.0, generator=torch.Generator(), never_all=never_all)


def _check_relaxation(where: str, relaxation: str, batch: int | None) -> None:
    if relaxation not in RELAXATIONS:
        raise ValueError(f"{where}: got relaxation {relaxation!r}, expected one of {', '.join(RELAXATIONS)}")
    if relaxation == "sampled" and batch is not None:
        raise ValueError(
            f"{where}: relaxation 'sampled' runs one option for the whole batch; use 'soft' or 'hard' for weights per image"
        )


def _stackable(choices: Sequence[Choice], relaxation: str) -> dict[tuple[int, str], list[Choice]]:
    """Decisions that can be drawn as one tensor."""
    groups: dict[tuple[int, str], list[Choice]] = defaultdict(list)
    for choice in choices:
        groups[len(choice.options), choice.relaxation or relaxation].append(choice)
    return groups


def _to_host(sampled: Sequence[tuple[list[str], Tensor]]) -> dict[str, int]:
    """The drawn indices, copied from the device all at once."""
    if not sampled:
        return {}
    names = [name for group, _ in sampled for name in group]
    indices = torch.cat([index for _, index in sampled]).tolist()
    return dict(zip(names, indices, strict=True))
