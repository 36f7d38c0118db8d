"""Derivation from checkpoints: in the middle of a search, of the best state, of what is no search."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

import nas
from nas.config.jobs import DeriveJob
from nas.errors import CheckpointError, ConfigError
from nas.runs.checkpoint import load_checkpoint, save_checkpoint
from nas.space.choice import argmax_choices
from nas.stages.derive import derive
from nas.supernet.derivation import genotype_of, space_of
from nas.supernet.search_task import SearchTask
from search_spaces import SEARCH_SPACES
from tests.small_jobs import made_up_table, random_genotype, rows, search_job, search_task, train_job


class StoppedError(Exception):
    """Stands for a sudden death of the process."""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A search that died in its fifth step: last.pt is of step 4."""
    folder = tmp_path_factory.mktemp("stopped")
    made_up_table(folder / "table.json")
    job = search_job(
        folder / "run",
        latency__table=str(folder / "table.json"),
        search__arch_lr=0.1,
        search__relaxation="sampled",
        search__checkpoint_every=4,
    )
    step = SearchTask.step

    def dying(self, images, labels, number):
        if number == 4:
            raise StoppedError
        return step(self, images, labels, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SearchTask, "step", dying)
        with pytest.raises(StoppedError):
            nas.search(job)
    return job


def expected_choices(job, name):
    """The choices of the supernet that a checkpoint restores."""
    task = search_task(job)
    state = load_checkpoint(task_path(job, name))
    task.load_state(state)
    derivation = task.derived.first()
    mended = [repair.split(":")[0] for repair in derivation.repairs]
    largest = argmax_choices(task.supernet.guided_logits()["default"], task.supernet.space.choices())
    assert all(derivation.choices[choice] == option for choice, option in largest.items() if choice not in mended)
    return derivation


def task_path(job, name):
    return Path(job.out) / "checkpoints" / f"{name}.pt"


@pytest.mark.parametrize(("name", "step"), [("last", 4), ("best", 3)])
def test_derivation_in_the_middle_of_a_search_is_that_of_the_state(stopped, tmp_path, name, step):
    result = derive(DeriveJob(run=stopped.out, checkpoint=name, out=str(tmp_path / "new")), SEARCH_SPACES)
    derivation = expected_choices(stopped, name)
    assert result.path == tmp_path / "new" / "genotype.yaml"
    genotype = nas.load_genotype(result.path)
    assert dict(genotype.choices) == dict(result.genotype.choices) == dict(derivation.choices)
    assert result.repairs == derivation.repairs
    assert result.step == genotype.provenance["step"] == step
    assert (genotype.deploy.input, genotype.deploy.init_channels, genotype.deploy.num_classes) == ((48, 64), 4, 11)
    assert genotype.provenance["table"] == "some-board/torch-eager-fp32-b1-t1"
    assert (genotype.provenance["seed"], genotype.provenance["data"]) == (0, "synthetic")
    assert genotype.space_config == {**genotype.space_config, "num_cells": 3, "guided_dim": 8}


def test_genotype_of_the_best_state_is_predicted_at_the_latency_logged_with_it(stopped, tmp_path):
    result = derive(DeriveJob(run=stopped.out, checkpoint="best", out=str(tmp_path)), SEARCH_SPACES)
    ms = nas.predict(result.genotype, nas.load_table(stopped.latency.table)).ms
    (row,) = rows(Path(stopped.out), "val_argmax")
    assert (row["step"], row["latency"]) == (3, pytest.approx(ms, rel=1e-6))


def test_derive_command_writes_into_the_run_and_says_what_next(stopped, run_nas):
    outcome = run_nas("derive", f"run={stopped.out}")
    assert (outcome.status, outcome.err) == (0, "")
    assert "derived after 4 steps of search" in outcome.out
    assert f"next: nas train genotype={stopped.out}/genotype.yaml data=synthetic" in outcome.out
    assert nas.load_genotype(stopped.out).choices == expected_choices(stopped, "last").choices


def test_repairs_are_told_and_their_choices_written(stopped, tmp_path):
    state = load_checkpoint(task_path(stopped, "last"))
    options = next(c.options for c in nas.build_space(stopped.space).choices() if c.name == "cells.0.edge.0")
    state["guided_logits"]["default"]["cell_0"][:, options.index("none")] = 50.0
    save_checkpoint(tmp_path / "checkpoints" / "last.pt", state)
    result = derive(DeriveJob(run=str(tmp_path)), SEARCH_SPACES)
    told = [repair for repair in result.repairs if repair.startswith("cells.0.")]
    assert len(told) == 2  # one for each node of the cell
    for repair in told:
        assert result.genotype.choices[repair.split(":")[0]] != "none"
        assert any(repair in line for line in result.summary())
    assert nas.load_genotype(result.path).choices == result.genotype.choices


def test_run_that_is_no_search_is_status_2(run_nas, tmp_path):
    random_genotype(tmp_path / "genotype.yaml")
    nas.train(train_job(tmp_path / "genotype.yaml", tmp_path / "trained", train__max_steps=1))
    before = (tmp_path / "trained" / "genotype.yaml").read_text()
    outcome = run_nas("derive", "run=trained")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "got a checkpoint of nas train, expected one of nas search" in outcome.err
    assert (tmp_path / "trained" / "genotype.yaml").read_text() == before


@pytest.mark.parametrize("arguments", [["run=nowhere"], ["run=nowhere", "checkpoint=best"], ["run=.", "checkpoint=first"]])
def test_missing_run_or_checkpoint_is_status_2(run_nas, arguments):
    outcome = run_nas("derive", *arguments)
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "no such checkpoint" in outcome.err


def test_damaged_checkpoint_is_status_2(run_nas, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "last.pt").write_bytes(b"torn")
    outcome = run_nas("derive", "run=run")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert outcome.err.startswith("nas derive: run/checkpoints/last.pt: ")


def test_space_that_is_not_installed_is_named(stopped):
    state = load_checkpoint(task_path(stopped, "last"))
    with pytest.raises(CheckpointError, match="of space 'lgcnet', which is not among other; install its package"):
        genotype_of(state, space_of(state, {"other": SEARCH_SPACES["lgcnet"]}))


def test_genotype_file_is_plain_yaml_with_every_section_of_the_format(stopped, tmp_path):
    derive(DeriveJob(run=stopped.out, out=str(tmp_path)), SEARCH_SPACES)
    document = yaml.safe_load((tmp_path / "genotype.yaml").read_text())
    assert list(document) == ["format_version", "space", "space_config", "deploy", "choices", "provenance"]


def test_a_sampled_derivation_draws_from_the_probabilities_of_the_search(stopped, tmp_path):
    state = load_checkpoint(task_path(stopped, "last"))
    logits = {"default": {group: torch.zeros_like(values) for group, values in state["guided_logits"]["default"].items()}}
    group = next(group for group in logits["default"] if group.startswith("fusion"))
    logits["default"][group][0, 1] = 2.0
    decision = next(c for c in nas.build_space(stopped.space).choices() if (c.group, c.row) == (group, 0))
    drawn = [genotype_of({**state, "guided_logits": logits}, space_of(state, SEARCH_SPACES), sample=seed)[0] for seed in range(300)]
    share = sum(one.choices[decision.name] == decision.options[1] for one in drawn) / len(drawn)
    e = torch.tensor(2.0).exp()
    assert share == pytest.approx(float(e / (e + len(decision.options) - 1)), abs=0.1)
    again = genotype_of({**state, "guided_logits": logits}, space_of(state, SEARCH_SPACES), sample=7)[0]
    assert again == drawn[7]
    assert (again.provenance["derive_sample"], "derive_sample" in derive_most_probable(state).provenance) == (7, False)
    result = derive(DeriveJob(run=stopped.out, sample=3, out=str(tmp_path / "drawn")), SEARCH_SPACES)
    assert result.genotype.provenance["derive_sample"] == 3
    with pytest.raises(ConfigError, match="sample: got -1, expected at least 0"):
        DeriveJob(run="x", sample=-1)


def derive_most_probable(state):
    return genotype_of(state, space_of(state, SEARCH_SPACES))[0]
