"""Random search, local search and evolution on a benchmark that can be told by hand."""

import numpy as np
import pytest

from nas.probing.algorithms.discrete import DISCRETE, POPULATION, run_discrete
from nas.probing.algorithms.problem import Problem
from tests.probing.algorithms.small_benchmark import small_benchmark

LIMIT = 4.0


@pytest.fixture
def problem() -> Problem:
    return Problem(small_benchmark(noise=0.001), "r", LIMIT)


@pytest.mark.parametrize("name", DISCRETE)
def test_trainings_are_counted_repeatable_and_within_the_limit(name: str, problem: Problem):
    found = run_discrete(name, problem, trainings=40, seed=3)
    assert [one.seconds for one in found] == pytest.approx([3.0 * (i + 1) for i in range(40)])
    assert found == run_discrete(name, problem, trainings=40, seed=3)
    assert found != run_discrete(name, problem, trainings=40, seed=4)
    assert found[:15] == run_discrete(name, problem, trainings=15, seed=3)
    latency = problem.benchmark.latency("r")
    assert all(latency[one.number] <= LIMIT for one in found)
    regrets = [problem.regret(one.number) for one in found]
    assert regrets == sorted(regrets, reverse=True)  # differences are larger than noise


@pytest.mark.parametrize("name", DISCRETE)
def test_all_find_the_best_in_the_end(name: str, problem: Problem):
    assert [problem.regret(run_discrete(name, problem, trainings=400, seed=seed)[-1].number) for seed in range(5)] == [0.0] * 5


def test_where_better_lies_beside_good_those_that_climb_need_fewer_trainings_than_chance():
    problem = Problem(small_benchmark(decisions=5), "r", 10.0)  # all 243 networks

    def mean_regret(name: str, trainings: int) -> float:
        found = [run_discrete(name, problem, trainings=trainings, seed=seed)[-1].number for seed in range(200)]
        return float(np.mean([problem.regret(number) for number in found]))

    chance = mean_regret("random", 30)
    assert chance == pytest.approx(problem.benchmark.random_regret(10.0, "r", [30])[0], rel=0.2)
    assert mean_regret("local_search", 30) < 0.7 * chance
    assert mean_regret("evolution", 30) < 0.9 * chance
    assert mean_regret("evolution", POPULATION) == pytest.approx(mean_regret("random", POPULATION))
