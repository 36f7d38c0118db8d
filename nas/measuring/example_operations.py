"""Operations and networks to be timed: always the same random weights and inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.ops import build, example_inputs
from nas.ops.spec import OpSpec


def example_operation(spec: OpSpec, *, batch: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """An operation in evaluation mode and its inputs, each [batch, C, H, W]; PyTorch's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build(spec).eval()
    return module, example_inputs(spec, batch=batch, generator=torch.Generator().manual_seed(0))


def example_images(size: tuple[int, int], *, batch: int) -> Tensor:
    """Images [batch, 3, height, width] of normalised noise."""
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))
