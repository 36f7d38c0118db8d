"""Algorithms that train one network after another: random search, local search, regularised evolution."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from nas.probing.algorithms.problem import Problem

POPULATION, TOURNAMENT = 10, 3
"""Networks of the population, and those of which the best is changed [ours: the original has 100 and 25, for 20,000 trainings]."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an algorithm would give back after a training.

    Args:
        seconds: CPU seconds of the trainings up to here.
        number: The network that scored best so far.
    """

    seconds: float
    number: int


@dataclass(slots=True)
class Trainings:
    """Trainings of networks by looking them up, a limited number. A training has one of the benchmark's seeds by chance.

    Args:
        problem: What is searched.
        generator: Of everything random.
        most: Largest number of trainings.
    """

    problem: Problem
    generator: np.random.Generator
    most: int
    found: list[Found] = field(default_factory=list)
    _best: tuple[float, int] = (-1.0, -1)

    @property
    def left(self) -> int:
        """Trainings that are left."""
        return self.most - len(self.found)

    def train(self, architecture: str) -> float:
        """The score of an architecture's network after a training; mIoU, 0 to 1."""
        number = self.problem.allowed[architecture]
        network = self.problem.benchmark.networks[number]
        scores = network.miou[-1]
        score = scores[int(self.generator.integers(len(scores)))]
        self._best = max(self._best, (score, number))
        before = self.found[-1].seconds if self.found else 0.0
        self.found.append(Found(before + network.training_s[-1], self._best[1]))
        return score


def random_search(trainings: Trainings) -> None:
    """Train architectures by chance."""
    while trainings.left:
        trainings.train(trainings.problem.draw(trainings.generator))


def local_search(trainings: Trainings) -> None:
    """Climb from an architecture by chance to the first better neighbour; at a summit, begin anew.

    White et al., "Local Search is State of the Art for NAS Benchmarks", 2020, arXiv:2005.02960.
    """
    while trainings.left:
        at = trainings.problem.draw(trainings.generator)
        score: float | None = trainings.train(at)
        while score is not None:
            at, score = _climb(trainings, at, score)


def _climb(trainings: Trainings, at: str, score: float) -> tuple[str, float | None]:
    """A better neighbour with its score; None for the score at a summit, or at the end of the trainings."""
    for other in trainings.generator.permutation(trainings.problem.neighbours(at)):
        if not trainings.left:
            break
        reached = trainings.train(str(other))
        if reached > score:
            return str(other), reached
    return at, None


def regularised_evolution(trainings: Trainings) -> None:
    """Change a decision of the best of some of the population; the oldest one leaves.

    Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019, arXiv:1802.01548.
    """
    problem, generator = trainings.problem, trainings.generator
    population: deque[tuple[float, str]] = deque(maxlen=POPULATION)
    while trainings.left:
        if len(population) < POPULATION:
            child = problem.draw(generator)
        else:
            some = [population[int(i)] for i in generator.choice(POPULATION, TOURNAMENT, replace=False)]
            parent = max(some)[1]
            near = problem.neighbours(parent)
            child = near[int(generator.integers(len(near)))] if near else problem.draw(generator)
        population.append((trainings.train(child), child))


DISCRETE: dict[str, Callable[[Trainings], None]] = {
    "random": random_search,
    "local_search": local_search,
    "evolution": regularised_evolution,
}
"""The algorithms by name."""


def run_discrete(name: str, problem: Problem, *, trainings: int, seed: int) -> list[Found]:
    """What an algorithm would give back after each of so many trainings."""
    state = Trainings(problem, np.random.default_rng(seed), trainings)
    DISCRETE[name](state)
    return state.found
