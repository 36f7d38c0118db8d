"""A resume with other inputs than the run was started with is refused by name, or accepted by a setting."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

import nas
from nas.cost import save_table
from nas.runs.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from tests.label_trees import CLASSES, write_folder
from tests.small_jobs import SIZE, made_up_table, overrides, random_genotype, search_job, train_job

ROAD, CAR, TREE = CLASSES.splitlines()[1:4]
OTHER = "resume: run trains the classes road, car, tree, and the data now state "
RECODED = "resume: other classes than when the run was started"


@pytest.mark.parametrize(
    ("classes", "status", "said"),
    [
        (CLASSES, 0, ""),
        (CLASSES.replace("car", "bus"), 2, f"{OTHER}road, bus, tree;"),
        (CLASSES.replace(f"{ROAD}\n{CAR}", f"{CAR}\n{ROAD}"), 2, f"{OTHER}car, road, tree;"),
        (CLASSES.replace(TREE, f"{TREE}\n  - {{name: bus, id: 7}}"), 2, f"{OTHER}road, car, tree, bus;"),
        (CLASSES.replace("[1, 5]", "[1, 9]").replace("id: 9", "id: 5"), 2, RECODED),
        (CLASSES.replace("[1, 5]", "[1]").replace("[255, 4]", "[255, 4, 5]"), 2, RECODED),
    ],
    ids=["same", "renamed", "in another order", "one more", "stored otherwise", "void otherwise"],
)
def test_a_training_is_resumed_with_the_classes_that_it_trains(run_nas, tmp_path, classes, status, said):
    random_genotype(tmp_path / "given.yaml")
    write_folder(tmp_path / "tree", size=SIZE)
    words = ["genotype=given.yaml", "data=folder", "data.root=tree", "train.max_steps=1", "trainer.accelerator=cpu"]
    assert run_nas("train", *words, "out=run").status == 0
    (tmp_path / "tree" / "classes.yaml").write_text(classes)
    outcome = run_nas("train", *words, "resume=run")
    assert outcome.status == status
    assert said in outcome.err


def test_other_images_than_before_are_refused_or_accepted(run_nas, tmp_path):
    random_genotype(tmp_path / "given.yaml")
    write_folder(tmp_path / "tree", size=SIZE)
    words = ["genotype=given.yaml", "data=folder", "data.root=tree", "train.max_steps=1", "trainer.accelerator=cpu"]
    assert run_nas("train", *words, "out=run").status == 0
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    held = load_checkpoint(path)
    assert list(held["inputs"]) == ["training images", "validation images", "classes", "number of classes"]
    held["inputs"]["training images"] = "of other images"
    save_checkpoint(path, held)
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir() if file.is_file()}
    refused = run_nas("train", *words, "resume=run")
    assert refused.status == 2
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir() if file.is_file()} == before
    assert "done.json" in before
    assert "resume: other training images than when the run was started" in refused.err
    assert run_nas("train", *words, "resume=run", "accept_changes=true").status == 0


def test_other_costs_of_an_operation_than_before_are_refused_and_further_entries_are_not(run_nas, tmp_path):
    table = made_up_table(tmp_path / "table.json")
    job = search_job(tmp_path / "run", latency__table=str(tmp_path / "table.json"), search__max_steps=1, search__eval_every=0)
    nas.search(job)
    words = [*overrides(job), f"resume={tmp_path / 'run'}"]
    key, entry = next(iter(table.entries.items()))
    changed = {**table.entries, key: replace(entry, median_ms=2 * entry.median_ms, p90_ms=2 * entry.median_ms)}
    save_table(replace(table, entries=changed), tmp_path / "table.json")
    before = contents(tmp_path / "run")
    refused = run_nas("search", *words)
    assert (refused.status, len(refused.err_lines)) == (2, 1)
    assert "resume: other latency table 1 than when the run was started; put them back" in refused.err
    assert contents(tmp_path / "run") == before
    accepted = run_nas("search", *words, "accept_changes=true")
    assert accepted.status == 0
    assert "resume: goes on with other latency table 1 than when the run was started" in accepted.out


def test_another_teacher_and_other_weights_than_before_are_refused_by_name(run_nas, tmp_path):
    random_genotype(tmp_path / "given.yaml")
    first = {"train__max_steps": 1}
    nas.train(train_job(tmp_path / "given.yaml", tmp_path / "first", **first))
    weights = tmp_path / "copy.safetensors"
    shutil.copy(tmp_path / "first" / "weights.safetensors", weights)
    given = {"distill__teacher": str(tmp_path / "first"), "weights": str(weights)}
    job = train_job(tmp_path / "given.yaml", tmp_path / "run", **first, **given)
    nas.train(job)
    for path in (tmp_path / "first" / "weights.safetensors", weights):
        tensors = load_weights(path)
        save_weights(path, {name: value / 2 if value.is_floating_point() else value for name, value in tensors.items()})
    before = contents(tmp_path / "run")
    refused = run_nas("train", *overrides(job), f"resume={tmp_path / 'run'}")
    assert (refused.status, len(refused.err_lines)) == (2, 1)
    assert "resume: other teacher, weights than when the run was started" in refused.err
    assert contents(tmp_path / "run") == before


def contents(run):
    return {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()}
