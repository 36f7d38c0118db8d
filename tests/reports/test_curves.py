"""Curves of a run: every point is a row of the metrics, and nothing is drawn of what a run does not have."""

from __future__ import annotations

import io

import pytest

from nas.reports.curves import draw_curves
from nas.reports.run_metrics import run_metrics

ROWS = [
    {"step": 1, "epoch": 0, "split": "step", "loss": 3.0, "tau": 1.0},
    {"step": 2, "epoch": 0, "split": "step", "loss": 2.0, "tau": 0.5},
    {"step": 2, "epoch": 0, "split": "train", "loss": 2.5, "tau": 0.75, "miou": None, "entropy": 0.9, "expected_latency": 7.0},
    {"step": 2, "epoch": 0, "split": "val", "miou": 0.1, "latency": 6.0},
    {"step": 2, "epoch": 0, "split": "val_argmax", "miou": 0.2, "latency": 5.0},
    {"step": 4, "epoch": 1, "split": "train", "loss": 1.5, "tau": 0.2, "miou": 0.3, "entropy": 0.8, "expected_latency": 6.5},
]


def drawn(figure):
    """Title -> label -> points."""
    return {
        axes.get_title(loc="left"): {line.get_label(): list(map(tuple, line.get_xydata().tolist())) for line in axes.get_lines()}
        for axes in figure.axes
    }


def test_every_point_is_a_row_and_rows_without_a_number_are_left_out():
    assert drawn(draw_curves(run_metrics(ROWS).curves, cost_unit="ms")) == {
        "loss": {"single steps": [(1, 3.0), (2, 2.0)], "mean of an epoch": [(2, 2.5), (4, 1.5)]},
        "mIoU": {"training": [(4, 0.3)], "validation": [(2, 0.1)], "validation, argmax": [(2, 0.2)]},
        "expected latency [ms]": {"of softmax(alpha)": [(2, 7.0), (4, 6.5)], "as sampled": [(2, 6.0)], "argmax": [(2, 5.0)]},
        "entropy of the decisions": {"1: uniform, 0: decided": [(2, 0.9), (4, 0.8)]},
        "temperature": {"single steps": [(1, 1.0), (2, 0.5)], "mean of an epoch": [(2, 0.75), (4, 0.2)]},
    }


@pytest.mark.parametrize("rows", [[], [{"step": 1, "epoch": 0, "split": "train", "unknown": 1.0}]])
def test_run_without_scalars_has_no_curves(rows):
    assert draw_curves(run_metrics(rows).curves) is None


def test_one_row_is_a_point_that_can_be_seen():
    figure = draw_curves(run_metrics(ROWS[2:3]).curves)
    assert {line.get_marker() for axes in figure.axes for line in axes.get_lines()} == {"o"}
    figure.savefig(io.BytesIO(), format="png")
