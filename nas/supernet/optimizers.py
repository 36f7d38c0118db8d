"""The two optimisers of a search."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from nas.config.jobs import SearchJob
from nas.supernet.supernet import Supernet
from nas.training.optimisation_step import Moved


@dataclass(frozen=True, slots=True)
class SupernetOptimisation:
    """A supernet on its devices, and its optimisers.

    Args:
        supernet: The supernet.
        model: The supernet as Fabric runs it.
        weights: The weights of the network and their optimiser.
        architecture: The architecture parameters and their optimiser.
    """

    supernet: Supernet
    model: nn.Module
    weights: Moved
    architecture: Moved

    def architecture_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The state of the architecture parameters and of their optimiser."""
        return self.supernet.architectures.state_dict(), self.architecture.optimizer.state_dict()

    def load_architecture_state(self, state: tuple[Mapping[str, Any], dict[str, Any]]) -> None:
        """Take up a state."""
        self.supernet.architectures.load_state_dict(state[0])
        self.architecture.optimizer.load_state_dict(state[1])


def optimisation_of(supernet: Supernet, job: SearchJob, fabric: Fabric) -> SupernetOptimisation:
    """A supernet with its optimisers on the devices; the gradients of its weights alone are clipped."""
    model, *wrapped = fabric.setup(supernet, *optimizers(supernet, job))
    weights = Moved.clipped(supernet.weight_parameters(), wrapped[0], max_norm=job.search.grad_clip)
    return SupernetOptimisation(supernet, model, weights, Moved.clipped(supernet.arch_parameters(), wrapped[1], max_norm=0))


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
