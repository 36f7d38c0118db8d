"""Schedules against their properties."""

import math

import pytest
import torch

from nas.training.schedules import cosine, exponential, poly

GRID = [i / 20 for i in range(21)]
SCHEDULES = {
    "poly": lambda progress: poly(progress, start=0.01, power=0.9),
    "cosine": lambda progress: cosine(progress, start=0.025, end=0.001),
    "exponential": lambda progress: exponential(progress, start=1.0, end=0.03),
}
ENDS = {"poly": (0.01, 0.0), "cosine": (0.025, 0.001), "exponential": (1.0, 0.03)}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_goes_from_start_to_end_and_only_downwards(name: str) -> None:
    values = [SCHEDULES[name](progress) for progress in GRID]
    assert (values[0], values[-1]) == pytest.approx(ENDS[name])
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("progress", [-0.01, 1.01, math.nan])
def test_schedule_refuses_progress_outside_the_run(name: str, progress: float) -> None:
    with pytest.raises(ValueError, match="expected a share of the run"):
        SCHEDULES[name](progress)


def test_poly_with_power_one_is_a_straight_line() -> None:
    assert [poly(p, start=2.0, power=1.0) for p in GRID] == pytest.approx([2.0 - 2.0 * p for p in GRID])


def test_cosine_is_symmetric_about_its_middle() -> None:
    for p in GRID:
        assert cosine(p, start=3.0, end=1.0) + cosine(1 - p, start=3.0, end=1.0) == pytest.approx(4.0)


def test_cosine_equals_pytorchs_annealing() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.025)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.001)
    for p in GRID:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(cosine(p, start=0.025, end=0.001))
        optimizer.step()
        scheduler.step()


def test_poly_equals_pytorchs_polynomial() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=20, power=0.9)
    for p in GRID:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(poly(p, start=0.01, power=0.9), abs=1e-15)
        optimizer.step()
        scheduler.step()


def test_exponential_falls_by_one_factor_each_step() -> None:
    values = [exponential(p, start=1.0, end=0.03) for p in GRID]
    ratios = [b / a for a, b in zip(values, values[1:], strict=False)]
    assert ratios == pytest.approx([0.03 ** (1 / 20)] * 20)


@pytest.mark.parametrize(("start", "end"), [(1.0, 0.0), (0.0, 1.0), (-1.0, -1.0)])
def test_exponential_refuses_ends_that_are_not_above_zero(start: float, end: float) -> None:
    with pytest.raises(ValueError, match="expected both above 0"):
        exponential(0.5, start=start, end=end)
