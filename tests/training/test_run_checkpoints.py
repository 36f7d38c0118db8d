"""Checkpoints of a run: task and loop together, in the format of every version before."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from nas.distributed.ranks import ALONE, Ranks
from nas.errors import CheckpointError
from nas.runs.checkpoint import load_checkpoint
from nas.runs.run_inputs import RunInputs
from nas.runs.tracking import MetricsLog, NoMetrics
from nas.training.loop_state import LoopState
from nas.training.run_checkpoints import Resumption, RunCheckpoints


class Number:
    """A task whose state is a number."""

    def __init__(self, value=0.0):
        self.value = torch.tensor(value)

    def state(self):
        return {"verb": "count", "value": self.value}

    def load_state(self, state):
        self.value = state["value"]


def test_what_is_saved_is_restored_with_the_end_of_the_log(tmp_path):
    state = LoopState(step=3, best=0.5, totals={"loss": 1.5}, counted=2, confusion=torch.eye(2, dtype=torch.int64))
    with MetricsLog(tmp_path / "metrics.jsonl") as metrics:
        metrics.write(step=3, epoch=0, split="step", loss=1.0)
        RunCheckpoints(Number(7.0), tmp_path, ALONE).save(state, metrics)
    task = Number()
    restored = RunCheckpoints(task, tmp_path, ALONE).restore()
    assert float(task.value) == 7.0
    assert torch.equal(restored.confusion, state.confusion)
    assert dataclasses.replace(restored, confusion=None) == dataclasses.replace(state, confusion=None)
    assert restored.metrics_offset == (tmp_path / "metrics.jsonl").stat().st_size > 0
    assert not (tmp_path / "checkpoints" / "best.pt").exists()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (b'"step": 3,', b'"s": 3,', "metrics.jsonl: got .* bytes, expected at least the"),
        (
            b'"split": "step"',
            b'"split": 1111.5',
            "metrics.jsonl:1: split: got 1111.5, expected a text; put the file of the run back",
        ),
    ],
)
def test_metrics_that_are_not_those_of_the_checkpoint_are_refused_before_anything_of_the_run_changes(tmp_path, before, after, said):
    with MetricsLog(tmp_path / "metrics.jsonl") as metrics:
        metrics.write(step=3, epoch=0, split="step", loss=1.0)
        RunCheckpoints(Number(7.0), tmp_path, ALONE).save(LoopState(step=3), metrics)
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(file.read_bytes().replace(before, after))
    task, goes_on = Number(), []
    resumption = Resumption(RunInputs({}), lambda: goes_on.append(True))
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(tmp_path))}/{said}"):
        RunCheckpoints(task, tmp_path, ALONE, resumption).restore()
    assert (float(task.value), goes_on) == (0.0, [])


def test_what_was_written_after_the_checkpoint_is_not_looked_at(tmp_path):
    with MetricsLog(tmp_path / "metrics.jsonl") as metrics:
        metrics.write(step=3, epoch=0, split="step", loss=1.0)
        RunCheckpoints(Number(7.0), tmp_path, ALONE).save(LoopState(step=3), metrics)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b"torn and no row\n{")
    assert RunCheckpoints(Number(), tmp_path, ALONE).restore().step == 3


def test_the_format_has_the_state_of_the_task_and_that_of_the_loop(tmp_path):
    RunCheckpoints(Number(7.0), tmp_path, ALONE).save(LoopState(step=1), NoMetrics(), best=True)
    for name in ("last", "best"):
        saved = load_checkpoint(tmp_path / "checkpoints" / f"{name}.pt")
        assert list(saved) == ["verb", "value", "loop", "planned_steps"]
        assert list(saved["loop"]) == ["step", "best", "metrics_offset", "totals", "counted", "confusion"]


def test_only_the_first_process_writes_and_counts_what_a_checkpoint_has_of_the_confusion(tmp_path):
    state = LoopState(step=1, confusion=torch.ones(2, 2))
    RunCheckpoints(Number(), tmp_path, ALONE).save(state, NoMetrics())
    other = RunCheckpoints(Number(), tmp_path, Ranks(number=1))
    assert not other.restore().confusion.any()
    path = other.save_nonfinite(LoopState(step=2))
    assert path == tmp_path / "checkpoints" / "nonfinite.pt"
    assert not path.exists()
    assert RunCheckpoints(Number(3.0), tmp_path, ALONE).save_nonfinite(LoopState(step=2)) == path
    assert float(load_checkpoint(path)["value"]) == 3.0


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        RunCheckpoints(Number(), tmp_path, ALONE).restore()
