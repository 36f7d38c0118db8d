"""Regret with its interval, and chance at the same cost."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from nas.probing.algorithms.discrete import Found, run_discrete
from nas.probing.algorithms.judging import judge, ranked_networks, regrets_within
from nas.probing.algorithms.problem import Problem
from nas.probing.algorithms.search_process import Searched
from tests.probing.algorithms.small_benchmark import small_benchmark

PROBLEM = Problem(small_benchmark(noise=0.001, decisions=5), "r", 10.0)
CHANCE = [run_discrete("random", PROBLEM, trainings=40, seed=100 + seed) for seed in range(200)]


def test_a_search_is_compared_with_what_chance_has_after_its_seconds():
    best = PROBLEM.benchmark.best(10.0, "r")
    given = {"perfect": [[Found(30.0, best)]] * 5, "worst": [[Found(30.0, 0)]] * 5}
    perfect, worst = judge(PROBLEM, given, CHANCE, {})
    assert (perfect.name, perfect.mean, perfect.half_width) == ("perfect", 0.0, 0.0)
    before, expected, after = PROBLEM.benchmark.random_regret(10.0, "r", [7, 10, 14])  # a training takes three seconds
    assert perfect.random_regret == worst.random_regret == pytest.approx(expected, rel=0.25)
    assert before > perfect.random_regret > after
    assert perfect.p_value is not None
    assert perfect.p_value < 0.01
    assert worst.p_value is not None
    assert worst.p_value > 0.99
    assert worst.curve == ()


def test_the_interval_is_that_of_students_t():
    runs = {"random": [run_discrete("random", PROBLEM, trainings=12, seed=seed) for seed in range(9)]}
    (judged,) = judge(PROBLEM, runs, CHANCE, {})
    interval = ttest_1samp(judged.regrets, 0.0).confidence_interval(0.95)
    assert judged.half_width == pytest.approx((interval.high - interval.low) / 2)
    assert judged.p_value is None
    assert [seconds for seconds, _ in judged.curve] == pytest.approx([3.0 * (i + 1) for i in range(12)])
    assert judged.curve[-1][1] == pytest.approx(judged.mean)


def test_the_rank_correlation_is_that_of_least_loss_with_most_miou():
    miou = PROBLEM.benchmark.miou().mean(axis=1)[ranked_networks(PROBLEM.benchmark)]
    assert 32 <= len(miou) <= 64
    turned = [Searched(1.0, {}, 1.0, 0.5, gap, tuple(sign * miou)) for sign, gap in ((-1, 0.25), (-1, 0.75), (1, 0.5))]
    given = {name: [[Found(30.0, 0)]] * 3 for name in ("supernet", "settled")}
    settled = [Searched(1.0, {}, 1.0, 0.5, None)] * 3
    found = {one.name: one for one in judge(PROBLEM, given, CHANCE, {"supernet": turned, "settled": settled})}
    assert found["supernet"].rank == pytest.approx(1 / 3)
    assert found["supernet"].gap == pytest.approx(0.5)
    assert (found["settled"].rank, found["settled"].gap) == (None, None)


def test_before_the_first_training_ends_chance_has_that_one():
    early, first = regrets_within(PROBLEM, CHANCE, 1.0), regrets_within(PROBLEM, CHANCE, 3.0)
    assert np.array_equal(early, first)
    assert regrets_within(PROBLEM, CHANCE, 60.0).mean() < first.mean()
