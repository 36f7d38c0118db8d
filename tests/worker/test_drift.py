"""Drift read off a reference operation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from nas.measuring.reference_operation import choose_reference
from nas.ops import macs
from nas.worker import drift
from nas.worker.drift import Timing, corrected_samples
from tests.simulated_device import conv

REFERENCE, OTHER = conv(3).key, conv(4).key


def local_levels(reference_ms: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(drift.local_levels(reference_ms))


def reference(ms: float) -> Timing:
    return Timing(REFERENCE, 0, ms, 1, is_reference=True)


def test_without_noise_a_step_is_followed_at_the_timing_where_it_is() -> None:
    levels = local_levels([2.0] * 30 + [2.6] * 20 + [2.0] * 30)
    assert levels[:30] == pytest.approx(2.0)
    assert levels[31:50] == pytest.approx(2.6)
    assert levels[51:] == pytest.approx(2.0)
    assert 2.0 < levels[30] < 2.6


def test_a_slow_drift_is_followed_to_its_ends() -> None:
    truth = np.linspace(1.0, 1.15, 200)
    noisy = truth * np.exp(0.005 * np.random.default_rng(0).standard_normal(200))
    levels = local_levels(list(noisy))
    assert np.abs(levels[1:] / truth - 1).max() < 0.012


def test_single_slow_timings_do_not_move_the_level() -> None:
    timings = [1.0] * 60
    timings[7], timings[8], timings[30], timings[59] = 3.0, 2.0, 9.0, 5.0
    assert local_levels(timings) == pytest.approx(1.0)


def test_steady_timings_are_averaged_over_many_neighbours() -> None:
    noise = 0.01 * np.random.default_rng(3).standard_normal(1000)
    levels = np.log(local_levels(list(np.exp(noise))))
    assert float(np.std(levels)) < 0.2 * 0.01


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_timings_have_their_common_median(count: int) -> None:
    timings = [1.0, 4.0, 2.0][:count]
    assert local_levels(timings) == pytest.approx(np.exp(np.median(np.log(timings))))
    assert len(local_levels(timings)) == count + 1


def test_samples_are_brought_to_the_level_by_the_reference_around_them() -> None:
    slow, fast = [reference(3.0)] * 6, [reference(2.0)] * 8
    timings = [*slow, Timing(OTHER, 0, 30.0, 1), *slow, *fast, Timing(OTHER, 1, 20.0, 1), *fast]
    assert corrected_samples(timings, level_ms=1.0) == {OTHER: pytest.approx([10.0, 10.0])}
    assert corrected_samples(timings) == {OTHER: pytest.approx([20.0, 20.0])}


def test_without_a_reference_samples_stay_as_they_are() -> None:
    assert corrected_samples([Timing(OTHER, 0, 30.0, 1), Timing(OTHER, 1, 20.0, 1)]) == {OTHER: [30.0, 20.0]}
    assert corrected_samples([]) == {}


def test_the_reference_is_the_middle_operation_that_multiplies_whatever_the_order() -> None:
    convolutions = [conv(c) for c in (2, 4, 8, 16, 32)]
    plan = [*convolutions, *(conv(c, 64, kind="max_pool") for c in range(1, 9))]
    assert choose_reference(plan) == choose_reference(reversed(plan)) == conv(8)
    smaller = [spec for spec in convolutions if macs(spec) < macs(conv(8))]
    assert len(smaller) == len(convolutions) // 2


def test_where_nothing_multiplies_the_reference_is_the_middle_by_size() -> None:
    assert choose_reference([conv(c, kind="max_pool") for c in (9, 1, 5)]) == conv(5, kind="max_pool")
