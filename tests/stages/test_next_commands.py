"""The command that a stage prints after `next:` runs as it is printed, whatever the data."""

from __future__ import annotations

import csv
import json
import shlex

import pytest

import nas
from nas.runs.run_config import load_config
from tests.data_kinds import KINDS, SIZE, words_of
from tests.image_folders import write_scenes
from tests.small_jobs import SMALL_SPACE, random_genotype

CPU = ["trainer.accelerator=cpu", "trainer.threads=1"]
SHORT = ["train.max_steps=1", "train.batch_size=2", *CPU]
CLASSES = {"synthetic": 11, "camvid": 11, "folder": 3}


def next_of(outcome, start="next: "):
    """The words after nas of the command printed last."""
    assert outcome.status == 0, outcome.err
    line = outcome.out.splitlines()[-1]
    assert line.startswith(f"{start}nas "), line
    return shlex.split(line.removeprefix(start))[1:]


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_network_is_evaluated_on_the_data_it_was_trained_on(run_nas, tmp_path, kind):
    random_genotype(tmp_path / "genotype.yaml")
    root = tmp_path / "the data, once"
    trained = run_nas("train", "genotype=genotype.yaml", *words_of(kind, root), *SHORT, 'out="a run"')
    words = next_of(trained)
    assert run_nas(*words).status == 0
    report = json.loads((tmp_path / "a run" / "eval.json").read_text())
    name = kind if kind in ("synthetic", "camvid", "cityscapes") else "folder"
    assert (report["data"], report["data_settings"].get("root")) == (name, None if kind == "synthetic" else str(root))
    assert report["size"] == list(SIZE)
    assert len(report["classes"]) == CLASSES.get(kind, 19)
    assert report["split"] == ("val" if kind in ("cityscapes", "kitti", "bdd100k") else "test")
    assert report["images"] == {"kitti": 2}.get(kind, 3)
    genotype = nas.load_genotype(tmp_path / "a run")
    assert (genotype.deploy.input, genotype.deploy.num_classes) == (SIZE, CLASSES.get(kind, 19))
    assert genotype.provenance["classes"] == list(report["classes"])


@pytest.mark.parametrize("classes", [11, 3])
def test_a_search_asks_for_what_was_measured(run_nas, tmp_path, classes):
    shape = ["deploy.input=[48,64]", "deploy.init_channels=4", f"num_classes={classes}"]
    measured = run_nas("profile", *SMALL_SPACE, *shape, "rounds=1", "max_rounds=1", 'out="a table.json"')
    words = next_of(measured, "next: " if classes == 11 else "next, with data of as many classes: ")
    assert (words[-1] == "data=NAME") == (classes == 3)
    data = ["data.size=[48,64]", "data.train=2", "data.val=2"] if classes == 11 else words_of("folder", tmp_path / "tree")
    short = ["search.max_steps=1", "search.batch_size=2", "search.init_channels=2", "search.relaxation=sampled", *CPU]
    assert run_nas(*(word for word in words if word != "data=NAME"), *data, *short, "out=run").status == 0
    assert nas.load_genotype("run").deploy.num_classes == classes


@pytest.mark.parametrize("recipe", [None, "lgcnet_camvid", "[lgcnet_camvid,single_path]"])
def test_a_searched_network_is_trained_on_the_data_of_the_search(run_nas, tmp_path, recipe):
    """With its recipe, if that holds settings of a training; from the search, and from what is derived of it."""
    short = ["search.max_steps=1", "search.batch_size=2", "search.init_channels=2", "deploy.init_channels=4", "latency.table=macs"]
    given = [*words_of("folder", tmp_path / "the data"), *SMALL_SPACE, *short, *CPU]
    size = ["data.size=[48,64]", "search.crop=null"]
    chosen = [] if recipe is None else [f"recipe={recipe}", *size, "search.warmup_epochs=0", "search.candidates=2"]
    searched = next_of(run_nas("search", *given, *chosen, "search.relaxation=sampled", 'out="a search"'))
    assert ("recipe=lgcnet_camvid" in searched) == (recipe is not None)
    derived = next_of(run_nas("derive", 'run="a search"', "out=derived"))
    for number, words in enumerate((searched, derived)):
        assert run_nas(*words, *SHORT, f"out=run{number}").status == 0
        config = load_config(tmp_path / f"run{number}")
        assert config["data"] == load_config(tmp_path / "a search")["data"]
        assert nas.load_genotype(tmp_path / f"run{number}").provenance["classes"] == ["road", "car", "tree"]


def test_an_evaluated_network_is_exported_and_a_file_that_is_scored_is_timed_beside_its_miou(run_nas, tmp_path):
    random_genotype(tmp_path / "genotype.yaml")
    trained = run_nas("train", "genotype=genotype.yaml", *words_of("synthetic", tmp_path), *SHORT, 'out="a run"')
    exported = run_nas(*next_of(run_nas(*next_of(trained), *CPU)))
    assert (tmp_path / "a run" / "model.onnx").exists()
    assert next_of(exported) == ["bench", 'networks="a run/model.onnx"', "runtime=onnxruntime"]
    scored = run_nas("eval", 'onnx="a run/model.onnx"', "pictures=0", "out=scored", *CPU)
    assert run_nas(*next_of(scored), "rounds=1", "bench.processing=false", "out=timed").status == 0
    (row,) = csv.DictReader((tmp_path / "timed" / "bench.csv").read_text().splitlines())
    miou = json.loads((tmp_path / "scored" / "eval.json").read_text())["miou"]
    assert float(row["miou_percent"]) == pytest.approx(100 * miou, abs=1e-3)


@pytest.mark.parametrize("shape", [[], ["deploy.input=[48,64]", "num_classes=3"]])
def test_a_predicted_network_is_timed_at_the_shape_of_the_prediction(run_nas, tmp_path, shape):
    random_genotype(tmp_path / "a genotype.yaml")
    words = next_of(run_nas("predict", 'genotype="a genotype.yaml"', "latency.table=macs", *shape, "out=predicted"))
    assert run_nas(*words, "rounds=1", "bench.processing=false", "out=timed").status == 0
    (timed,) = csv.DictReader((tmp_path / "timed" / "bench.csv").read_text().splitlines())
    deploy = json.loads((tmp_path / "predicted" / "predict.json").read_text())["deploy"]
    assert [int(timed[key]) for key in ("height", "width", "classes")] == [*deploy["input"], deploy["num_classes"]]


def test_after_whole_images_the_segmentation_is_trained_on_the_data_of_the_search(run_nas, tmp_path):
    images = ["data=image_folder", f"data.root={write_scenes(tmp_path / 'images')}", "data.size=[32,40]"]
    images += ["train.task=classification", *SHORT]
    random_genotype(tmp_path / "genotype.yaml")
    alone = run_nas("train", "genotype=genotype.yaml", *images, "out=alone")
    assert next_of(alone, "next, with labels of pixels: ")[-1] == "data=NAME"
    assert run_nas("train", "genotype=genotype.yaml", *words_of("folder", tmp_path / "tree"), *SHORT, "out=first").status == 0
    words = next_of(run_nas("train", "genotype=first", *images, "out=encoder"))
    assert run_nas(*words, *SHORT, "out=second").status == 0
    assert nas.load_genotype(tmp_path / "second").provenance["classes"] == ["road", "car", "tree"]
