"""A run whose files go, or whose disk is full, says what is left of it in one line."""

from __future__ import annotations

import errno
import os
import shutil

import pytest

from nas.cli.command_line import main
from nas.training.train_task import TrainTask
from tests.small_jobs import STEPS_PER_EPOCH, overrides, random_genotype, train_job

TOTAL = 2 * STEPS_PER_EPOCH


@pytest.mark.parametrize("gone", ["", "metrics.jsonl", "config.yaml"])
def test_a_run_that_is_removed_while_it_works_ends_in_one_line(gone, tmp_path, monkeypatch, capsys):
    random_genotype(tmp_path / "genotype.yaml")
    job, out, step = train_job(tmp_path / "genotype.yaml", tmp_path / "run"), tmp_path / "run", TrainTask.step

    def removing(self, images, labels, number):
        if number == STEPS_PER_EPOCH:
            (out / gone).unlink() if gone else shutil.rmtree(out)
        return step(self, images, labels, number)

    monkeypatch.setattr(TrainTask, "step", removing)
    assert main(["train", *overrides(job)]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nas train: ")]
    assert len(said) == 1
    assert f"{out / (gone or 'metrics.jsonl')}: removed while" in said[0]
    assert "so that nothing can be resumed" in said[0]
    assert not (out / "done.json").exists()


def test_a_full_disk_names_the_step_from_which_the_run_goes_on(tmp_path, monkeypatch, capsys):
    random_genotype(tmp_path / "genotype.yaml")
    job, out = train_job(tmp_path / "genotype.yaml", tmp_path / "run"), tmp_path / "run"
    monkeypatch.setattr("nas.stages.train.save_weights", full_disk)
    assert main(["train", *overrides(job)]) == 1
    assert (
        f"weights.safetensors: the disk is full; make room; then resume={out} goes on from step {TOTAL}" in capsys.readouterr().err
    )
    monkeypatch.undo()
    assert main(["train", *overrides(job), f"resume={out}"]) == 0
    assert (out / "done.json").exists()


def full_disk(path, *_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
