"""What an algorithm is asked: architectures within a limit, their neighbours, and regret."""

import numpy as np
import pytest

from nas.errors import ConfigError
from nas.probing.algorithms.problem import Problem, problem_at
from tests.probing.algorithms.small_benchmark import small_benchmark


def test_only_what_is_within_the_limit_is_drawn_and_reached():
    problem = Problem(small_benchmark(), "r", 3.0)  # a digit costs its number in ms
    assert set(problem.allowed) == {text for text in problem.benchmark.architectures if sum(map(int, text)) <= 3}
    generator = np.random.default_rng(0)
    drawn = [problem.draw(generator) for _ in range(4000)]
    counts = [drawn.count(text) for text in problem.allowed]
    assert min(counts) > 0.6 * 4000 / len(counts)
    assert set(problem.neighbours("111")) == {"011", "101", "110"}  # 211 costs 4 ms
    assert set(problem.neighbours("000")) == {"100", "200", "010", "020", "001", "002"}


def test_regret_is_to_the_best_within_the_limit():
    benchmark = small_benchmark()
    problem = Problem(benchmark, "r", 3.0)
    means = benchmark.miou().mean(axis=1)
    best = max(means[number] for number in problem.allowed.values())
    assert best < means.max()
    regrets = [problem.regret(number) for number in problem.allowed.values()]
    assert min(regrets) == 0
    assert max(regrets) == pytest.approx(best - min(means[number] for number in problem.allowed.values()))


def test_a_limit_that_a_share_of_the_networks_meets():
    benchmark = small_benchmark()
    for share in (0.25, 0.5, 1.0):
        problem = problem_at(benchmark, "r", share)
        assert len(set(problem.allowed.values())) >= share * len(benchmark.networks)
    with pytest.raises(ConfigError, match="share: got 0, expected"):
        problem_at(benchmark, "r", 0)
    with pytest.raises(ConfigError, match="limit_ms: got -1, expected"):
        Problem(benchmark, "r", -1.0)
