"""Settings of a run under those that are given: which data set an evaluation takes, alone, with changes, and in a sweep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

import nas
from nas.config.jobs import EvalJob
from nas.data.folder import FolderConfig
from nas.errors import CheckpointError
from nas.runs.checkpoint import load_weights, save_weights
from nas.stages.evaluate import evaluate
from search_spaces import SEARCH_SPACES
from tests.label_trees import CLASSES, write_folder
from tests.small_jobs import random_genotype, train_job

CPU = ["trainer.accelerator=cpu", "trainer.threads=1", "pictures=0"]
SIZE = (48, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two data sets, one with another class, and a training on the first with an average of its weights."""
    folder = tmp_path_factory.mktemp("settings")
    write_folder(folder / "tree", size=SIZE)
    write_folder(folder / "other", size=SIZE)
    (folder / "other" / "classes.yaml").write_text(CLASSES.replace("car", "bus"))
    random_genotype(folder / "genotype.yaml")
    job = train_job(folder / "genotype.yaml", folder / "run", train__ema=0.5, train__epochs=1)
    job.data = FolderConfig(root=str(folder / "tree"), every=2, holdout=2)
    nas.train(job)
    return folder


def evaluated(run_nas, *words, out="out"):
    outcome = run_nas("eval", *words, *CPU, f"out={out}")
    assert (outcome.status, outcome.err) == (0, "")
    return json.loads(Path(out, "eval.json").read_text())


def refused(run_nas, *words):
    outcome = run_nas("eval", *words, *CPU, "out=out")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1), outcome.err
    return outcome.err


SOURCES = {
    "run": ["run={run}"],
    "parts of a run": ["genotype={run}/genotype.yaml", "weights={run}/weights.safetensors"],
    "a checkpoint of a run": ["genotype={run}", "weights={run}/checkpoints/best.pt"],
    "run with weights": ["run={run}", "weights={run}/checkpoints/last.pt"],
    "checkpoint": ["run={run}", "checkpoint=best"],
}


@pytest.mark.parametrize("words", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("changes", [{}, {"every": 1, "size": [24, 32]}], ids=["as it is", "changed"])
def test_an_evaluation_takes_the_data_of_the_run_and_what_is_given_replaces_them(folder, run_nas, words, changes):
    words = [word.format(run=folder / "run") for word in words]
    report = evaluated(run_nas, *words, "split=val", *(f"data.{key}={value}" for key, value in changes.items()))
    stated = yaml.safe_load((folder / "run" / "config.yaml").read_text())["data"]
    assert report["data_settings"] == {**stated, **changes}
    assert stated["holdout"] == stated["every"] == 2
    assert (report["data"], report["images"]) == ("folder", 2 if changes else 1)
    assert report["size"] == changes.get("size", list(SIZE))


def test_every_source_of_the_weights_gives_the_same_numbers(folder, run_nas):
    """One epoch: the last checkpoint is the best, and holds what was saved as the weights at the end."""
    scores = set()
    for number, words in enumerate(SOURCES.values()):
        words = [word.format(run=folder / "run") for word in words]
        report = evaluated(run_nas, *words, "split=val", out=str(number))
        scores.add(tuple(row["iou"] for row in report["classes"].values()))
    assert len(scores) == 1
    names = ("weights.safetensors", "checkpoints/best.pt")
    torch.testing.assert_close(*(load_weights(folder / "run" / name) for name in names), rtol=0, atol=0)


def test_python_takes_the_data_of_the_run_too(folder, tmp_path):
    job = EvalJob(run=str(folder / "run"), split="val", pictures=0, out=str(tmp_path / "out"))
    assert (evaluate(job, SEARCH_SPACES).data, job.data) == ("folder", None)
    job.data = FolderConfig(root=str(folder / "other"))
    with pytest.raises(CheckpointError, match="whose class 1 is 'bus', expected 'car' as the network was trained on"):
        evaluate(job, SEARCH_SPACES)


def test_classes_of_the_same_number_and_other_names_need_a_map(folder, run_nas, tmp_path):
    words = [f"run={folder / 'run'}", f"data.root={folder / 'other'}"]
    message = refused(run_nas, *words)
    assert "whose class 1 is 'bus', expected 'car' as the network was trained on" in message
    assert "give the data set that it was trained on, or class_map=" in message
    (tmp_path / "map.yaml").write_text("road: road\ncar: bus\ntree: tree\n")
    assert list(evaluated(run_nas, *words, "class_map=map.yaml")["classes"]) == ["road", "bus", "tree"]


def test_the_run_keeps_the_names_though_its_class_file_changes(folder, run_nas, tmp_path):
    """The data have moved, and their file of classes has changed since."""
    (tmp_path / "moved").symlink_to(folder / "other")
    assert "whose class 1 is 'bus', expected 'car'" in refused(run_nas, f"run={folder / 'run'}", "data.root=moved")


def test_data_that_have_moved_are_refused_with_the_key_to_give(folder, run_nas, tmp_path):
    (folder / "tree").rename(tmp_path / "moved")
    try:
        message = refused(run_nas, f"run={folder / 'run'}")
        assert f"data.root: got {folder / 'tree'} from {folder / 'run' / 'config.yaml'}, and there is no such folder" in message
        assert evaluated(run_nas, f"run={folder / 'run'}", "data.root=moved")["data_settings"]["root"] == "moved"
    finally:
        (tmp_path / "moved").rename(folder / "tree")


REFUSED = {
    "weights of no run": (["genotype={run}", "weights=w.safetensors"], "data is missing, and there is no config.yaml of a run"),
    "weights of no run and a setting": (["genotype={run}", "weights=w.safetensors", "data.size=[8,8]"], "data is missing"),
    "a setting and no run": (["data.size=[8,8]"], "data.size: got it without a data set; give data=NAME, or run=FOLDER"),
    "a setting that the data set lacks": (
        ["run={run}", "data.rooot=x"],
        "data.rooot: there is no such key; did you mean data.root",
    ),
    "a wrong value": (["run={run}", "data.size=3"], "data.size: got a single value, expected a list"),
    "no such run": (["run=nowhere", "data.size=[8,8]"], "nowhere: no such folder; give run= the folder of a finished nas train"),
}


@pytest.mark.parametrize(("words", "message"), REFUSED.values(), ids=REFUSED)
def test_nothing_is_evaluated_on_data_that_nobody_named(folder, run_nas, tmp_path, words, message):
    (tmp_path / "w.safetensors").write_bytes((folder / "run" / "weights.safetensors").read_bytes())
    assert message in refused(run_nas, *(word.format(run=folder / "run") for word in words))
    assert not (tmp_path / "out").exists()


def test_weights_that_only_a_search_names_classes_for_are_evaluated_with_a_warning(folder, run_nas, tmp_path):
    """The genotype is of a search on drawn scenes; the weights, with as many classes, may be of another training."""
    random_genotype(tmp_path / "genotype.yaml")
    network = nas.build(nas.load_genotype("genotype.yaml"))
    save_weights(tmp_path / "w.safetensors", network.state_dict())
    write_folder(tmp_path / "tree", size=SIZE)
    (tmp_path / "tree" / "classes.yaml").write_text("classes: [" + ", ".join("abcdefghijk") + "]\nignore: [255]\n")
    outcome = run_nas("eval", "genotype=genotype.yaml", "weights=w.safetensors", "data=folder", "data.root=tree", *CPU, "out=out")
    assert outcome.status == 0
    assert "whose class 0 is 'a', expected 'sky' as the network was trained on" in outcome.out + outcome.err


def test_each_job_of_a_sweep_takes_the_data_of_its_own_run(folder, run_nas, tmp_path):
    random_genotype(tmp_path / "genotype.yaml")
    nas.train(train_job("genotype.yaml", "drawn", train__max_steps=1))
    words = [f"run={folder / 'run'},drawn", "data.every=1", "split=val"]
    outcome = run_nas("eval", "-m", *words, *CPU, "out=sweep")
    assert (outcome.status, outcome.err) == (0, "")
    reports = [json.loads((tmp_path / "sweep" / number / "eval.json").read_text()) for number in "01"]
    assert [report["data"] for report in reports] == ["folder", "synthetic"]
    assert [report["data_settings"]["every"] for report in reports] == [1, 1]


def test_the_config_shows_the_merged_settings(folder, run_nas):
    shown = yaml.safe_load(run_nas("eval", f"run={folder / 'run'}", "data.size=[8,8]", "--cfg", "job").out)["data"]
    assert (shown["size"], shown["holdout"], shown["name"]) == ([8, 8], 2, "folder")


def test_names_that_are_given_for_pictures_are_those_of_the_network(folder, run_nas):
    words = [f"run={folder / 'run'}", f"images={folder / 'tree' / 'images' / 'test'}"]
    assert "whose class 1 is 'bus'" in refused(run_nas, *words, f"data.root={folder / 'other'}")
    assert evaluated(run_nas, *words)["classes"] == ["road", "car", "tree"]


def test_a_run_of_before_knows_its_classes_from_its_data(folder, tmp_path):
    """It did not state them."""
    run = tmp_path / "old"
    run.mkdir()
    for name in ("config.yaml", "weights.safetensors"):
        (run / name).write_bytes((folder / "run" / name).read_bytes())
    random_genotype(run / "genotype.yaml")
    job = EvalJob(run=str(run), pictures=0, split="val", data=FolderConfig(root=str(folder / "other")))
    with pytest.raises(CheckpointError, match=r"whose class 1 is 'bus', expected 'car' .*config\.yaml, data=folder"):
        evaluate(job, SEARCH_SPACES)
