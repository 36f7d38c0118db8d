"""The checkpoints of a run: the state of its task and of its loop together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.distributed.ranks import Ranks
from nas.runs import checkpoint
from nas.runs.run_inputs import RunInputs
from nas.runs.rundir import METRICS
from nas.runs.state_checks import checked_as
from nas.runs.tracking import MetricsLog, check_offset, check_rows
from nas.training.loop_state import LoopState, Task


@dataclass(frozen=True, slots=True)
class Resumption:
    """What a resume compares, and what it changes.

    Args:
        inputs: What the run is made of; checkpoints keep it.
        restored: What the first process does once a checkpoint is taken up; before, nothing of the run changes.
    """

    inputs: RunInputs
    restored: Callable[[], None]


class RunCheckpoints:
    """Saves and restores a run; the first process alone writes.

    Args:
        task: What is trained.
        out: Folder of the run; the checkpoints lie in its folder `checkpoints`.
        ranks: The processes of the run.
        resumption: What a resume compares and changes; None: nothing.
    """

    def __init__(self, task: Task, out: Path, ranks: Ranks, resumption: Resumption | None = None) -> None:
        self.task, self.folder, self.ranks, self.resumption = task, out / "checkpoints", ranks, resumption

    def save(self, state: LoopState, metrics: MetricsLog, *, best: bool = False) -> None:
        """Write `last.pt`, and with `best` also `best.pt`, once all processes were found to have the same state."""
        state.gather(self.ranks)
        saved = self.task.state()
        self.ranks.require_same(saved)
        state.metrics_offset = metrics.offset()
        if self.ranks.is_first:
            checkpoint.save_last(self.folder, self._with_loop(saved, state), best=best)

    def save_nonfinite(self, state: LoopState) -> Path:
        """Write the state that led to a loss that is not finite; the file."""
        path = self.folder / "nonfinite.pt"
        state.gather(self.ranks)
        if self.ranks.is_first:
            path.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.save_checkpoint(path, self._with_loop(self.task.state(), state))
        return path

    def restore(self) -> LoopState:
        """Give the task the state of `last.pt`; the loop's own state.

        Raises:
            ConfigError: If the inputs of the run have changed.
            CheckpointError: If the file is missing or damaged, holds what the task cannot take up, or counts more metrics than
                there are, or if a row of them is none; then nothing is loaded, and nothing of the run is changed.
        """
        path = self.folder / "last.pt"
        saved = checkpoint.load_checkpoint(path)
        with checked_as(path):
            if self.resumption is not None:
                self.resumption.inputs.check(saved.get("inputs"))
            state = LoopState.of(saved["loop"], planned=saved.get("planned_steps"))
        if self.ranks.is_first:
            check_offset(self.folder.parent / METRICS, state.metrics_offset)
            check_rows(self.folder.parent / METRICS, state.metrics_offset)
        with checked_as(path):
            self.task.load_state(saved)
        if self.resumption is not None and self.ranks.is_first:
            self.resumption.restored()
        if state.confusion is not None and not self.ranks.is_first:
            state.confusion = torch.zeros_like(state.confusion)
        return state

    def _with_loop(self, saved: dict[str, Any], state: LoopState) -> dict[str, Any]:
        inputs = {} if self.resumption is None else {"inputs": dict(self.resumption.inputs.digests)}
        return {**saved, "loop": state.plain(), "planned_steps": state.planned, **inputs}
