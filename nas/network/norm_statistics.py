"""Batch-norm statistics of a part of a supernet, estimated again before it is evaluated.

The running statistics of a supernet are those of whatever mixture of paths was drawn while it trained; a single architecture has
others. Single-path works estimate them again before each evaluation (Guo et al., Single Path One-Shot NAS, section 3.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.distributed.ranks import ALONE, Ranks


@contextmanager
def estimated_anew(
    network: nn.Module, forward: Callable[[Tensor], object], batches: Iterable[Tensor], *, ranks: Ranks = ALONE
) -> Iterator[None]:
    """Within the block, batch norms of `network` hold the plain average of their statistics over `batches`.

    Only those that `forward` runs are touched; without batches, none is. Afterwards statistics and modes are what they were.

    Args:
        network: Whose batch norms.
        forward: Runs the part of the network that will be evaluated on images [N, 3, H, W].
        batches: Images of the training split.
        ranks: Processes that share these batches; their statistics are averaged.
    """
    images = list(batches)
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    saved = [({key: value.clone() for key, value in norm.state_dict().items()}, norm.momentum, norm.training) for norm in norms]
    try:
        if images:
            ran = _which_run(norms, forward, images[0])
            for norm in ran:
                norm.reset_running_stats()
                norm.momentum = None  # PyTorch then averages over all batches
                norm.train()
            with torch.no_grad():
                for batch in images:
                    forward(batch)
            ranks.average_of_statistics(nn.ModuleList(ran))
            for norm in ran:
                norm.eval()
        yield
    finally:
        for norm, (state, momentum, training) in zip(norms, saved, strict=True):
            norm.load_state_dict(state)
            norm.momentum = momentum
            norm.train(training)


def _which_run(norms: list[_BatchNorm], forward: Callable[[Tensor], object], images: Tensor) -> list[_BatchNorm]:
    """The batch norms that a forward pass meets, seen without touching their statistics."""
    ran: set[int] = set()
    handles = [norm.register_forward_pre_hook(lambda norm, _: ran.add(id(norm))) for norm in norms]
    modes = [norm.training for norm in norms]
    try:
        for norm in norms:
            norm.eval()
        with torch.no_grad():
            forward(images)
    finally:
        for handle in handles:
            handle.remove()
        for norm, mode in zip(norms, modes, strict=True):
            norm.train(mode)
    return [norm for norm in norms if id(norm) in ran]
