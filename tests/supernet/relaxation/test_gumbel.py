"""Gumbel-Softmax: frequencies, limits, gradients, where the noise comes from."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nas.supernet.relaxation import RELAXATIONS
from nas.supernet.relaxation.gumbel import gumbel_noise, gumbel_softmax, softmax, straight_through

LOGITS = torch.tensor([1.0, 0.0, -0.5, 2.0, -2.0])
DRAWS = 100_000


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return gumbel_noise(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["soft", "hard", "sampled"])
@pytest.mark.parametrize("tau", [1.0, 0.3])
def test_argmax_frequencies_are_the_softmax_of_the_logits(name: str, tau: float) -> None:
    z = RELAXATIONS[name](LOGITS, _noise(DRAWS, 5), tau)
    frequencies = torch.bincount(z.argmax(dim=-1), minlength=5) / DRAWS
    exponentials = [math.exp(logit) for logit in LOGITS.tolist()]
    for frequency, exponential in zip(frequencies.tolist(), exponentials, strict=True):
        p = exponential / sum(exponentials)
        assert abs(frequency - p) < 4 * math.sqrt(p * (1 - p) / DRAWS)


def test_noise_has_the_moments_of_a_standard_gumbel() -> None:
    noise = _noise(DRAWS).double()
    variance = math.pi**2 / 6
    assert abs(float(noise.mean()) - 0.5772156649) < 4 * math.sqrt(variance / DRAWS)
    fourth = 5.4 * variance**2  # kurtosis of the Gumbel distribution: 27/5
    assert abs(float(noise.var()) - variance) < 4 * math.sqrt((fourth - variance**2) / DRAWS)


@pytest.mark.parametrize("name", ["soft", "hard", "sampled"])
def test_tau_to_zero_gives_the_one_hot_argmax(name: str) -> None:
    noise = _noise(1000, 5)
    z = RELAXATIONS[name](LOGITS, noise, 1e-6)
    expected = torch.nn.functional.one_hot((LOGITS + noise).argmax(dim=-1), 5).float()
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-6)


def test_a_large_tau_gives_equal_weights() -> None:
    z = gumbel_softmax(LOGITS, _noise(1000, 5), 1e6)
    torch.testing.assert_close(z, torch.full((1000, 5), 0.2), rtol=0, atol=1e-4)


@pytest.mark.parametrize("tau", [1.0, 0.1, 0.03])
def test_weights_are_the_definition_of_the_concrete_distribution(tau: float) -> None:
    noise = _noise(50, 5)
    exponents = ((LOGITS + noise).double() / tau).tolist()
    for row, z in zip(exponents, gumbel_softmax(LOGITS, noise, tau), strict=True):
        shifted = [math.exp(value - max(row)) for value in row]
        torch.testing.assert_close(z.double(), torch.tensor(shifted, dtype=torch.float64) / sum(shifted), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tau", [5.0, 1.0, 0.3, 0.03])
def test_straight_through_values_are_exactly_zero_and_one(tau: float) -> None:
    logits = (3 * torch.randn(20_000, 8, generator=torch.Generator().manual_seed(5))).requires_grad_()
    z = straight_through(logits, _noise(20_000, 8), tau)
    assert set(z.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(z.sum(dim=-1), torch.ones(20_000))


@pytest.mark.parametrize("tau", [1.0, 0.3])
def test_straight_through_has_the_gradient_of_the_soft_weights(tau: float) -> None:
    noise, probe = _noise(4, 5), torch.randn(4, 5, generator=torch.Generator().manual_seed(6))
    gradients = []
    for relax in (straight_through, gumbel_softmax):
        logits = LOGITS.clone().requires_grad_()
        (relax(logits, noise, tau) * probe).sum().backward()
        gradients.append(logits.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].abs().min() > 0


def test_the_plain_softmax_ignores_noise_and_temperature() -> None:
    expected = torch.softmax(LOGITS, dim=-1)
    for tau in (0.01, 1.0, 100.0):
        assert torch.equal(softmax(LOGITS, _noise(3, 5), tau), expected.expand(3, 5))


def test_noise_comes_from_the_generator_alone() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first, again, other = _noise(100, seed=1), _noise(100, seed=1), _noise(100, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(12)
    assert torch.equal(first, again)
    assert torch.equal(first, _noise(100, seed=1))
    assert not torch.equal(first, other)


def test_noise_moves_its_generator_on() -> None:
    generator = torch.Generator().manual_seed(0)
    assert not torch.equal(gumbel_noise((5,), generator=generator), gumbel_noise((5,), generator=generator))


def test_noise_is_finite() -> None:
    assert _noise(1_000_000).isfinite().all()
