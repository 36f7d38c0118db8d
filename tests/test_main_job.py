"""The main job as a user runs it: profile, search, derive, train, eval, show, predict; and searches side by side."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from PIL import Image

import nas
from nas.runs.tracking import read_metrics
from tests.small_jobs import SMALL_SPACE

pytestmark = pytest.mark.pages
DEPLOY = ["deploy.input=[48,64]", "deploy.init_channels=4"]
DATA = ["data=synthetic", "data.size=[48,64]", "data.train=4", "data.val=2", "data.test=2"]
CPU = ["trainer.accelerator=cpu", "trainer.threads=1"]
SEARCH = [
    "space=lgcnet",
    *SMALL_SPACE,
    *DATA,
    *CPU,
    "search.max_steps=2",
    "search.batch_size=2",
    "search.init_channels=4",
    "deploy.init_channels=4",
]


@pytest.fixture
def nas_ok(run_nas):
    """Runs a command that must succeed; returns what it prints."""

    def run(*argv):
        outcome = run_nas(*argv)
        assert (outcome.status, outcome.err) == (0, "")
        return outcome.out

    return run


def test_whole_chain_from_a_measured_table_to_an_evaluated_network(nas_ok, tmp_path):
    out = nas_ok("profile", "space=lgcnet", *SMALL_SPACE, *DEPLOY, "num_classes=11", "rounds=1", "max_rounds=1")
    (table,) = (tmp_path / "latency_tables").rglob("*.json")
    name = f"{table.parent.name}/{table.stem}"
    assert name.endswith("/torch-eager-fp32-b1-t1")
    assert name in out

    out = nas_ok("search", *SEARCH, "latency.table=auto/torch-eager", "out=searched")
    searched = tmp_path / "searched"
    for file in ("config.yaml", "genotype.yaml", "metrics.jsonl", "checkpoints/last.pt", "checkpoints/best.pt"):
        assert (searched / file).is_file(), file
    assert "next: nas train genotype=searched/genotype.yaml data=synthetic" in out
    assert yaml.safe_load((searched / "genotype.yaml").read_text())["provenance"]["table"] == name
    assert [row["split"] for row in read_metrics(searched / "metrics.jsonl")] == ["train", "val", "val_argmax"]

    nas_ok("derive", "run=searched", "out=derived")
    genotype = tmp_path / "derived" / "genotype.yaml"
    assert nas.load_genotype(genotype).choices == nas.load_genotype(searched).choices

    out = nas_ok("train", f"genotype={genotype}", *DATA, *CPU, "train.max_steps=2", "train.batch_size=2", "out=trained")
    trained = tmp_path / "trained"
    for file in ("config.yaml", "weights.safetensors", "metrics.jsonl", "checkpoints/last.pt"):
        assert (trained / file).is_file(), file
    assert "next: nas eval run=trained\n" in out

    nas_ok("eval", "run=trained", *CPU, "pictures=2")
    report = json.loads((trained / "eval.json").read_text())
    assert 0 <= report["miou"] <= 1
    assert len(list((trained / "predictions").iterdir())) == 2

    nas_ok("show", "genotype=trained", "latency.table=auto/torch-eager", "out=picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert np.asarray(picture.convert("RGB")).std() > 5

    nas_ok("predict", "genotype=trained", "latency.table=auto/torch-eager", "out=predicted")
    predicted = json.loads((tmp_path / "predicted" / "predict.json").read_text())
    ms = nas.predict(nas.load_genotype(trained), nas.load_table(table)).ms
    assert (predicted["latency"], predicted["unit"]) == (pytest.approx(ms), "ms")
    assert sum(predicted["by_part"].values()) == pytest.approx(ms)
    assert read_metrics(searched / "metrics.jsonl")[-1]["latency"] == pytest.approx(ms, rel=1e-6)


def test_runs_without_out_get_fresh_folders_under_runs(nas_ok, tmp_path):
    for _ in range(2):
        nas_ok("search", *SEARCH, "search.max_steps=1", "latency.table=macs", "search.relaxation=sampled")
    folders = sorted((tmp_path / "runs").iterdir())
    assert len(folders) == 2
    assert all(folder.name.startswith("search-") and (folder / "genotype.yaml").is_file() for folder in folders)
    nas_ok("train", f"genotype={folders[0]}", *DATA, *CPU, "train.max_steps=1", "train.batch_size=2")
    assert len(list((tmp_path / "runs").glob("train-*/weights.safetensors"))) == 1


def test_multirun_over_seeds_gives_two_folders_with_different_searches(nas_ok, tmp_path):
    nas_ok("search", "--multirun", "seed=0,1", *SEARCH, "latency.table=macs", "search.relaxation=sampled", "out=sweep")
    folders = [tmp_path / "sweep" / number for number in ("0", "1")]
    assert [nas.load_genotype(folder).provenance["seed"] for folder in folders] == [0, 1]
    losses = [read_metrics(folder / "metrics.jsonl")[0]["loss"] for folder in folders]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("verb", ["search", "train"])
def test_non_empty_out_is_status_2_and_an_empty_one_is_used(nas_ok, run_nas, tmp_path, verb):
    (tmp_path / "first").mkdir()
    nas_ok("search", *SEARCH, "search.max_steps=1", "latency.table=none", "search.relaxation=sampled", "out=first")
    before = {path: path.read_bytes() for path in (tmp_path / "first").rglob("*") if path.is_file()}
    arguments = [*SEARCH, "latency.table=none"] if verb == "search" else ["genotype=first", *DATA, *CPU]
    outcome = run_nas(verb, *arguments, "out=first")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "the folder first is not empty" in outcome.err
    assert {path: path.read_bytes() for path in (tmp_path / "first").rglob("*") if path.is_file()} == before
