"""Fits of calibrations to networks whose latencies are known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nas.cost import MacsTable
from nas.cost.calibrated import multiplies
from nas.cost.calibration import Quality
from nas.measuring.fit_calibration import FORMS, Terms, conformal_quantile, fit, objections, quality, terms_of
from nas.ops import is_free
from nas.space.deployment import Deployment
from search_spaces import SEARCH_SPACES


def networks(count: int, seed: int) -> list[Terms]:
    generator = np.random.default_rng(seed)
    return [Terms(*generator.uniform((5, 1), (40, 9)), int(generator.integers(20, 120))) for _ in range(count)]


def latencies(terms, *, overhead=0.0, compute=1.0, memory=1.0, gap=0.0, noise=0.0, seed=0):
    generator = np.random.default_rng(seed)
    exact = np.array([overhead + compute * t.compute_ms + memory * t.memory_ms + gap * t.operations for t in terms])
    return exact * (1 + noise * generator.standard_normal(len(terms)))


@pytest.mark.parametrize(
    ("truth", "form"),
    [
        ({}, "plain sum"),
        ({"compute": 1.1, "memory": 1.1}, "scale"),
        ({"overhead": 3.0, "compute": 0.9, "memory": 0.9}, "overhead, scale"),
        ({"compute": 1.0, "memory": 1.0, "gap": 0.02}, "scale, gap"),
        ({"overhead": 2.0, "compute": 1.2, "memory": 1.2, "gap": 0.03}, "overhead, scale, gap"),
        ({"overhead": 2.0, "compute": 1.0, "memory": 2.0}, "overhead, compute scale, memory scale"),
        ({"compute": 1.0, "memory": 1.8, "gap": 0.05}, "compute scale, memory scale, gap"),
    ],
)
def test_the_law_that_made_the_latencies_is_found_with_no_more_parameters_than_it_has(truth, form):
    terms = networks(30, seed=1)
    found = fit(terms, latencies(terms, **truth, noise=1e-4), coverage=0.9)
    assert found.form == form
    got = {"overhead": found.overhead_ms, "compute": found.compute_scale, "memory": found.memory_scale, "gap": found.gap_ms}
    for name, value in got.items():
        default = 1.0 if name in ("compute", "memory") else 0.0
        assert value == pytest.approx(truth.get(name, default), abs=0.02)
    others = networks(20, seed=2)
    np.testing.assert_allclose(found.predict(others), latencies(others, **truth), rtol=2e-3)
    assert 0 < found.bar < 1e-3


def test_no_parameter_is_ever_negative():
    terms = networks(20, seed=3)
    found = fit(terms, latencies(terms, overhead=-4.0, compute=1.0, memory=-0.5, gap=-0.01), coverage=0.9)
    assert min(found.overhead_ms, found.compute_scale, found.memory_scale, found.gap_ms) >= 0


def test_the_bar_holds_the_share_of_new_networks_that_it_promises():
    inside, bars = [], []
    for seed in range(200):
        terms = networks(25, seed=10 * seed)
        found = fit(terms, latencies(terms, overhead=1.0, noise=0.03, seed=seed), coverage=0.9)
        others = networks(40, seed=10 * seed + 1)
        measured = latencies(others, overhead=1.0, noise=0.03, seed=seed + 10_000)
        inside.append(quality(found.predict(others), measured, bar=found.bar).inside_bar)
        bars.append(found.bar)
    assert 0.88 <= np.mean(inside) <= 0.96
    assert np.mean(bars) == pytest.approx(stats.norm.ppf(0.95) * 0.03, rel=0.25)


def test_quality_is_what_its_names_say():
    predicted, measured = [10.0, 21.9, 27.1, 40.0], [10.0, 20.0, 30.0, 44.0]
    found = quality(predicted, measured, bar=0.105)
    errors = [0.0, 1.9 / 20, -2.9 / 30, -4 / 44]
    assert found.bias == pytest.approx(sum(errors) / 4)
    assert found.mape == pytest.approx(sum(map(abs, errors)) / 4)
    assert found.rmse_ms == pytest.approx(((1.9**2 + 2.9**2 + 16) / 4) ** 0.5)
    assert (found.within_5, found.within_10) == (0.25, 1.0)
    assert found.inside_bar == 0.75  # 30 / 27.1 - 1 = 0.107 lies outside
    assert (found.spearman, found.kendall) == (1.0, 1.0)
    assert quality([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]).kendall == -1.0


def test_quantile_takes_the_largest_error_where_there_are_too_few():
    assert conformal_quantile(np.array([3.0, 1.0, 2.0]), 0.99) == 3.0
    assert conformal_quantile(np.arange(1.0, 100.0), 0.5) == 50.0


@pytest.mark.parametrize("name", ["lgcnet", "squeezenas_small"])
def test_terms_are_the_sums_over_what_a_network_executes(name):
    import torch

    entry = SEARCH_SPACES[name]
    space = entry.build(entry.config())
    choices = space.random_choices(torch.Generator().manual_seed(0))
    graph = space.graph(Deployment((64, 96), 16, 11), choices)

    class Ones(MacsTable):
        def cost(self, spec):
            return 0.5

    terms = terms_of(graph, Ones())
    executed = [spec for _, spec in graph.operations() if not is_free(spec)]
    assert terms.operations == len(executed)
    assert terms.compute_ms == 0.5 * sum(multiplies(spec) for spec in executed)
    assert terms.total_ms == 0.5 * len(executed)
    assert 0 < terms.memory_ms < terms.total_ms


def test_forms_share_parameters_between_columns_and_use_none_twice():
    for groups in FORMS.values():
        columns = [column for group in groups for column in group]
        assert len(columns) == len(set(columns))
        assert set(columns) <= {0, 1, 2, 3}


def test_a_constant_has_no_order():
    assert (quality([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]).spearman, quality([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]).kendall) == (0.0, 0.0)


def judged(mape: float, inside: float | None = None) -> Quality:
    shares = {"within_5": 0.5, "within_10": 0.5, "inside_bar": inside}
    return Quality(bias=0.0, mape=mape, rmse_ms=1.0, spearman=0.9, kendall=0.9, **shares)


@pytest.mark.parametrize(
    ("held_out", "plain", "floor", "reason"),
    [
        (judged(0.190, 0.88), 0.137, 0.02, "error on the networks held out is 19.0%, and that of the plain sum 13.7%"),
        (judged(float("nan"), 0.88), 0.137, 0.02, "error on the networks held out is nan%"),
        (judged(0.02, 0.88), 0.137, 0.0501, "two timings of the same network are 5.0% apart, expected at most 5%"),
        (judged(0.02, 0.40), 0.137, 0.02, "its error bar holds 40% of the networks held out, expected about 90%"),
    ],
)
def test_a_calibration_that_is_worse_than_none_is_objected_to(held_out, plain, floor, reason):
    (found,) = objections(held_out, judged(plain), noise_floor=floor, coverage=0.9, fitted=25, judged=25)
    assert reason in found


@pytest.mark.parametrize(
    ("held_out", "fitted"),
    [(judged(0.02, 0.88), 25), (judged(0.137, 0.88), 25), (judged(0.02, 0.72), 25), (judged(0.02, 0.25), 4)],
)
def test_a_calibration_no_worse_than_the_plain_sum_is_not(held_out, fitted):
    assert not objections(held_out, judged(0.137), noise_floor=0.05, coverage=0.9, fitted=fitted, judged=fitted)


def test_terms_that_hardly_differ_among_the_networks_are_not_told_apart_by_their_noise():
    generator = np.random.default_rng(5)
    alike = [Terms(float(c), 10.0 + 0.1 * float(generator.standard_normal()), 50) for c in np.linspace(10, 120, 12)]
    others = [Terms(20.0, 80.0, 60), Terms(40.0, 3.0, 20)]
    for seed in range(20):
        found = fit(alike, latencies(alike, compute=0.9, memory=0.9, noise=0.03, seed=seed), coverage=0.9)
        assert 0.5 < found.memory_scale < 1.4
        np.testing.assert_allclose(found.predict(others), latencies(others, compute=0.9, memory=0.9), rtol=0.35)
