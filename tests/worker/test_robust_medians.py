"""The confidence interval of a median."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from nas.worker.robust_medians import qn_scale, relative_half_width, student_quantile


@pytest.mark.parametrize("n", [4, 5, 9, 10, 11, 30, 31])
def test_qn_is_the_order_statistic_of_all_distances(n: int) -> None:
    values = [float(value) for value in np.random.default_rng(n).lognormal(size=n)]
    distances = sorted(abs(one - other) for one, other in itertools.combinations(values, 2))
    small = {4: 0.512, 5: 0.844, 9: 0.872}
    correction = small.get(n, n / (n + (1.4 if n % 2 else 3.8)))
    expected = 2.2219 * correction * distances[math.comb(n // 2 + 1, 2) - 1]
    assert qn_scale(values) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [10, 30, 200])
def test_qn_is_the_standard_deviation_of_normal_values_on_average(n: int) -> None:
    draw = np.random.default_rng(0)
    scales = [qn_scale(3.0 * draw.standard_normal(n)) for _ in range(400)]
    assert np.mean(scales) == pytest.approx(3.0, rel=0.05)


def test_half_width_is_students_quantile_times_the_standard_error_over_the_median() -> None:
    samples = [4.0, 4.2, 3.9, 4.1, 4.4, 12.0, 4.05]
    expected = stats.t.ppf(0.975, 6) * math.sqrt(math.pi / 2) * qn_scale(samples) / math.sqrt(7) / statistics.median(samples)
    assert relative_half_width(samples) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [6, 10, 30])
def test_the_interval_holds_the_true_median_about_as_often_as_it_says(n: int) -> None:
    draw = np.random.default_rng(1)
    inside = 0
    for _ in range(600):
        samples = [float(value) for value in 100 + draw.standard_normal(n)]
        median = statistics.median(samples)
        inside += abs(median - 100) <= relative_half_width(samples) * median
    assert 0.91 < inside / 600 < 0.99


def test_the_unit_does_not_matter_and_outliers_hardly_do() -> None:
    draw = np.random.default_rng(2)
    samples = [float(value) for value in np.exp(0.02 * draw.standard_normal(20))]
    width = relative_half_width(samples)
    assert relative_half_width([1000 * value for value in samples]) == pytest.approx(width)
    assert relative_half_width([*samples[:-2], 5.0, 9.0]) < 1.6 * width


def test_few_samples_say_nothing_and_equal_ones_everything() -> None:
    assert [relative_half_width([1.0] * n) for n in range(4)] == [math.inf] * 4
    assert relative_half_width([1.0] * 4) == 0.0


def test_students_quantile_is_that_of_the_distribution() -> None:
    for degrees in (*range(1, 60), 200, 1000):
        assert student_quantile(degrees) == pytest.approx(float(stats.t.ppf(0.975, degrees)), rel=1e-9)
