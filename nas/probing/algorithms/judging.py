"""What runs of algorithms are worth: regret, its confidence interval, and random search at the same cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.probing.algorithms.discrete import Found
from nas.probing.algorithms.problem import Problem
from nas.probing.algorithms.search_process import Searched
from nas.space.benchmark import Benchmark, Floats

CONFIDENCE = 0.95
"""Of the intervals of mean regrets, by Student's t."""
RANKED = 32
"""Networks, at least, that a supernet ranks at the end of a search."""
RANDOM_RUNS = 200
"""Runs of random search that others are compared with."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An algorithm, judged.

    Args:
        name: Its name.
        seconds: Mean CPU seconds of a run.
        regrets: Regret of each run, in mIoU.
        half_width: Half of the confidence interval of their mean.
        random_regret: Mean regret of random search within the same CPU seconds.
        p_value: Of the hypothesis that random search within the same CPU seconds does no worse (Mann and Whitney, one-sided); None
            for random search itself.
        curve: (CPU seconds, mean regret) after each training; empty for a search in earnest.
        rank: Mean over the runs of the rank correlation (Spearman) of networks by the loss that the supernet has with them at the
            end with their mIoU; None where nothing was ranked.
        gap: Mean over the runs of the mIoU of the supernet as it is sampled minus that of its argmax network; None where that is
            not known.
    """

    name: str
    seconds: float
    regrets: tuple[float, ...]
    half_width: float
    random_regret: float
    p_value: float | None
    curve: tuple[tuple[float, float], ...] = ()
    rank: float | None = None
    gap: float | None = None

    @property
    def mean(self) -> float:
        """Mean regret."""
        return float(np.mean(self.regrets))


def judge(
    problem: Problem,
    runs: Mapping[str, Sequence[Sequence[Found]]],
    chance: Sequence[Sequence[Found]],
    searched: Mapping[str, Sequence[Searched]],
) -> list[Judged]:
    """Judge algorithms, those of least mean regret first.

    Args:
        problem: What was searched.
        runs: Algorithm -> what each of its runs would have given back after each training; a search in earnest gives back once.
        chance: Runs of random search to compare with, long enough for the costs of all.
        searched: Algorithm -> what each of its searches in earnest found; each ranked `ranked_networks`.
    """
    from scipy.stats import mannwhitneyu, t

    found = []
    for name, given in runs.items():
        regrets = [problem.regret(one[-1].number) for one in given]
        seconds = float(np.mean([one[-1].seconds for one in given]))
        beside = regrets_within(problem, chance, seconds)
        count = len(regrets)
        spread = float(np.std(regrets, ddof=1)) / math.sqrt(count) if count > 1 else math.inf
        found.append(
            Judged(
                name=name,
                seconds=seconds,
                regrets=tuple(regrets),
                half_width=spread * float(t.ppf((1 + CONFIDENCE) / 2, max(1, count - 1))),
                random_regret=float(beside.mean()),
                p_value=None if name == "random" else float(mannwhitneyu(regrets, beside, alternative="less").pvalue),
                curve=_curve(problem, given),
                rank=_mean([_rank(problem.benchmark, one.losses) for one in searched.get(name, ()) if one.losses]),
                gap=_mean([one.gap for one in searched.get(name, ()) if one.gap is not None]),
            )
        )
    return sorted(found, key=lambda one: one.mean)


def ranked_networks(benchmark: Benchmark) -> list[int]:
    """The numbers of the networks that supernets rank: some, spread over all."""
    return list(range(0, len(benchmark.networks), max(1, len(benchmark.networks) // RANKED)))


def _rank(benchmark: Benchmark, losses: Sequence[float]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(benchmark.miou().mean(axis=1)[ranked_networks(benchmark)], np.negative(losses)).statistic)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def regrets_within(problem: Problem, runs: Sequence[Sequence[Found]], seconds: float) -> Floats:
    """Regret of each run after so many CPU seconds; before its first training ended, that of the network of this training."""
    last = [next((one for one in reversed(run) if one.seconds <= seconds), run[0]) for run in runs]
    return np.array([problem.regret(one.number) for one in last])


def _curve(problem: Problem, runs: Sequence[Sequence[Found]]) -> tuple[tuple[float, float], ...]:
    if any(len(run) == 1 for run in runs):
        return ()
    return tuple(
        (float(np.mean([one.seconds for one in step])), float(np.mean([problem.regret(one.number) for one in step])))
        for step in zip(*runs, strict=True)
    )
