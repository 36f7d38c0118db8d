"""Cross-entropy against a loop over pixels."""

import math

import numpy as np
import pytest
import torch

from nas.losses import cross_entropy


def batch(seed: int = 0, *, void_share: float = 0.3, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 4, 5, 6, generator=generator, dtype=dtype)
    label = torch.randint(4, (2, 5, 6), generator=generator)
    label[torch.rand(label.shape, generator=generator) < void_share] = 255
    return logits, label


@pytest.mark.parametrize("seed", range(3))
def test_cross_entropy_is_the_mean_over_valid_pixels(seed: int) -> None:
    logits, label = batch(seed)
    losses = []
    for n, row, column in np.ndindex(*label.shape):
        truth = int(label[n, row, column])
        if truth != 255:
            scores = [math.exp(score) for score in logits[n, :, row, column].tolist()]
            losses.append(-math.log(scores[truth] / sum(scores)))
    assert float(cross_entropy(logits, label)) == pytest.approx(sum(losses) / len(losses), rel=1e-12)


def test_cross_entropy_passes_gradcheck() -> None:
    logits, label = batch()
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, label), (logits.requires_grad_(),))


def test_void_pixels_neither_count_nor_get_a_gradient() -> None:
    logits, label = batch()
    logits.requires_grad_()
    cross_entropy(logits, label).backward()
    touched = logits.grad.abs().sum(dim=1) > 0
    assert torch.equal(touched, label != 255)
    more = torch.cat([label, torch.full_like(label, 255)])
    torch.testing.assert_close(cross_entropy(torch.cat([logits, logits + 1]), more), cross_entropy(logits, label))


def test_half_precision_logits_are_summed_in_single_precision() -> None:
    logits = torch.zeros(1, 4, 400, 400, dtype=torch.bfloat16)
    loss = cross_entropy(logits, torch.zeros(1, 400, 400, dtype=torch.int64))
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(math.log(4), rel=1e-5)


WEIGHTS = torch.tensor([0.0, 0.5, 2.0, 7.0], dtype=torch.float64)


def test_weighted_cross_entropy_is_the_weighted_mean_over_a_loop_of_pixels() -> None:
    logits, label = batch(4)
    total, weight = 0.0, 0.0
    for n, row, column in np.ndindex(*label.shape):
        truth = int(label[n, row, column])
        if truth != 255:
            scores = [math.exp(score) for score in logits[n, :, row, column].tolist()]
            total -= float(WEIGHTS[truth]) * math.log(scores[truth] / sum(scores))
            weight += float(WEIGHTS[truth])
    assert float(cross_entropy(logits, label, weights=WEIGHTS)) == pytest.approx(total / weight, rel=1e-12)


def test_weighted_cross_entropy_is_that_of_pytorch() -> None:
    logits, label = batch(5)
    expected = torch.nn.functional.cross_entropy(logits, label, weight=WEIGHTS, ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, label, weights=WEIGHTS), expected)


def test_label_255_counts_where_another_label_is_ignored() -> None:
    logits = torch.randn(3, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    label = torch.tensor([255, 7, 255])
    expected = -torch.log_softmax(logits, dim=1)[torch.arange(3), label].mean()
    torch.testing.assert_close(cross_entropy(logits, label, ignore_index=-1), expected)
