"""Metrics against loops and scikit-learn."""

import json
import math
from functools import partial

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas import metrics
from nas.errors import DataError


def random_maps(seed: int, num_classes: int, *, void_share: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(num_classes, (2, 9, 11), generator=generator)
    noise = torch.randint(num_classes, label.shape, generator=generator)
    prediction = torch.where(torch.rand(label.shape, generator=generator) < 0.6, label, noise)
    label[torch.rand(label.shape, generator=generator) < void_share] = 255
    return prediction, label


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_confusion_matrix_equals_a_loop_over_pixels(dtype: torch.dtype) -> None:
    prediction, label = random_maps(0, 5)
    want = np.zeros((5, 5), dtype=np.int64)
    for predicted, truth in zip(prediction.flatten().tolist(), label.flatten().tolist(), strict=True):
        if truth != 255:
            want[truth, predicted] += 1
    matrix = metrics.confusion_matrix(prediction.to(dtype), label.to(dtype), 5)
    assert matrix.dtype == torch.int64
    assert matrix.tolist() == want.tolist()


def test_confusion_matrix_equals_scikit_learn() -> None:
    prediction, label = random_maps(1, 4, void_share=0.0)
    want = sklearn.metrics.confusion_matrix(label.flatten(), prediction.flatten(), labels=range(4))
    assert metrics.confusion_matrix(prediction, label, 4).tolist() == want.tolist()


def test_confusion_matrices_of_parts_add_up_to_that_of_the_whole() -> None:
    prediction, label = random_maps(2, 6)
    parts = [metrics.confusion_matrix(prediction[i], label[i], 6) for i in range(2)]
    assert torch.equal(parts[0] + parts[1], metrics.confusion_matrix(prediction, label, 6))


def test_confusion_matrix_of_void_alone_is_zero() -> None:
    label = torch.full((3, 3), 255)
    assert not metrics.confusion_matrix(torch.zeros(3, 3, dtype=torch.int64), label, 3).any()


def test_confusion_matrix_takes_another_ignored_id() -> None:
    matrix = metrics.confusion_matrix(torch.tensor([0, 1]), torch.tensor([-1, 1]), 2, ignore_index=-1)
    assert matrix.tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("unknown", [-1, 3, 11, 254])
def test_confusion_matrix_refuses_unknown_labels_and_names_them(unknown: int) -> None:
    with pytest.raises(DataError, match=rf"class ids \[{unknown}\], expected 0 to 2, or 255"):
        metrics.confusion_matrix(torch.tensor([0, 1]), torch.tensor([unknown, 1]), 3)


def test_confusion_matrix_refuses_predictions_that_are_no_class() -> None:
    with pytest.raises(ValueError, match=r"prediction: got the class ids \[3\]"):
        metrics.confusion_matrix(torch.tensor([3, 1]), torch.tensor([0, 1]), 3)


def test_confusion_matrix_does_not_look_at_predictions_of_void_pixels() -> None:
    assert metrics.confusion_matrix(torch.tensor([99, 1]), torch.tensor([255, 1]), 2).sum() == 1


def test_confusion_matrix_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="one shape"):
        metrics.confusion_matrix(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64), 2)


SKLEARN = {
    "class_iou": partial(sklearn.metrics.jaccard_score, average=None),
    "class_precision": partial(sklearn.metrics.precision_score, average=None),
    "class_recall": partial(sklearn.metrics.recall_score, average=None),
    "class_f1": partial(sklearn.metrics.f1_score, average=None),
    "mean_iou": partial(sklearn.metrics.jaccard_score, average="macro"),
    "mean_accuracy": sklearn.metrics.balanced_accuracy_score,
    "pixel_accuracy": sklearn.metrics.accuracy_score,
    "frequency_weighted_iou": partial(sklearn.metrics.jaccard_score, average="weighted"),
}


@pytest.mark.parametrize("name", SKLEARN)
@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_scikit_learn_when_every_class_occurs(name: str, seed: int) -> None:
    prediction, label = random_maps(seed, 5)
    valid = label != 255
    want = SKLEARN[name](label[valid].numpy(), prediction[valid].numpy())
    got = getattr(metrics, name)(metrics.confusion_matrix(prediction, label, 5))
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)


MEANS = {
    "miou": partial(sklearn.metrics.jaccard_score, average="macro"),
    "frequency_weighted_iou": partial(sklearn.metrics.jaccard_score, average="weighted"),
    "precision": partial(sklearn.metrics.precision_score, average="macro"),
    "recall": partial(sklearn.metrics.recall_score, average="macro"),
    "f1": partial(sklearn.metrics.f1_score, average="macro"),
    "pixel_accuracy": partial(sklearn.metrics.recall_score, average="micro"),
    "mean_accuracy": partial(sklearn.metrics.recall_score, average="macro"),
}
"""Over the classes that occur in the truth or in the prediction; undefined precision and recall are 0."""


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("absent", ["none", "both", "truth", "prediction"])
def test_means_equal_scikit_learn_also_where_a_class_is_absent(name: str, absent: str) -> None:
    prediction, label = random_maps(3, 5)
    if absent in {"both", "truth"}:
        label[label == 2] = 0
    if absent in {"both", "prediction"}:
        prediction[prediction == 2] = 1
    valid = label != 255
    want = MEANS[name](label[valid].numpy(), prediction[valid].numpy(), zero_division=0)
    summary = metrics.summarise(metrics.confusion_matrix(prediction, label, 5), list("abcde"))
    assert summary[name] == pytest.approx(want, rel=1e-12)  # type: ignore[literal-required]


def test_class_without_truth_and_prediction_is_nan_and_left_out_of_means() -> None:
    matrix = torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    for by_class in (metrics.class_iou, metrics.class_precision, metrics.class_recall, metrics.class_f1):
        assert by_class(matrix).isnan().tolist() == [False, False, True]
    assert float(metrics.mean_iou(matrix)) == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert float(metrics.mean_accuracy(matrix)) == pytest.approx((3 / 4 + 1) / 2)
    assert float(metrics.frequency_weighted_iou(matrix)) == pytest.approx(4 / 6 * 3 / 4 + 2 / 6 * 2 / 3)


def test_class_that_is_predicted_but_never_true_counts_as_zero() -> None:
    matrix = torch.tensor([[3, 1], [0, 0]])
    for by_class in (metrics.class_iou, metrics.class_precision, metrics.class_recall, metrics.class_f1):
        assert by_class(matrix)[1] == 0
    assert float(metrics.mean_iou(matrix)) == pytest.approx(3 / 8)


def test_class_that_is_true_but_never_predicted_counts_as_zero() -> None:
    matrix = torch.tensor([[3, 0], [2, 0]])
    for by_class in (metrics.class_iou, metrics.class_precision, metrics.class_recall, metrics.class_f1):
        assert by_class(matrix)[1] == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=16, max_size=16))
def test_metrics_of_any_matrix_obey_their_identities(counts: list[int]) -> None:
    matrix = torch.tensor(counts).reshape(4, 4)
    iou, f1 = metrics.class_iou(matrix), metrics.class_f1(matrix)
    precision, recall = metrics.class_precision(matrix), metrics.class_recall(matrix)
    torch.testing.assert_close(iou, f1 / (2 - f1), equal_nan=True)
    harmonic = torch.where(precision + recall == 0, 0.0, 2 * precision * recall / (precision + recall))
    torch.testing.assert_close(f1, harmonic, equal_nan=True)
    assert torch.equal(iou.isnan(), matrix.sum(dim=0) + matrix.sum(dim=1) == 0)


def test_normalised_matrix_has_columns_that_sum_to_one_or_are_nan() -> None:
    columns = metrics.normalised_confusion_matrix(torch.tensor([[3, 0, 1], [1, 0, 1], [0, 0, 6]])).sum(dim=0)
    assert columns[[0, 2]].tolist() == [1.0, 1.0]
    assert columns[1].isnan()


def test_summary_is_plain_json_with_null_for_what_is_undefined() -> None:
    summary = metrics.summarise(torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), ["a", "b", "c"])
    again = json.loads(json.dumps(summary, allow_nan=False))
    assert again == summary
    assert again["pixels"] == 6
    assert again["classes"]["a"] == {
        "iou": 0.75,
        "precision": 1.0,
        "recall": 0.75,
        "f1": pytest.approx(6 / 7),
        "truth_pixels": 4,
        "predicted_pixels": 3,
    }
    assert again["classes"]["c"] == {
        "iou": None, "precision": None, "recall": None, "f1": None, "truth_pixels": 0, "predicted_pixels": 0,
    }  # fmt: skip


def test_summary_of_no_pixel_has_no_metric() -> None:
    summary = metrics.summarise(torch.zeros(2, 2, dtype=torch.int64), ["a", "b"])
    assert {key: value for key, value in summary.items() if key not in {"classes", "pixels"}} == dict.fromkeys(
        ["miou", "pixel_accuracy", "mean_accuracy", "precision", "recall", "f1", "frequency_weighted_iou"]
    )


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", "b", "c"]])
def test_summary_refuses_names_that_do_not_fit(names: list[str]) -> None:
    with pytest.raises(ValueError, match="expected K distinct"):
        metrics.summarise(torch.eye(2, dtype=torch.int64), names)


def test_empty_matrix_has_nan_means() -> None:
    empty = torch.zeros(3, 3, dtype=torch.int64)
    for mean in (metrics.mean_iou, metrics.mean_accuracy, metrics.pixel_accuracy, metrics.frequency_weighted_iou):
        assert math.isnan(float(mean(empty)))
