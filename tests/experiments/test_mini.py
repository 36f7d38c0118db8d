"""The benchmark of all networks of a small space: trainings side by side, and its smallest form."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import nas
from nas.config.jobs import TrainJob
from nas.space.benchmark import read_benchmark
from nas.space.deployment import Deployment
from nas.space.genotype import save_genotype

Script = Callable[[str], tuple[ModuleType, list[list[str]]]]


def test_networks_that_train_side_by_side_are_those_of_nas_train(script_of: Script, tmp_path: Path):
    run, _ = script_of("mini")
    form = run.FORMS["smoke"]
    designs = [run.design_of(form, alike[0]) for alike in run.architectures(form)[::7]]
    job = TrainJob(genotype="mini", data=form.data, train=replace(form.train, epochs=2), seed=1)
    found = run.train_together(designs, job)
    for number, (design, (miou, seconds)) in enumerate(zip(designs, found, strict=True)):
        path = tmp_path / f"{number}.yaml"
        save_genotype(path, design.genotype)
        alone = nas.train(replace(job, genotype=str(path), out=str(tmp_path / f"run{number}")))
        assert alone.scores["miou"] == miou
        assert seconds > 0
    assert len({miou for miou, _ in found}) > 1


def test_the_recipe_is_the_training_of_the_benchmark(script_of: Script, run_nas):
    run, _ = script_of("mini")
    form = run.FORMS["full"]
    shown = yaml.safe_load(run_nas("train", "recipe=mini_synthetic", "genotype=g.yaml", "--cfg", "job").out)
    assert shown["data"] == asdict(form.data)
    assert shown["train"] == asdict(replace(form.train, epochs=max(form.seeds)))
    search = yaml.safe_load(run_nas("search", "recipe=mini_synthetic", "latency.table=macs", "--cfg", "job").out)
    assert search["data"] == asdict(form.data)
    profile = yaml.safe_load(run_nas("profile", "recipe=mini_synthetic", "--cfg", "job").out)
    assert search["space"]["name"] == profile["space"]["name"] == "mini"
    deploy = profile["deploy"]
    assert search["deploy"] == deploy
    assert Deployment(deploy["input"], deploy["init_channels"], profile["num_classes"]) == form.deploy
    assert len(run.architectures(form)) == 320


@pytest.mark.slow
def test_the_smoke_form_makes_a_benchmark_and_is_not_done_twice(script_of: Script, tmp_path: Path):
    run, commands = script_of("mini")
    arguments = ["--form", "smoke", "--out", str(tmp_path)]
    run.main(arguments)
    run.main(arguments)
    assert [command[0] for command in commands] == ["profile", "bench"]
    benchmark = read_benchmark(tmp_path / "benchmark")
    assert len(benchmark.networks) == 18
    assert sum(len(network.architectures) for network in benchmark.networks) == 27
    assert (benchmark.latency("torch-eager", measured=True) > 0).all()
    assert sum(one.training_s[0] for one in benchmark.networks) < sum(one.training_s[1] for one in benchmark.networks)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["networks"] == 18
    assert (tmp_path / "chart.png").stat().st_size > 0
