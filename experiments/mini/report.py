"""How well a benchmark tells networks apart, how hard it is, and a picture of it."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from nas.files.atomic import write_bytes_atomic, write_text_atomic
from nas.probing.algorithms.discrete import DISCRETE, run_discrete
from nas.probing.algorithms.problem import Problem, problem_at
from nas.reports.picture_bytes import figure_bytes
from nas.space.benchmark import Benchmark

DRAWS = (1, 2, 5, 10, 20, 50)
"""Trainings of random search."""
SEEDS = 200
"""Runs of each algorithm."""
QUANTILES = (0.25, 0.5, 0.75)
"""Latency limits, as quantiles of the networks' latency."""


def write_report(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """Write summary.json and chart.png, and give the former."""
    summary = summary_of(benchmark)
    write_text_atomic(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_bytes_atomic(folder / "chart.png", figure_bytes(_chart(benchmark), dpi=120))
    return summary


def summary_of(benchmark: Benchmark) -> dict[str, Any]:
    """The figures that say what a benchmark is worth."""
    budgets: dict[str, Any] = {}
    for budget in benchmark.budgets:
        values = benchmark.miou(budget)
        pairs = combinations(range(values.shape[1]), 2)
        means, noise = values.mean(axis=1), benchmark.noise(budget)
        budgets[f"{budget} epochs"] = {
            "miou": [round(float(value), 4) for value in np.quantile(means, (0, 0.1, 0.5, 0.9, 1))],
            "spread": round(benchmark.spread(budget), 5),
            "noise of the mean": round(noise, 5),
            "spread / noise": round(benchmark.spread(budget) / noise, 2) if noise else None,
            "spearman between seeds": round(float(np.mean([_spearman(values[:, i], values[:, j]) for i, j in pairs])), 3),
            "spearman with the longest": round(_spearman(means, benchmark.miou().mean(axis=1)), 3),
        }
    return {
        "networks": len(benchmark.networks),
        "architectures": sum(len(network.architectures) for network in benchmark.networks),
        "budgets": budgets,
        "runtimes": {runtime: _latencies(benchmark, runtime) for runtime in benchmark.runtimes},
    }


def _latencies(benchmark: Benchmark, runtime: str) -> dict[str, Any]:
    predicted, measured = benchmark.latency(runtime), benchmark.latency(runtime, measured=True)
    limits = {}
    for quantile in QUANTILES:
        limit = float(np.quantile(predicted, quantile))
        limits[f"{limit:.3f} ms"] = {
            "best": benchmark.choices(benchmark.best(limit, runtime)),
            "best miou": round(float(benchmark.miou().mean(axis=1)[benchmark.best(limit, runtime)]), 4),
            "mean regret after so many trainings": _regrets(problem_at(benchmark, runtime, quantile)),
        }
    return {
        "measured ms": [round(float(value), 4) for value in np.quantile(measured, (0, 0.5, 1))],
        "mape of the table": round(float(np.abs(predicted / measured - 1).mean()), 4),
        "spearman of the table": round(_spearman(predicted, measured), 4),
        "spearman of latency and miou": round(_spearman(predicted, benchmark.miou().mean(axis=1)), 3),
        "front": len(benchmark.front(runtime)),
        "limits": limits,
    }


def _regrets(problem: Problem) -> dict[str, dict[str, float]]:
    """Algorithm -> trainings -> mean regret over `SEEDS` seeds; that of random search is exact."""
    exact = problem.benchmark.random_regret(problem.limit_ms, problem.runtime, DRAWS)
    regrets = {"random, exact": exact}
    for name in DISCRETE:
        runs = [run_discrete(name, problem, trainings=DRAWS[-1], seed=seed) for seed in range(SEEDS)]
        regrets[name] = np.array([np.mean([problem.regret(found[n - 1].number) for found in runs]) for n in DRAWS])
    return {name: {str(n): round(float(one), 5) for n, one in zip(DRAWS, values, strict=True)} for name, values in regrets.items()}


def _spearman(one: Any, other: Any) -> float:  # noqa: ANN401
    return float(spearmanr(one, other).statistic)


def _chart(benchmark: Benchmark) -> Figure:
    figure = Figure(figsize=(5.2 * len(benchmark.runtimes), 4.2), layout="constrained")
    means = benchmark.miou().mean(axis=1)
    panels = figure.subplots(1, len(benchmark.runtimes), sharey=True, squeeze=False)[0]
    for axes, runtime in zip(panels, benchmark.runtimes, strict=True):
        latency, front = benchmark.latency(runtime, measured=True), benchmark.front(runtime, measured=True)
        axes.scatter(latency, means, s=9, alpha=0.6, label="networks")
        axes.plot(latency[front], means[front], "o-", markersize=4, linewidth=1, color="tab:red", label="front")
        axes.set_xlabel(f"ms measured on {runtime}")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(f"mIoU after {benchmark.budgets[-1]} epochs, mean of {len(benchmark.seeds[-1])} seeds")
    panels[0].legend()
    return figure
