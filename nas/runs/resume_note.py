"""What an error that stops a run says about going on with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.errors import CheckpointError
from nas.files.command_words import setting
from nas.runs.checkpoint import load_checkpoint, steps_done
from nas.runs.run_config import CONFIG
from nas.runs.rundir import CHECKPOINT, METRICS


@contextmanager
def noting_resume(out: Path) -> Iterator[None]:
    """Add to an `OSError` from which step `resume=` goes on with the run of a folder, as its last checkpoint states it."""
    try:
        yield
    except OSError as error:
        error.add_note(where_to_resume(out))
        raise


def where_to_resume(out: Path) -> str:
    """From which step a run can be gone on with, or why it cannot."""
    gone = [name for name in (CONFIG, METRICS, CHECKPOINT) if not (out / name).is_file()]
    if gone == [CHECKPOINT]:
        return f"then start it again by {setting('out', out)} resume=auto, for it has no {CHECKPOINT} to go on from"
    if gone:
        return (
            f"{out} has no {' and no '.join(map(str, gone))}, so that nothing can be resumed; start from scratch in another folder"
        )
    try:
        step = steps_done(load_checkpoint(out / CHECKPOINT), out / CHECKPOINT)
    except CheckpointError:
        return f"{out / CHECKPOINT} cannot be read, so that nothing can be resumed; start from scratch in another folder"
    return f"then {setting('resume', out)} goes on from step {step}"
