"""What every loss of `LOSSES` must do; a new one is tested the moment it is listed."""

import pytest
import torch

from nas.losses import LOSSES

pytestmark = pytest.mark.parametrize("name", LOSSES)


def batch(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 7, 9, generator=generator).to(dtype).requires_grad_()
    label = torch.randint(5, (2, 7, 9), generator=generator)
    label[:, :2] = 255
    return logits, label


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_loss_is_a_finite_scalar_with_gradients_of_the_logits_type(name: str, dtype: torch.dtype) -> None:
    logits, label = batch(dtype)
    loss = LOSSES[name](logits, label)
    loss.backward()
    assert loss.shape == ()
    assert 0 < loss.item() < float("inf")
    assert logits.grad is not None
    assert logits.grad.dtype == dtype
    assert logits.grad.isfinite().all()
    assert not logits.grad[:, :, :2].any()


def test_batch_of_void_gives_zero_with_zero_gradients(name: str) -> None:
    logits, label = batch()
    loss = LOSSES[name](logits, torch.full_like(label, 255))
    assert loss.requires_grad
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_nan_logit_of_a_valid_pixel_is_not_hidden(name: str) -> None:
    logits, label = batch()
    logits.data[1, 2, 5, 5] = float("nan")
    assert LOSSES[name](logits, label).isnan()


def test_logits_of_void_pixels_do_not_matter(name: str) -> None:
    logits, label = batch()
    other = logits.detach().clone()
    other[:, :, :2] = 17.0 * torch.arange(5.0)[None, :, None, None]
    assert torch.equal(LOSSES[name](other, label), LOSSES[name](logits, label))


def test_perfect_prediction_costs_less_than_a_wrong_one(name: str) -> None:
    _, label = batch()
    right = 20.0 * torch.nn.functional.one_hot(label.clamp(max=4), 5).movedim(-1, 1).float()
    assert float(LOSSES[name](right, label)) < 1e-6
    assert float(LOSSES[name](right.flip(1), label)) > 1.0


def test_loss_is_pure(name: str) -> None:
    logits, label = batch()
    kept, label_kept = logits.detach().clone(), label.clone()
    first = LOSSES[name](logits, label)
    assert torch.equal(first, LOSSES[name](logits, label))
    assert torch.equal(logits, kept)
    assert torch.equal(label, label_kept)


def test_extreme_logits_stay_finite(name: str) -> None:
    logits, label = batch()
    loss = LOSSES[name](1e4 * logits, label)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_equal_weights_of_the_classes_change_nothing_and_others_do(name: str) -> None:
    logits, label = batch()
    plain = LOSSES[name](logits, label)
    torch.testing.assert_close(LOSSES[name](logits, label, weights=torch.full((5,), 0.01)), plain)
    assert LOSSES[name](logits, label, weights=torch.tensor([9.0, 1, 1, 1, 1])).item() != pytest.approx(plain.item(), rel=1e-5)


def test_batch_in_which_no_class_of_positive_weight_occurs_gives_zero_with_zero_gradients(name: str) -> None:
    logits, label = batch()
    loss = LOSSES[name](logits, label.clamp(max=3).where(label != 255, 255), weights=torch.tensor([0.0, 0, 0, 0, 1]))
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.gpu
def test_loss_on_cuda_equals_that_on_the_cpu(name: str) -> None:
    logits, label = batch()
    got = LOSSES[name](logits.cuda(), label.cuda())
    assert got.is_cuda
    torch.testing.assert_close(got.cpu(), LOSSES[name](logits, label))
