"""An optimisation step, written once for search and training: gradients, their sum over processes, the check, the move."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas.distributed.ranks import Ranks
from nas.errors import NonFiniteLossError
from nas.training.loop_state import Row
from nas.training.out_of_memory import moving


class Backward(NamedTuple):
    """Result of the backward passes of a step, beside the gradients.

    Args:
        names: Names of the scalars; the first is the loss.
        scalars: By pass, this process's part of them, float64 [P, S], on the device.
        confusion: Confusion matrix of the labelled pixels [K, K]; None: the labels are not of pixels.
    """

    names: tuple[str, ...]
    scalars: Tensor
    confusion: Tensor | None


@dataclass(frozen=True, slots=True)
class Moved:
    """Parameters and the optimiser that moves them.

    Args:
        parameters: The parameters.
        optimizer: Their optimiser.
        clip: Scales their gradients down where they are to be clipped; the norm before, [], on its device.
        rests: Whether a step only computes their gradients.
    """

    parameters: tuple[nn.Parameter, ...]
    optimizer: torch.optim.Optimizer
    clip: Callable[[], Tensor]
    rests: bool = False

    @classmethod
    def clipped(cls, parameters: Iterable[nn.Parameter], optimizer: torch.optim.Optimizer, *, max_norm: float) -> Moved:
        """Parameters whose gradients are scaled down to a norm of at most `max_norm`; 0: never."""
        found = tuple(parameters)
        return cls(found, optimizer, lambda: clip_gradients(found, max_norm))

    def resting(self) -> Moved:
        """The same, with their gradients computed alone."""
        return replace(self, rests=True)


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients down to a norm of at most `max_norm`; 0 leaves them as they are.

    Returns:
        The norm before, [], on its device; whoever copies it to the host checks that it is finite.
    """
    return nn.utils.clip_grad_norm_(parameters, max_norm or float("inf"))


def only_the_loss(row: Row) -> str:
    """The loss alone, for the message about one that is not finite."""
    return f"loss {next(iter(row.values()))}"


def optimisation_step(
    moved: Sequence[Moved],
    backward: Callable[[], Backward],
    *,
    ranks: Ranks,
    describe: Callable[[Row], str] = only_the_loss,
    may_overflow: Callable[[], bool] = lambda: False,
) -> tuple[list[Row], Tensor | None]:
    """Compute gradients, and move the parameters by them if they and the losses are finite.

    Losses and norms come to the host in one copy, the only one between the backward passes and the optimisers.

    Args:
        moved: What the optimisers move, in this order.
        backward: Adds up the gradients of this process's part of the batch.
        ranks: The processes that share the batch; they add up their gradients and scalars.
        describe: Puts the scalars of a pass whose loss is not finite into words, for the message.
        may_overflow: Whether a gradient may be infinite, for a scaler of gradients then leaves the step out.

    Returns:
        The scalars of each pass, summed over the processes; this process's confusion matrix.

    Raises:
        NonFiniteLossError: On all processes, if the loss of a pass is not finite, or a norm, which a finite loss does not rule out.
        HalfMovedError: If memory runs out while an optimiser moves its parameters.
    """
    for one in moved:
        one.optimizer.zero_grad()
    names, scalars, confusion = backward()
    ranks.sum_of_gradients(itertools.chain.from_iterable(one.parameters for one in moved))
    norms = [one.clip() for one in moved]
    sums = ranks.sum(scalars)
    values = torch.cat([sums.flatten(), *(norm.to(sums).reshape(1) for norm in norms)]).tolist()
    passes = [values[start : start + len(names)] for start in range(0, sums.numel(), len(names))]
    rows = [dict(zip(names, one, strict=True)) for one in passes]
    _require_finite(rows, values[sums.numel() :], describe, may_overflow)
    with moving():
        for one in moved:
            if not one.rests:
                one.optimizer.step()
    return rows, confusion


def _require_finite(
    rows: Sequence[Row], norms: Sequence[float], describe: Callable[[Row], str], may_overflow: Callable[[], bool]
) -> None:
    for row in rows:
        if not math.isfinite(next(iter(row.values()))):
            raise NonFiniteLossError(f"got {describe(row)}")
    for norm in norms:
        if not math.isfinite(norm) and not may_overflow():
            raise NonFiniteLossError(f"got a gradient of norm {norm}")
