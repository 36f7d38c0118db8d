"""Weights as after a training: batch norms far from the identity, which is what they start as."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def as_if_trained(module: M, seed: int = 0) -> M:
    """The module in evaluation mode, with random running statistics, scales and shifts of all batch norms, biases and slopes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(generator=generator)
                part.running_var.uniform_(0.3, 3, generator=generator)
                part.weight.normal_(1, 0.5, generator=generator)
                part.bias.normal_(generator=generator)
            elif isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and part.bias is not None:
                part.bias.normal_(generator=generator)
            elif isinstance(part, nn.PReLU):
                part.weight.normal_(0.25, 0.2, generator=generator)
    return module.eval()
