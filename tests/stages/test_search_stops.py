"""What stops a search, before its first step or in the middle, and what does not: void images."""

from __future__ import annotations

import math
import multiprocessing
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

import nas
from nas.data.batches.file_handles import A_WORKER, BESIDE
from nas.data.synthetic import SyntheticDataset
from nas.errors import ConfigError, NonFiniteLossError
from nas.runs.checkpoint import load_checkpoint
from nas.supernet.search_task import SearchTask
from nas.training.loop import fit
from tests.label_trees import write_folder
from tests.small_jobs import allow_open_files, batch, made_up_table, overrides, rows, search_job, search_task


@pytest.mark.parametrize("unit", ["ms", "us"])
@pytest.mark.parametrize("table", ["macs", "none"])
def test_absolute_units_are_refused_where_there_are_no_milliseconds(tmp_path, unit, table):
    with pytest.raises(ConfigError, match=f"got .*{unit}, expected relative"):
        nas.search(search_job(tmp_path / "run", latency__table=table, latency__unit=unit))
    assert not (tmp_path / "run").exists()


def test_missing_table_is_status_2_and_the_same_command_runs_once_it_is_there(run_nas, tmp_path):
    job = search_job("run", latency__table=str(tmp_path / "table.json"), search__max_steps=1, search__eval_every=0)
    outcome = run_nas("search", *overrides(job))
    assert outcome.status == 2
    assert len(outcome.err_lines) <= 2
    assert str(tmp_path / "table.json") in outcome.err
    made_up_table(tmp_path / "table.json")
    assert run_nas("search", *overrides(job)).status == 0


@pytest.mark.parametrize("by", ["path", "name"])
def test_missing_entries_are_status_2_with_a_command_that_really_measures_them(run_nas, tmp_path, by):
    few = ["space.num_cells=1", "space.reduction_cells=[]", "space.head=none", "deploy.input=[48,64]", "deploy.init_channels=4"]
    out = ["out=folder/table.json"] if by == "path" else []
    short = ["rounds=1", "max_rounds=1"]
    assert run_nas("profile", *few, *short, "device=this-machine", *out).status == 0
    table = "folder/table.json" if by == "path" else "this-machine/torch-eager"
    space = {"space__head": "none", "space__num_cells": 2, "space__reduction_cells": [1]}
    space["space__ops"] = ["skip_connect", "none", "conv_3x3"]
    job = search_job("run", latency__table=table, search__max_steps=1, search__eval_every=0, **space)
    refused = run_nas("search", *overrides(job))
    assert refused.status == 2
    assert len(refused.err_lines) == 2
    assert "operations were not measured: " in refused.err_lines[0]
    command = shlex.split(refused.err_lines[1].partition("measure them with: ")[2])
    assert command[:2] == ["nas", "profile"]
    assert run_nas(*command[1:], *short).status == 0
    assert run_nas("search", *overrides(job)).status == 0


def poison(monkeypatch, number):
    """Make the images of one step NaN; returns what the supernet was before it."""
    before = {}
    step = SearchTask.step

    def poisoned(self, images, labels, current):
        if current == number:
            before.update({name: p.detach().clone() for name, p in self.supernet.named_parameters()})
            images = images * math.nan
        return step(self, images, labels, current)

    monkeypatch.setattr(SearchTask, "step", poisoned)
    return before


def test_non_finite_loss_names_step_and_images_and_moves_nothing(tmp_path, monkeypatch):
    before = poison(monkeypatch, 4)
    job = search_job(tmp_path / "run", search__relaxation="sampled")
    with pytest.raises(NonFiniteLossError) as caught:
        nas.search(job)
    order = np.random.default_rng(np.random.SeedSequence([0, 1], spawn_key=(0,))).permutation(6)[2:4]
    assert "got loss nan" in str(caught.value)
    assert f"at step 4 of epoch 2 on the batch train_{order[0]:05d}, train_{order[1]:05d}" in str(caught.value)
    state = load_checkpoint(tmp_path / "run" / "checkpoints" / "nonfinite.pt")
    assert state["loop"]["step"] == 4
    assert len(before) > 100
    assert all(torch.equal(state["supernet"][name], value) for name, value in before.items())
    assert all(bool(value.isfinite().all()) for value in before.values())


def test_non_finite_loss_is_status_1_and_the_run_goes_on_from_its_last_checkpoint(run_nas, monkeypatch):
    job = search_job("run", search__relaxation="sampled")
    with monkeypatch.context() as patch:
        poison(patch, 4)
        outcome = run_nas("search", *overrides(job))
    assert outcome.status == 1
    what, advice = outcome.err_lines
    assert what.startswith("nas search: got loss nan")
    assert "the learning rate was " in what
    assert advice.startswith("start again with a smaller search.weight_lr (now 0.025), or a smaller search.grad_clip (now 5), in ")
    assert f"resume=run goes on from {Path('run/checkpoints/last.pt')}" in advice
    assert run_nas("search", *overrides(job), "resume=run").status == 0


def test_all_void_batch_gives_zero_cross_entropy_and_finite_gradients():
    task = search_task(search_job(search__weight_decay=0.0))
    images, labels = batch()
    weights = [p.detach().clone() for p in task.supernet.weight_parameters()]
    row, matrix = task.step(images, torch.full_like(labels, 255), 0)
    assert row["cross_entropy"] == 0
    assert row["loss"] == pytest.approx(task.job.latency.weight * row["sampled_latency"] / task.control.uniform[0])
    assert int(matrix.sum()) == 0
    assert all(torch.equal(old, new) for old, new in zip(weights, task.supernet.weight_parameters(), strict=True))
    grads = [p.grad for p in task.supernet.weight_parameters() if p.grad is not None]
    assert grads
    assert all(not grad.any() for grad in grads)
    assert all(bool(p.grad.isfinite().all()) for p in task.supernet.arch_parameters())
    later, _ = task.step(images, labels, 1)
    assert later["cross_entropy"] > 0


def test_search_on_void_images_goes_on(tmp_path, monkeypatch):
    load = SyntheticDataset.load

    def half_void(self, index):
        image, label = load(self, index)
        return (image, np.full_like(label, 255)) if index % 2 else (image, label)

    monkeypatch.setattr(SyntheticDataset, "load", half_void)
    result = nas.search(search_job(tmp_path / "run", search__batch_size=1, search__epochs=1, search__relaxation="sampled"))
    entropies = [row["cross_entropy"] for row in rows(result.out, "step")]
    assert sorted(value == 0 for value in entropies) == [False] * 3 + [True] * 3
    assert all(math.isfinite(value) for value in entropies)


def test_too_few_open_files_for_the_workers_of_both_levels_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    allow_open_files(monkeypatch, BESIDE + A_WORKER)
    with pytest.raises(ConfigError, match=f"data.workers: got 1, which need {2 * (BESIDE + A_WORKER)} open files"):
        nas.search(search_job(tmp_path / "run", search__level="bilevel", data__workers=1))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_goes_after_the_check_of_the_data_is_the_same_line_with_workers_and_without(
    run_nas, tmp_path, monkeypatch, workers
):
    write_folder(tmp_path / "data")
    for image in (tmp_path / "data" / "images" / "train").iterdir():
        gone = image

    def fit_without(*arguments, **settings):
        gone.unlink()
        fit(*arguments, **settings)

    monkeypatch.setattr("nas.stages.search.fit", fit_without)
    job = search_job("run", data__workers=workers, search__batch_size=3)
    words = [word for word in overrides(job) if not word.startswith("data")]
    outcome = run_nas("search", *words, "data=folder", f"data.root={tmp_path / 'data'}", f"data.workers={workers}")
    assert outcome.status == 2
    assert outcome.err_lines[-1] == f"nas search: {gone}: no such file; restore it"
    assert "Traceback" not in outcome.err
    assert multiprocessing.active_children() == []
