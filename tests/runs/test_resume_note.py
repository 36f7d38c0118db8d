"""An error that stops a run says from which step the run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.runs.checkpoint import save_checkpoint
from nas.runs.resume_note import noting_resume, where_to_resume
from nas.runs.run_config import CONFIG
from nas.runs.rundir import CHECKPOINT, METRICS


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / CONFIG).write_text("verb: train\n")
    (tmp_path / METRICS).write_text("")
    save_checkpoint(tmp_path / CHECKPOINT, {"loop": {"step": 7}})
    return tmp_path


def test_the_step_of_the_last_checkpoint_is_noted(run: Path) -> None:
    with pytest.raises(OSError, match="full") as caught, noting_resume(run):
        raise OSError(28, "full")
    assert caught.value.__notes__ == [f"then resume={run} goes on from step 7"]


def test_what_is_gone_is_named(run: Path) -> None:
    (run / METRICS).unlink()
    assert "has no metrics.jsonl, so that nothing can be resumed" in where_to_resume(run)


def test_before_the_first_checkpoint_the_folder_serves_again(run: Path) -> None:
    (run / CHECKPOINT).unlink()
    assert where_to_resume(run).startswith(f"then start it again by out={run} resume=auto,")


def test_a_checkpoint_that_cannot_be_read_is_no_place_to_go_on_from(run: Path) -> None:
    (run / CHECKPOINT).write_bytes(b"torn")
    assert "last.pt cannot be read, so that nothing can be resumed" in where_to_resume(run)
