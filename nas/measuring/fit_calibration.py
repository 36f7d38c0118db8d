"""Fit a calibration: from the operations of networks and the networks' own measured latencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.cost.calibrated import multiplies
from nas.cost.calibration import Quality
from nas.ops import is_free
from nas.space.graph import Graph

if TYPE_CHECKING:
    from nas.cost.lookup import CostTable

Floats = NDArray[np.float64]

FORMS: dict[str, tuple[tuple[int, ...], ...]] = {
    "plain sum": (),
    "scale": ((1, 2),),
    "overhead, scale": ((0,), (1, 2)),
    "scale, gap": ((1, 2), (3,)),
    "overhead, scale, gap": ((0,), (1, 2), (3,)),
    "overhead, compute scale, memory scale": ((0,), (1,), (2,)),
    "compute scale, memory scale, gap": ((1,), (2,), (3,)),
}
"""Groups that may be fitted: each is one parameter, shared by those of the four terms of `Terms.columns` that it names; without
any the table's sum stays as it is, and gets an error bar."""

TINY = 1e-12
OVERHEAD, GAP = 0, 3
"""Columns of `Terms.columns` whose coefficient is a time; those of the others are factors."""

USUAL = 0.2
"""Standard deviation [ours] of the expectation that a factor is 1, and a time 0 (as a share of the median network). The networks
decide what they tell apart; their noise does not decide between two terms that hardly differ among them."""

MARGIN = 1.02
"""A form with fewer parameters is taken if its error is within this factor of the best one's."""

MOST_NOISE = 0.05
"""Largest noise floor of networks that may calibrate a table [ours]: those of the shipped tables are 0.9 to 1.8 %, and what is
fitted to networks that cannot be measured twice alike corrects the noise of that hour."""

UNLIKELY = 1e-3
"""An error bar is wrong if a right one would hold so few of the networks held out with less than this probability [ours]."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of a network's latency by the table.

    Args:
        compute_ms: Sum over operations that multiply.
        memory_ms: Sum over those that only move data.
        operations: Number of operations.
    """

    compute_ms: float
    memory_ms: float
    operations: int

    @property
    def total_ms(self) -> float:
        """The plain sum of the table."""
        return self.compute_ms + self.memory_ms

    @property
    def columns(self) -> tuple[float, float, float, float]:
        """1, compute, memory, operations: what overhead, the two scales and the gap multiply."""
        return 1.0, self.compute_ms, self.memory_ms, float(self.operations)


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted calibration.

    Args:
        form: A key of `FORMS`.
        overhead_ms: See `Calibration`, as the next three.
        compute_scale: Factor of operations that multiply.
        memory_scale: Factor of those that only move data.
        gap_ms: Added for each operation.
        bar: Half-width of the error bar as a share of the prediction.
    """

    form: str
    overhead_ms: float
    compute_scale: float
    memory_scale: float
    gap_ms: float
    bar: float

    def predict(self, terms: Sequence[Terms]) -> Floats:
        """Latency of each network in ms."""
        latencies: Floats = _matrix(terms) @ np.array([self.overhead_ms, self.compute_scale, self.memory_scale, self.gap_ms])
        return latencies


def terms_of(graph: Graph, table: CostTable) -> Terms:
    """The terms of a derived network."""
    specs = [spec for _, spec in graph.operations() if not is_free(spec)]
    compute = [table.cost(spec) for spec in specs if multiplies(spec)]
    memory = [table.cost(spec) for spec in specs if not multiplies(spec)]
    return Terms(sum(compute), sum(memory), len(specs))


def fit(terms: Sequence[Terms], measured_ms: Sequence[float], *, coverage: float) -> Fit:
    """Non-negative least squares of relative errors with a weak prior, in the form with the lowest leave-one-out error.

    The error bar is the conformal quantile of the absolute leave-one-out errors: of new networks like these, at least a share
    `coverage` lies inside, on average over such samples (Vovk et al., 2005; jackknife).

    Args:
        terms: Of each network.
        measured_ms: Its latency.
        coverage: Share of networks that the bar shall hold.
    """
    matrix, measured = _matrix(terms), np.asarray(measured_ms, dtype=np.float64)
    errors = {name: _left_out_errors(matrix, measured, groups) for name, groups in FORMS.items()}
    best = min(float(np.mean(one)) for one in errors.values())
    chosen = min(
        (name for name in FORMS if float(np.mean(errors[name])) <= MARGIN * best),
        key=lambda name: (len(FORMS[name]), float(np.mean(errors[name]))),
    )
    overhead, compute, memory, gap = _solve(matrix, measured, FORMS[chosen]).tolist()
    return Fit(chosen, overhead, compute, memory, gap, conformal_quantile(errors[chosen], coverage))


def objections(held_out: Quality, plain: Quality, *, noise_floor: float, coverage: float, fitted: int, judged: int) -> list[str]:
    """Reasons why a calibration must not be stored, each with what was got and what was expected; none: it may.

    Args:
        held_out: How well it predicts networks that it was not fitted on.
        plain: How well the plain sum predicts the same.
        noise_floor: Mean absolute difference of two measurements of the same network, as a share.
        coverage: Share of networks that its error bar shall hold.
        fitted: Networks that it was fitted on.
        judged: Networks held out.
    """
    from scipy.stats import binom

    reasons = []
    if not held_out.mape <= plain.mape:
        reasons.append(
            f"its error on the networks held out is {held_out.mape:.1%}, and that of the plain sum {plain.mape:.1%}: "
            "expected a smaller one"
        )
    if not noise_floor <= MOST_NOISE:
        reasons.append(f"two timings of the same network are {noise_floor:.1%} apart, expected at most {MOST_NOISE:.0%}")
    inside = held_out.inside_bar or 0.0
    promised = min(coverage, fitted / (fitted + 1))  # of few networks the largest error is the bar
    if binom.cdf(round(inside * judged), judged, promised) < UNLIKELY:
        reasons.append(f"its error bar holds {inside:.0%} of the networks held out, expected about {promised:.0%}")
    return reasons


def conformal_quantile(errors: Floats, coverage: float) -> float:
    """The ceil((n + 1) coverage)-th smallest of n errors; the largest where there are too few.

    >>> conformal_quantile(np.arange(1.0, 20.0), 0.9)
    18.0
    """
    rank = math.ceil((len(errors) + 1) * coverage - 1e-9)
    return float(np.sort(errors)[min(rank, len(errors)) - 1])


def quality(predicted_ms: Sequence[float] | Floats, measured_ms: Sequence[float] | Floats, *, bar: float | None = None) -> Quality:
    """Agreement of predictions with measurements.

    Args:
        predicted_ms: Of each network.
        measured_ms: Of each network.
        bar: Half-width of the error bar as a share of the prediction; None: there is none.

    Returns:
        The qualities; rank correlations are 0 where all predictions or all measurements are the same.
    """
    from scipy.stats import kendalltau, spearmanr

    predicted, measured = np.asarray(predicted_ms, dtype=np.float64), np.asarray(measured_ms, dtype=np.float64)
    errors = predicted / measured - 1
    ordered = np.ptp(predicted) > 0 and np.ptp(measured) > 0
    return Quality(
        bias=float(np.mean(errors)),
        mape=float(np.mean(np.abs(errors))),
        rmse_ms=float(np.sqrt(np.mean((predicted - measured) ** 2))),
        within_5=float(np.mean(np.abs(errors) <= 0.05)),
        within_10=float(np.mean(np.abs(errors) <= 0.10)),
        spearman=float(spearmanr(predicted, measured).statistic) if ordered else 0.0,
        kendall=float(kendalltau(predicted, measured).statistic) if ordered else 0.0,
        inside_bar=None if bar is None else float(np.mean(np.abs(measured / predicted - 1) <= bar)),
    )


def _matrix(terms: Sequence[Terms]) -> Floats:
    return np.array([one.columns for one in terms], dtype=np.float64)


def _solve(matrix: Floats, measured: Floats, groups: tuple[tuple[int, ...], ...]) -> Floats:
    """Coefficients [4] of the columns, at least 0: the most probable ones by normal relative errors and by `USUAL`."""
    if not groups:
        return np.array([0.0, 1.0, 1.0, 0.0])
    shares = np.stack([matrix[:, list(group)].sum(axis=1) for group in groups], axis=1) / measured[:, None]
    is_time = np.array([bool({OVERHEAD, GAP} & set(group)) for group in groups])
    units = np.where(is_time, 1 / np.maximum(np.median(shares, axis=0), TINY), 1.0)
    plain = _least(shares * units, np.ones(len(measured)))
    noise = float(np.sum((shares * units @ plain - 1) ** 2)) / max(1, len(measured) - len(groups))
    weight = math.sqrt(noise) / USUAL
    rows = np.vstack([shares * units, weight * np.eye(len(groups))])
    solution = units * _least(rows, np.concatenate([np.ones(len(measured)), weight * ~is_time]))
    coefficients = np.zeros(matrix.shape[1])
    for group, value in zip(groups, solution, strict=True):
        coefficients[list(group)] = value
    return coefficients


def _least(rows: Floats, values: Floats) -> Floats:
    """Non-negative least squares."""
    from scipy.optimize import nnls

    solution: Floats = nnls(rows, values)[0]
    return solution


def _left_out_errors(matrix: Floats, measured: Floats, groups: tuple[tuple[int, ...], ...]) -> Floats:
    """|measured - predicted| / predicted of each network by the fit to all others."""
    rows = np.arange(len(measured))
    predicted = np.array([matrix[i] @ _solve(matrix[rows != i], measured[rows != i], groups) for i in rows])
    errors: Floats = np.abs(measured / predicted - 1)
    return errors
