"""Shares of several batches in one loss."""

import pytest
import torch

from nas.losses import cross_entropy
from nas.losses.batch_shares import batch_shares

WEIGHTS = torch.tensor([0.5, 2.0, 3.0])


def labels() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[[0, 1, 255, 2]]]), torch.tensor([[[255, 255, 2, 255]]])


def test_shares_are_those_of_the_valid_pixels() -> None:
    assert batch_shares(labels()).tolist() == [0.75, 0.25]


def test_shares_are_those_of_the_weights_of_the_valid_pixels() -> None:
    assert batch_shares(labels(), WEIGHTS).tolist() == [pytest.approx(5.5 / 8.5), pytest.approx(3 / 8.5)]


def test_shares_of_nothing_are_zero() -> None:
    assert batch_shares([torch.full((1, 2, 2), 255)] * 2).tolist() == [0.0, 0.0]


def test_the_ignored_label_is_an_argument() -> None:
    assert batch_shares([torch.tensor([255, 3]), torch.tensor([1])], ignore_index=-1).tolist() == [
        pytest.approx(2 / 3),
        pytest.approx(1 / 3),
    ]


@pytest.mark.parametrize("weights", [None, WEIGHTS.double()])
def test_weighted_by_shares_cross_entropy_is_that_of_all_batches_together(weights: torch.Tensor | None) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 5, 6, generator=generator, dtype=torch.float64)
    label = torch.randint(3, (4, 5, 6), generator=generator)
    label[0, :4], label[2:, 1:] = 255, 255
    together = float(cross_entropy(logits, label, weights=weights))
    means = [cross_entropy(x, y, weights=weights) for x, y in zip(logits.chunk(2), label.chunk(2), strict=True)]
    shares = batch_shares(label.chunk(2), weights)
    assert float((shares * torch.stack(means)).sum()) == pytest.approx(together, rel=1e-6)
    assert float(torch.stack(means).mean()) != pytest.approx(together, rel=1e-3)
