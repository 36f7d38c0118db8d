"""Metrics of a segmentation, all of them functions of one confusion matrix.

Notation: K classes; `matrix[i, j]` counts the pixels of true class i that were predicted as class j. For class i,
TP = matrix[i, i], truth T = row sum, predicted P = column sum.

Convention, the same for every metric by class: a class with neither truth nor prediction (T = P = 0) is NaN, and means
leave it out. Any other class counts, with 0 where its ratio would be 0/0 (a class that is predicted but never true has
recall 0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from nas.data.dataset import IGNORE_INDEX
from nas.errors import DataError


class ClassSummary(TypedDict):
    """Metrics of one class; None where the class has neither truth nor prediction."""

    iou: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    truth_pixels: int
    predicted_pixels: int


class Summary(TypedDict):
    """All metrics as plain Python; None where no pixel counts."""

    miou: float | None
    pixel_accuracy: float | None
    mean_accuracy: float | None
    frequency_weighted_iou: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    pixels: int
    classes: dict[str, ClassSummary]


def confusion_matrix(prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Count how often each true class was predicted as each class, on the device of the inputs.

    Args:
        prediction: Predicted class ids, any integer type and shape.
        label: True class ids or `ignore_index`, of the same shape.
        num_classes: K.
        ignore_index: Label of pixels that do not count.

    Returns:
        int64 [K, K]; rows are the truth, columns the prediction.

    Raises:
        DataError: If a label is neither in 0..K-1 nor `ignore_index`.
        ValueError: If the shapes differ, or a prediction that counts is not in 0..K-1.

    >>> confusion_matrix(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 255]), 2)
    tensor([[1, 1],
            [0, 1]])
    """
    if prediction.shape != label.shape:
        raise ValueError(f"got prediction {list(prediction.shape)} and label {list(label.shape)}, expected one shape")
    valid = label != ignore_index
    truth, predicted = label[valid].long(), prediction[valid].long()
    unknown = _outside(truth, num_classes)
    if unknown:
        raise DataError(
            f"labels: got the class ids {unknown}, expected 0 to {num_classes - 1}, or {ignore_index} for void; "
            "correct the label files, or choose the data set that they belong to"
        )
    unknown = _outside(predicted, num_classes)
    if unknown:
        raise ValueError(f"prediction: got the class ids {unknown}, expected 0 to {num_classes - 1}")
    counts = torch.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def confusion_counts(prediction: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """As `confusion_matrix`, without a look at the ids, hence without a copy to the host: for training steps.

    Pixels whose label or prediction is no class do not count. A loss refuses labels that are neither class nor void; predictions
    are argmaxima of the classes.

    Args:
        prediction: Predicted class ids, any integer type and shape.
        label: True class ids, of the same shape.
        num_classes: K.

    Returns:
        int64 [K, K]; rows are the truth, columns the prediction.

    >>> confusion_counts(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 255]), 2)
    tensor([[1, 1],
            [0, 1]])
    """
    truth, predicted = label.long().flatten(), prediction.long().flatten()
    counted = (truth >= 0) & (truth < num_classes) & (predicted >= 0) & (predicted < num_classes)
    place = torch.where(counted, truth * num_classes + predicted, num_classes**2)
    counts = torch.zeros(num_classes**2 + 1, dtype=torch.int64, device=label.device)
    return counts.scatter_add_(0, place, torch.ones_like(place))[:-1].reshape(num_classes, num_classes)


def normalised_confusion_matrix(matrix: Tensor) -> Tensor:
    """Each entry over the number of pixels predicted as its column's class; NaN where a class was never predicted.

    Args:
        matrix: Confusion matrix [K, K].

    Returns:
        float64 [K, K].
    """
    return matrix.double() / matrix.sum(dim=0).double()


def pixel_accuracy(matrix: Tensor) -> Tensor:
    """Share of pixels that were classified correctly: sum TP / sum T; NaN for an empty matrix [K, K]."""
    return matrix.diagonal().sum().double() / matrix.sum().double()


def class_iou(matrix: Tensor) -> Tensor:
    """Intersection over union of each class: TP / (T + P - TP).

    Args:
        matrix: Confusion matrix [K, K].

    Returns:
        float64 [K]; NaN for classes with neither truth nor prediction.
    """
    correct, truth, predicted = _counts(matrix)
    return correct / (truth + predicted - correct)


def class_precision(matrix: Tensor) -> Tensor:
    """Share of the pixels predicted as each class that are of it: TP / P, [K, K] -> float64 [K]."""
    correct, truth, predicted = _counts(matrix)
    return _ratio(correct, predicted, present=truth + predicted > 0)


def class_recall(matrix: Tensor) -> Tensor:
    """Share of the pixels of each class that were predicted as it: TP / T, [K, K] -> float64 [K]."""
    correct, truth, predicted = _counts(matrix)
    return _ratio(correct, truth, present=truth + predicted > 0)


def class_f1(matrix: Tensor) -> Tensor:
    """Harmonic mean of precision and recall of each class: 2 TP / (T + P), [K, K] -> float64 [K]."""
    correct, truth, predicted = _counts(matrix)
    return 2 * correct / (truth + predicted)


def mean_iou(matrix: Tensor) -> Tensor:
    """Mean of `class_iou` over the classes that occur: mIoU; NaN for an empty matrix [K, K].

    >>> mean_iou(torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]]))
    tensor(0.7083, dtype=torch.float64)
    """
    return class_iou(matrix).nanmean()


def mean_accuracy(matrix: Tensor) -> Tensor:
    """Mean of `class_recall` over the classes that occur; NaN for an empty matrix [K, K]."""
    return class_recall(matrix).nanmean()


def frequency_weighted_iou(matrix: Tensor) -> Tensor:
    """Mean of `class_iou`, each class weighted by its share of the true pixels; NaN for an empty matrix [K, K]."""
    share = matrix.sum(dim=1).double() / matrix.sum().double()
    # A class without truth weighs nothing; where it was not predicted either, its IoU is NaN.
    return torch.where(share == 0, 0.0, share * class_iou(matrix)).sum()


def summarise(matrix: Tensor, class_names: Sequence[str]) -> Summary:
    """All metrics of a confusion matrix as plain Python that JSON can hold.

    Args:
        matrix: Confusion matrix [K, K].
        class_names: K distinct names.

    Returns:
        Means over classes (`precision`, `recall`, `f1` are macro averages) and, under `classes`, a dict for each name.

    Raises:
        ValueError: If the names are not K distinct ones.
    """
    if list(matrix.shape) != [len(class_names)] * 2 or len(set(class_names)) != len(class_names):
        raise ValueError(f"got a matrix {list(matrix.shape)} and the class names {list(class_names)}, expected K distinct")
    matrix = matrix.cpu()
    by_class = {
        "iou": class_iou(matrix).tolist(),
        "precision": class_precision(matrix).tolist(),
        "recall": class_recall(matrix).tolist(),
        "f1": class_f1(matrix).tolist(),
    }
    truth, predicted = matrix.sum(dim=1).tolist(), matrix.sum(dim=0).tolist()
    classes = {
        name: ClassSummary(
            iou=_plain(by_class["iou"][i]),
            precision=_plain(by_class["precision"][i]),
            recall=_plain(by_class["recall"][i]),
            f1=_plain(by_class["f1"][i]),
            truth_pixels=truth[i],
            predicted_pixels=predicted[i],
        )
        for i, name in enumerate(class_names)
    }
    return Summary(
        miou=_plain(mean_iou(matrix)),
        pixel_accuracy=_plain(pixel_accuracy(matrix)),
        mean_accuracy=_plain(mean_accuracy(matrix)),
        frequency_weighted_iou=_plain(frequency_weighted_iou(matrix)),
        precision=_plain(class_precision(matrix).nanmean()),
        recall=_plain(class_recall(matrix).nanmean()),
        f1=_plain(class_f1(matrix).nanmean()),
        pixels=sum(truth),
        classes=classes,
    )


def _counts(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """TP, T and P of each class, float64 [K] each: exact up to 2^53 pixels."""
    return matrix.diagonal().double(), matrix.sum(dim=1).double(), matrix.sum(dim=0).double()


def _ratio(part: Tensor, whole: Tensor, *, present: Tensor) -> Tensor:
    """Divide, with 0/0 = 0 for classes that are present and NaN for those that are not."""
    return torch.where(present, part / whole.clamp(min=1), torch.nan)


def _outside(ids: Tensor, num_classes: int) -> list[int]:
    """The distinct ids that are no class."""
    if not ids.numel():
        return []
    low, high = torch.stack(ids.aminmax()).tolist()
    if low >= 0 and high < num_classes:
        return []
    return sorted(set(ids[(ids < 0) | (ids >= num_classes)].tolist()))


def _plain(value: Tensor | float) -> float | None:
    """A float, or None for NaN."""
    number = float(value)
    return None if math.isnan(number) else number
