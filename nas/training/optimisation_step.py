"""An optimisation step, written once for search and training: gradients, their sum over processes, the check, the move."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients down to a norm of at most `max_norm`; 0 leaves them as they are.

    Returns:
        The norm before, [], on its device; whoever copies it to the host checks that it is finite.
    """
    return nn.utils.clip_grad_norm_(parameters, max_norm or float("inf"))
