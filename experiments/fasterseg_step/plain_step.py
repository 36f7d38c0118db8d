"""A step of the search as the official code takes it, on the plain supernet: losses of all passes added up, then one backward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from plain_supernet import PlainSupernet, Widths
from torch import Tensor, nn
from torch.nn import functional

Pass = tuple[str, Widths]
"""Architecture and widths of a forward pass."""


def ohem(scores: Tensor, labels: Tensor, min_kept: int, threshold: float = 0.7) -> Tensor:
    """Mean cross-entropy over the hard pixels: scores `[N, C, H, W]`, labels `[N, H, W]`, 255 for what does not count."""
    each = functional.cross_entropy(scores, labels, ignore_index=255, reduction="none")[labels != 255]
    if len(each) < min_kept:
        return each.mean()
    true = (-each.detach()).exp()
    return each[true <= true.sort().values[min_kept - 1].clamp_min(threshold)].mean()


def search_loss(outputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    """The loss of one pass: the sum over its outputs, labels at an eighth of their size by the nearest pixel."""
    height, width = labels.shape[1:]
    total = torch.zeros(())
    for scores in outputs.values():
        h, w = scores.shape[2:]
        small = labels[:, (torch.arange(h) * height) // h][:, :, (torch.arange(w) * width) // w]
        total = total + ohem(scores, small, max(1, small.numel() // 16))
    return total


class PlainSearch:
    """The plain supernet and its optimisers: SGD for all weights, Adam for each architecture.

    Args:
        plain: The supernet.
        weight_lr: Learning rate of SGD.
    """

    def __init__(self, plain: PlainSupernet, *, weight_lr: float = 0.02) -> None:
        self.plain = plain
        logits = [list(_logits(module)) for module in plain.sets.values()]
        chosen = {id(one) for group in logits for one in group}
        self.weights = [one for one in plain.parameters() if id(one) not in chosen]
        self.sgd = torch.optim.SGD(self.weights, lr=weight_lr, momentum=0.9, weight_decay=5e-4)
        self.adams = [torch.optim.Adam(group, lr=3e-4, betas=(0.5, 0.999)) for group in logits]

    def loss(self, images: Tensor, labels: Tensor, passes: Sequence[Pass]) -> Tensor:
        """The sum over passes and outputs."""
        return torch.stack([search_loss(self.plain(images, name, widths), labels) for name, widths in passes]).sum()

    def architecture_step(self, images: Tensor, labels: Tensor, passes: Sequence[Pass]) -> float:
        """Adam on the architecture parameters; the weights get gradients, too, which nobody uses."""
        for adam in self.adams:
            adam.zero_grad()
        loss = self.loss(images, labels, passes)
        loss.backward()
        for adam in self.adams:
            adam.step()
        return float(loss.detach())

    def weight_step(self, images: Tensor, labels: Tensor, passes: Sequence[Pass]) -> float:
        """SGD on the weights, gradients clipped to a norm of 5; the architecture gets gradients, too."""
        self.sgd.zero_grad()
        loss = self.loss(images, labels, passes)
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 5.0)
        self.sgd.step()
        return float(loss.detach())


def _logits(module: nn.Module) -> Iterator[Tensor]:
    for group in ("alpha", "beta", "ratio"):
        yield from module.get_submodule(group).parameters()
