"""Scalars that a search step copies to the host at once, before any weight moves: losses, latencies and gradient norms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nas.cost.deployed import named
from nas.distributed.ranks import Ranks
from nas.errors import NonFiniteLossError
from nas.training.loop_state import Row


def checked_scalars(passes: Sequence[Tensor], norms: Sequence[Tensor], *, ranks: Ranks, with_latency: bool) -> Row:
    """The scalars of a step, added up over its passes: the one device-to-host copy between backward and the optimisers.

    Args:
        passes: Of each pass, this process's part of loss, cross-entropy and latency by table, float64 [2 + K].
        norms: Norms of gradients that all processes have, each [].
        ranks: The processes that share the batch.
        with_latency: Whether the loss has latency, for the message.

    Raises:
        NonFiniteLossError: On all processes, if the loss of a pass is not finite, or a norm, which a finite loss does not rule out.
    """
    sums = ranks.sum(torch.stack(list(passes)))
    values = torch.cat([sums.flatten(), *(norm.to(sums).reshape(1) for norm in norms)]).tolist()
    width = sums.shape[1]
    rows = [values[start : start + width] for start in range(0, sums.numel(), width)]
    for loss, entropy, *latencies in rows:
        if not math.isfinite(loss):
            stated = ", ".join(map(str, latencies if with_latency else [0.0] * len(latencies))) or "0.0"
            raise NonFiniteLossError(f"got loss {loss} (cross-entropy {entropy}, latency {stated})")
    for norm in values[sums.numel() :]:
        if not math.isfinite(norm):
            raise NonFiniteLossError(f"got a gradient of norm {norm}")
    loss, entropy, *latencies = (sum(column) for column in zip(*rows, strict=True))
    by_table = {named("sampled_latency", k): one for k, one in enumerate(latencies or [0.0])}
    return {"loss": loss, "cross_entropy": entropy, **by_table}
