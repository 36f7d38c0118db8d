"""The gradients of the passes of a search step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nas.distributed.fabric import ranks_of
from nas.losses import Loss
from nas.losses.label_size import labels_at
from nas.metrics import confusion_counts
from nas.ops.modules import predicted_labels
from nas.supernet.latency_control import LatencyControl
from nas.supernet.step_scalars import scalar_names
from nas.supernet.supernet import Draw
from nas.training.optimisation_step import Backward


class PassGradients:
    """Adds up the gradients of all passes of a step, one pass after the other: memory holds one pass.

    Processes that share a batch each compute their part of the loss, so that the sums over processes are what one process would
    have.

    Args:
        model: The supernet as Fabric runs it.
        loss: Loss of one output, of a batch that the processes share.
        control: Weighs the latency.
        num_classes: Number of classes.
        timed: The architecture set whose own pass has the latency of the step.
        fabric: Devices and precision.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, control: LatencyControl, *, num_classes: int, timed: str, fabric: Fabric
    ) -> None:
        self.model, self.loss, self.control, self.fabric = model, loss, control, fabric
        self.num_classes, self.timed, self.ranks = num_classes, timed, ranks_of(fabric)

    def add_up(self, images: Tensor, labels: Tensor, draws: Sequence[Draw], *, with_latency: bool) -> Backward:
        """Add up the gradients of all passes.

        Args:
            images: [N, 3, H, W].
            labels: [N, H, W].
            draws: How each pass draws its weights.
            with_latency: Whether the loss has the latency term.

        Returns:
            The scalars of the passes, and the confusion matrix of the last output of one of them: of the timed set's own pass, or,
            where that always holds something, of the first pass.
        """
        passes, confusion = [], None
        for draw in draws:
            outputs, latency = self.model(images, draw._replace(part=(self.ranks.number, self.ranks.count)))
            loss, scalars = self._loss(outputs, labels, latency, with_latency=with_latency)
            self.fabric.backward(loss)
            passes.append(scalars)
            if confusion is None or (draw.mode is None and draw.architecture == self.timed):
                found = predicted_labels(outputs[-1].detach())
                confusion = confusion_counts(found, labels_at(labels, found.shape[1:]), self.num_classes)
        scalars = torch.stack(passes)
        return Backward(scalar_names(scalars.shape[1] - 2), scalars, confusion)

    def _loss(self, outputs: Sequence[Tensor], labels: Tensor, latency: Tensor, *, with_latency: bool) -> tuple[Tensor, Tensor]:
        """Sum of the losses of some outputs [N, K, H, W], with the latency term; and the scalars of the pass, float64 [2 + T].

        With several processes both are this one's part: its pixels over those of all, and its share of the latency, which is the
        same on all of them, or the mean over equally many images.
        """
        terms = [self.loss(output, labels_at(labels, output.shape[2:])) for output in outputs]
        entropy = terms[0] if len(terms) == 1 else torch.stack(terms).sum()
        latency = latency if not self.ranks.are_several else latency / self.ranks.count
        loss = entropy + self.control.weighted(latency if with_latency else torch.zeros_like(latency))
        return loss, torch.cat([torch.stack([loss.double(), entropy.double()]), latency.double()]).detach()
