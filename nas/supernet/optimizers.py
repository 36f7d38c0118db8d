"""The two optimisers of a search."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from nas.config.jobs import SearchJob
from nas.supernet.supernet import Supernet


def optimizers(supernet: Supernet, job: SearchJob) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """SGD for the weights, Adam for the architecture, as LGCNet has it (Cheng et al., section IV-A)."""
    settings = job.search
    weight_optimizer = torch.optim.SGD(
        supernet.weight_parameters(),
        lr=settings.weight_lr,
        momentum=settings.weight_momentum,
        weight_decay=settings.weight_decay,
    )
    groups: list[dict[str, Any]] = [{"params": list(supernet.alpha_parameters()), "lr": settings.arch_lr}]
    communication = list(supernet.communication_parameters())
    if communication:
        rate = settings.arch_lr if settings.communication_lr is None else settings.communication_lr
        groups.append({"params": communication, "lr": rate})
    arch_optimizer = torch.optim.Adam(
        groups,
        betas=(settings.arch_betas[0], settings.arch_betas[1]),
        weight_decay=settings.arch_weight_decay,
    )
    return weight_optimizer, arch_optimizer


def grad_norm(parameters: Iterable[torch.nn.Parameter]) -> float:
    """Norm of the gradients of the last step; zero where there is none."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr


@contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """A forward pass in here gives these parameters no gradient."""
    held = list(parameters)
    for parameter in held:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad = True
