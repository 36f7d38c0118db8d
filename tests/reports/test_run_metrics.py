"""Metrics of a run row by row: last values exact, curves as far as a page shows them, memory that does not grow with the run."""

from __future__ import annotations

import tracemalloc

import pytest

from nas.reports.envelope import MOST_SPANS
from nas.reports.panels import PANELS
from nas.reports.run_metrics import run_metrics

CURVES = [curve for curves in PANELS.values() for curve in curves]


@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_reads_its_own_split_and_scalar_only(curve):
    row = {"split": curve.split, "step": 5, curve.key: 1.5}
    found = run_metrics([row, {**row, "split": "other"}, {"split": curve.split, "step": 6}, {**row, curve.key: None}]).curves
    assert found[curve].points() == ([5], [1.5])
    assert {(one.split, one.key) for one in found} == {(curve.split, curve.key)}


def test_no_two_curves_are_of_the_same_scalar():
    assert len({(curve.split, curve.key) for curve in CURVES}) == len(CURVES)


def test_the_last_miou_of_each_evaluation_is_a_fact_and_the_largest_step():
    rows = [
        {"step": 4, "split": "val", "miou": 0.1},
        {"step": 8, "split": "val_argmax", "miou": 0.7},
        {"step": 8, "split": "val", "miou": 1 / 3},
        {"step": 8, "split": "val", "miou": None},
        {"step": 3, "split": "val_teacher", "miou": 0.9},
        {"step": 2},
    ]
    found = run_metrics(rows)
    assert (found.steps, found.miou) == (8, {"val": 1 / 3, "val_argmax": 0.7})
    assert run_metrics([]).steps == 0


def test_memory_does_not_grow_with_the_run():
    def rows(count):
        for step in range(count):
            yield {"step": step, "epoch": 0, "split": "step", "loss": float(step % 977), "lr": 1e-3 * step}
            if step % 100 == 0:
                yield {"step": step, "epoch": 0, "split": "val", "miou": step / count}

    peaks = []
    for count in (20_000, 100_000):
        tracemalloc.start()
        found = run_metrics(rows(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.steps == count - 1
        assert found.miou == {"val": (count - 100) / count}
        assert found.num_points == 2 * count + count // 100 > found.num_shown
        assert all(len(one.points()[0]) <= 4 * MOST_SPANS for one in found.curves.values())
    assert max(peaks) < 5_000_000
