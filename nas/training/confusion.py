"""Confusion matrices of a network over a data set, at the size of its images or of its label files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from nas.data.batches.loader import BatchPart, eval_loader
from nas.data.dataset import SegmentationDataset
from nas.distributed.ranks import ALONE, Ranks
from nas.metrics import confusion_matrix
from nas.network.predicted_ids import predict_ids
from nas.ops.modules import predicted_labels
from nas.training.non_finite import FiniteCheck


def confusion_over(
    forward: Callable[[Tensor], Tensor],
    dataset: SegmentationDataset,
    *,
    fabric: Fabric,
    batch_size: int,
    table: NDArray[np.int64] | None = None,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Confusion matrix [K, K] of a network over a whole split, counted on the device; `table`: what its classes count as.

    `ranks`: over the batches of this one of several processes alone.

    Raises:
        NonFiniteLossError: If an output is not finite: its largest class means nothing.
    """
    part, finite = BatchPart(ranks.number, ranks.count), FiniteCheck(fabric.device)
    num_classes = len(dataset.classes)
    matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=fabric.device)
    counted_as = None if table is None else fabric.to_device(torch.from_numpy(table))
    with torch.no_grad():
        for images, labels in eval_loader(dataset, batch_size=batch_size, part=part):
            predicted = predicted_labels(finite.see(forward(fabric.to_device(images))))
            predicted = predicted if counted_as is None else counted_as[predicted]
            matrix += confusion_matrix(predicted, fabric.to_device(labels), num_classes)
    finite.require(f"the images of split {dataset.split}", ranks=ranks)
    return matrix


def confusion_at_full_resolution(
    forward: Callable[[Tensor], Tensor], dataset: SegmentationDataset, *, fabric: Fabric, table: NDArray[np.int64] | None = None
) -> Tensor:
    """Confusion matrix [K, K] on the CPU, predictions resized to the size of the label files, pixel by nearest pixel.

    `table` is what the network's classes count as.
    """
    num_classes = len(dataset.classes)
    matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for index in range(len(dataset)):
        truth = dataset.truth(index)
        height, width = truth.shape
        prediction = predict_ids(forward, dataset.load(index)[0], (height, width), fabric=fabric).astype(np.int64)
        prediction = prediction if table is None else table[prediction]
        matrix += confusion_matrix(torch.from_numpy(prediction), torch.from_numpy(truth.copy()), num_classes)
    return matrix
