"""MIoU of a supernet under given weights, with batch-norm statistics of its own."""

from __future__ import annotations

import itertools

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional

from nas.data.batches.loader import eval_loader, train_loader
from nas.data.dataset import SegmentationDataset
from nas.distributed.fabric import ranks_of
from nas.metrics import confusion_matrix, mean_iou
from nas.network.network import Network
from nas.network.norm_statistics import estimated_anew
from nas.ops.modules import predicted_labels
from nas.space.weights import Weights
from nas.training.loop_state import LoopPlan


class SupernetEvaluation:
    """Evaluates a supernet on the validation split.

    Args:
        network: The supernet's network.
        train_set: What batch-norm statistics are estimated on.
        val_set: Validation split.
        plan: Batches of a step.
        recalibrate: Training batches for these statistics; 0: the running ones are used.
        fabric: Devices and precision; its processes share the images.
    """

    def __init__(  # noqa: PLR0913
        self,
        network: Network,
        *,
        train_set: SegmentationDataset,
        val_set: SegmentationDataset,
        plan: LoopPlan,
        recalibrate: int,
        fabric: Fabric,
    ) -> None:
        self.network, self.train_set, self.val_set = network, train_set, val_set
        self.plan, self.recalibrate, self.fabric, self.ranks = plan, recalibrate, fabric, ranks_of(fabric)

    def mious(self, weights: Weights, outputs: tuple[str, ...]) -> dict[str, float]:
        """MIoU of some outputs of the supernet, each resized to the size of the labels."""

        def forward(images: Tensor) -> dict[str, Tensor]:
            return self.network.outputs(images, weights, names=outputs)

        classes, device = len(self.val_set.classes), self.fabric.device
        matrices = {name: torch.zeros(classes, classes, dtype=torch.int64, device=device) for name in outputs}
        with estimated_anew(self.network, forward, self._statistics_batches(), ranks=self.ranks), torch.no_grad():
            for images, labels in eval_loader(self.val_set, batch_size=self.plan.batch_size, part=self.plan.part):
                truth = self.fabric.to_device(labels)
                for name, logits in forward(self.fabric.to_device(images)).items():
                    matrices[name] += confusion_matrix(predicted_labels(_resized(logits, truth)), truth, classes)
        return {name: float(mean_iou(self.ranks.sum(matrix))) for name, matrix in matrices.items()}

    def _statistics_batches(self) -> list[Tensor]:
        """The first batches of the first epoch: the same at every evaluation and after a resume."""
        if not self.recalibrate:
            return []
        plan = self.plan
        loader = train_loader(self.train_set, batch_size=plan.batch_size, crop=plan.crop, seed=plan.seed, epoch=0, part=plan.part)
        return [self.fabric.to_device(images) for images, _ in itertools.islice(loader, self.recalibrate)]


def _resized(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits [N, K, h, w] at the size of labels [N, H, W], bilinear with the corners in place."""
    size = labels.shape[1:]
    return logits if logits.shape[2:] == size else functional.interpolate(logits, size=size, mode="bilinear", align_corners=True)
