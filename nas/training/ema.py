"""Exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


def decay_at(step: int, decay: float) -> float:
    """min(decay, (1 + step) / (10 + step)): short memory at first, because the average must forget the initial weights.

    The ramp of TensorFlow's `ExponentialMovingAverage` with `num_updates`.

    Args:
        step: Number of the step, from 0.
        decay: Decay in the long run, in [0, 1).

    >>> decay_at(0, 0.999), decay_at(90, 0.9)
    (0.1, 0.9)
    """
    return min(decay, (1 + step) / (10 + step))


def averaged_copy(network: nn.Module) -> nn.Module:
    """A copy that holds the average, at first the weights themselves; it needs no gradients and is in evaluation mode."""
    return copy.deepcopy(network).requires_grad_(requires_grad=False).eval()


@torch.no_grad()
def average_into(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Let the average follow by one step: decay * average + (1 - decay) * network, for parameters and floating buffers.

    Batch norm's running mean and variance are averaged like the weights, so that they lag behind by as much as those do; whole
    numbers, its count of batches, are copied.

    Args:
        average: Made by `averaged_copy`; changed in place.
        network: The network that is trained.
        decay: In [0, 1).
    """
    current = network.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[name], 1 - decay)
        else:
            value.copy_(current[name])
