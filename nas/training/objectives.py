"""Objectives of a training, and their metrics: labels of pixels, or classes of whole images."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from nas.config.train_settings import TrainSettings
from nas.data.batches.image_batches import eval_loader
from nas.data.batches.loader import BatchPart
from nas.data.dataset import IGNORE_INDEX, SegmentationDataset
from nas.data.image_folder import ImageFolder
from nas.distributed.ranks import ALONE, Ranks
from nas.errors import ConfigError
from nas.losses import LOSSES, cross_entropy, loss_of
from nas.losses.batch_shares import batch_shares
from nas.losses.class_weights import inverse_log_share
from nas.metrics import confusion_counts, mean_iou
from nas.ops.modules import predicted_labels
from nas.training.confusion import confusion_over
from nas.training.non_finite import FiniteCheck

log = logging.getLogger("nas")

Forward = Callable[[Tensor], Tensor]
"""Images [N, 3, H, W] -> logits."""

NO_IGNORE = -1
"""Ignored label where every image has a class: 255 is one of ImageNet's."""


class Objective(Protocol):
    """Loss and metrics of one kind of labels."""

    score_name: str

    def loss(self, logits: Tensor, labels: Tensor, /) -> Tensor:
        """Scalar loss of a batch, or this process's part of it."""

    def shares(self, labels: tuple[Tensor, ...]) -> Tensor:
        """Share of each of several batches in their common loss, [B]."""

    def batch_scores(self, logits: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        """Scalars of a training batch by name, and its confusion matrix if labels are pixels."""

    def validate(self, forward: Forward, *, fabric: Fabric, batch_size: int) -> dict[str, float]:
        """Metrics on the validation split; `score_name` is the one by which the best network is kept."""


class Segmentation:
    """Each pixel has a class or none.

    Args:
        settings: Loss and class weights.
        train_set: Training split, for weights by frequency.
        val_set: Validation split.
        device: Where the class weights lie.
        ranks: Processes that share batches and the validation split.
    """

    score_name = "miou"

    def __init__(
        self,
        settings: TrainSettings,
        train_set: SegmentationDataset,
        val_set: SegmentationDataset,
        device: torch.device,
        *,
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        self.val_set, self.num_classes = val_set, len(train_set.classes)
        weights = class_weights(settings.class_weights, train_set.classes, lambda: count_pixels(train_set))
        self.weights = None if weights is None else weights.to(device)
        loss = loss_of(loss_name(settings), ranks)
        self.loss = loss if self.weights is None else partial(loss, weights=self.weights)

    def shares(self, labels: tuple[Tensor, ...]) -> Tensor:
        """By the weight of the pixels that have a class."""
        return batch_shares(labels, self.weights, ranks=self.ranks)

    def batch_scores(self, logits: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        """The confusion matrix."""
        return {}, confusion_counts(predicted_labels(logits), labels, self.num_classes)

    def validate(self, forward: Forward, *, fabric: Fabric, batch_size: int) -> dict[str, float]:
        """MIoU."""
        counts = confusion_over(forward, self.val_set, fabric=fabric, batch_size=batch_size, ranks=self.ranks)
        return {"miou": float(mean_iou(self.ranks.sum(counts)))}


class Classification:
    """Each image has a class. Top-5 is measured where there are more than five classes.

    Args:
        settings: Class weights.
        train_set: Training split, for weights by frequency.
        val_set: Validation split.
        device: Where the class weights lie.
        ranks: Processes that share batches and the validation split.
    """

    score_name = "top1"

    def __init__(
        self,
        settings: TrainSettings,
        train_set: ImageFolder,
        val_set: ImageFolder,
        device: torch.device,
        *,
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        self.val_set = val_set
        counts = partial(np.bincount, train_set.labels, minlength=len(train_set.classes))
        weights = class_weights(settings.class_weights, train_set.classes, lambda: torch.from_numpy(counts()))
        self.weights = None if weights is None else weights.to(device)
        self.tops = {"top1": 1, "top5": 5} if len(train_set.classes) > 5 else {"top1": 1}

    def loss(self, logits: Tensor, labels: Tensor, /) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(logits, labels, weights=self.weights, ignore_index=NO_IGNORE, ranks=self.ranks)

    def shares(self, labels: tuple[Tensor, ...]) -> Tensor:
        """By the weight of the images."""
        return batch_shares(labels, self.weights, ignore_index=NO_IGNORE, ranks=self.ranks)

    def batch_scores(self, logits: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        """Top-1 and top-5 accuracy."""
        return {name: hits(logits, labels, rank).float().mean() for name, rank in self.tops.items()}, None

    @torch.no_grad()
    def validate(self, forward: Forward, *, fabric: Fabric, batch_size: int) -> dict[str, float]:
        """Top-1 and top-5 accuracy."""
        found = {name: torch.zeros((), dtype=torch.int64, device=fabric.device) for name in self.tops}
        finite = FiniteCheck(fabric.device)
        for images, labels in eval_loader(self.val_set, batch_size=batch_size, part=BatchPart(self.ranks.number, self.ranks.count)):
            logits, labels = finite.see(forward(fabric.to_device(images))), fabric.to_device(labels)
            for name, rank in self.tops.items():
                found[name] += hits(logits, labels, rank).sum()
        finite.require("the validation images", ranks=self.ranks)
        return {name: int(self.ranks.sum(count)) / len(self.val_set) for name, count in found.items()}


def hits(logits: Tensor, labels: Tensor, rank: int) -> Tensor:
    """Whether the true class is among the `rank` classes of largest logit: [N, K], int64 [N] -> bool [N]."""
    return (logits.topk(rank, dim=1).indices == labels[:, None]).any(dim=1)


def loss_name(settings: TrainSettings) -> str:
    """The loss by name.

    Raises:
        ConfigError: If there is none of that name, or it is not one of whole images.
    """
    images = settings.task == "classification"
    name = settings.loss or ("cross_entropy" if images else "ohem")
    if name not in LOSSES:
        raise ConfigError(f"train.loss: got {name!r}, expected one of {', '.join(LOSSES)}")
    if images and name != "cross_entropy":
        raise ConfigError(f"train.loss: got {name} with train.task=classification, expected cross_entropy; {name} picks pixels")
    return name


def class_weights(setting: Any, classes: tuple[str, ...], count: Callable[[], Tensor]) -> Tensor | None:
    """The weights of the classes [K], float32; None: all the same.

    Args:
        setting: None, a list, or auto.
        classes: Their names.
        count: Counts the training labels of each class [K]; called for auto alone.

    Raises:
        ConfigError: If the list has another length than there are classes.
    """
    if setting is None:
        return None
    if setting == "auto":
        weights = inverse_log_share(count())
        log.info(
            "class weights: %s", ", ".join(f"{name} {value:.3g}" for name, value in zip(classes, weights.tolist(), strict=True))
        )
        return weights
    if len(setting) != len(classes):
        raise ConfigError(
            f"train.class_weights: got {len(setting)} weights, expected {len(classes)}, one for each of {', '.join(classes)}"
        )
    return torch.tensor(setting, dtype=torch.float32)


def count_pixels(dataset: SegmentationDataset) -> Tensor:
    """Number of pixels of each class in a split, int64 [K]; every label is read once."""
    counts = np.zeros(IGNORE_INDEX + 1, dtype=np.int64)
    for index in range(len(dataset)):
        counts += np.bincount(dataset.load(index)[1].ravel(), minlength=len(counts))
    return torch.from_numpy(counts[: len(dataset.classes)])
