"""The divergence from a teacher against a loop over pixels, PyTorch's own, and what the temperature is to do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nas.losses.batch_shares import batch_shares
from nas.losses.distillation import distillation


def batch(seed: int = 0, *, void_share: float = 0.3) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a student and a teacher, and labels."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = 3 * torch.randn(2, 2, 4, 5, 6, generator=generator, dtype=torch.float64)
    label = torch.randint(4, (2, 5, 6), generator=generator)
    label[torch.rand(label.shape, generator=generator) < void_share] = 255
    return student, teacher, label


def softened(scores: Tensor, temperature: float) -> list[float]:
    """Probabilities of the classes of a pixel."""
    powers = [math.exp(score / temperature) for score in scores.tolist()]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("divide", [False, True])
def test_distillation_is_the_mean_divergence_of_the_valid_pixels_times_the_squared_temperature(
    temperature: float, divide: bool
) -> None:
    student, teacher, label = batch()
    divergences = []
    for n, row, column in np.ndindex(*label.shape):
        if int(label[n, row, column]) != 255:
            wanted, got = (softened(logits[n, :, row, column], temperature) for logits in (teacher, student))
            divergences.append(sum(p * math.log(p / q) for p, q in zip(wanted, got, strict=True)))
    expected = temperature**2 * sum(divergences) / len(divergences) / (4 if divide else 1)
    loss = distillation(student, teacher, label, temperature=temperature, divide_by_classes=divide)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_divided_by_classes_it_is_the_mean_of_pytorch_where_nothing_is_ignored() -> None:
    student, teacher, label = batch(void_share=0.0)
    wanted, got = teacher.softmax(dim=1), student.log_softmax(dim=1)
    official = functional.kl_div(got, wanted, reduction="none").mean()
    torch.testing.assert_close(distillation(student, teacher, label, temperature=1.0, divide_by_classes=True), official)
    torch.testing.assert_close(distillation(student, teacher, label, temperature=1.0, divide_by_classes=False), 4 * official)


def test_its_gradient_is_the_difference_of_the_probabilities_times_the_temperature() -> None:
    student, teacher, label = batch()
    student.requires_grad_()
    teacher.requires_grad_()
    distillation(student, teacher, label, temperature=2.5, divide_by_classes=False).backward()
    difference = (student / 2.5).softmax(dim=1) - (teacher / 2.5).softmax(dim=1)
    valid = label != 255
    torch.testing.assert_close(student.grad, torch.where(valid[:, None], 2.5 * difference / valid.sum(), 0.0).detach())
    assert teacher.grad is None


def test_at_high_temperatures_the_gradient_no_longer_depends_on_it() -> None:
    student, teacher, label = batch(void_share=0.0)
    centred = [logits - logits.mean(dim=1, keepdim=True) for logits in (student, teacher)]
    limit = (centred[0] - centred[1]) / (4 * label.numel())  # Hinton et al., equation 4: the match of the logits
    for temperature in (1e3, 1e4):
        leaf = student.clone().requires_grad_()
        distillation(leaf, teacher, label, temperature=temperature, divide_by_classes=False).backward()
        torch.testing.assert_close(leaf.grad, limit, rtol=0, atol=20 / temperature / label.numel())


def test_it_passes_gradcheck() -> None:
    student, teacher, label = batch()

    def loss(logits: Tensor) -> Tensor:
        return distillation(logits, teacher, label, temperature=2.0, divide_by_classes=True)

    assert torch.autograd.gradcheck(loss, (student.requires_grad_(),))


def test_it_is_zero_for_a_student_that_agrees_with_the_teacher_up_to_a_shift_and_positive_otherwise() -> None:
    student, teacher, label = batch()
    assert float(distillation(teacher + 7, teacher, label)) == pytest.approx(0, abs=1e-12)
    assert float(distillation(student, teacher, label)) > 0.1
    assert float(distillation(teacher, student, label)) != pytest.approx(float(distillation(student, teacher, label)), rel=1e-3)


def test_ignored_pixels_neither_count_nor_get_a_gradient() -> None:
    student, teacher, label = batch()
    expected = distillation(student, teacher, label)
    ignored = (label == 255)[:, None]
    changed = torch.where(ignored, student + torch.arange(4.0)[:, None, None], student).requires_grad_()
    loss = distillation(changed, torch.where(ignored, 2 * teacher, teacher), label)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert torch.equal(changed.grad.abs().sum(dim=1) > 0, label != 255)


@pytest.mark.parametrize("divide", [False, True])
def test_a_batch_without_a_valid_pixel_gives_zero_with_zero_gradients(divide: bool) -> None:
    student, teacher, label = batch()
    student.requires_grad_()
    loss = distillation(student, teacher, torch.full_like(label, 255), temperature=2.0, divide_by_classes=divide)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not student.grad.any()


def test_probabilities_that_underflow_give_a_finite_loss_and_gradient() -> None:
    student, teacher = torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
    student[0, 0], teacher[0, 1] = 300.0, 300.0
    assert float(student.softmax(dim=1).log().min()) == -math.inf
    student.requires_grad_()
    loss = distillation(student, teacher, torch.zeros(1, 1, 1, dtype=torch.int64))
    loss.backward()
    assert float(loss.detach()) == 300.0
    assert student.grad.flatten().tolist() == [1.0, -1.0]


def test_half_precision_logits_are_summed_in_single_precision() -> None:
    student = torch.zeros(1, 2, 400, 400, dtype=torch.bfloat16)
    teacher = torch.tensor([0.0, 2.0], dtype=torch.bfloat16)[None, :, None, None].expand_as(student)
    loss = distillation(student, teacher, torch.zeros(1, 400, 400, dtype=torch.int64))
    p = 1 / (1 + math.exp(-2))
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)), rel=1e-5)


def test_weighted_by_the_shares_of_valid_pixels_parts_add_up_to_the_whole() -> None:
    student, teacher, label = batch()
    label[0, :4] = 255
    parts = [distillation(*part) for part in zip(student.chunk(2), teacher.chunk(2), label.chunk(2), strict=True)]
    whole = float(distillation(student, teacher, label))
    assert float((batch_shares(label.chunk(2)) * torch.stack(parts)).sum()) == pytest.approx(whole, rel=1e-6)
    assert float(torch.stack(parts).mean()) != pytest.approx(whole, rel=1e-2)


def test_logits_of_two_shapes_are_refused() -> None:
    student, teacher, label = batch()
    with pytest.raises(
        ValueError, match=r"got logits \[2, 4, 5, 6\] of the student, \[2, 1, 5, 6\] of the teacher, expected one shape"
    ):
        distillation(student, teacher[:, :1], label)
