"""Weights of a derived network out of a search: those of the supernet under one-hot weights, and searches that do not fit."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nas
from nas.errors import CheckpointError, ConfigError, UserError
from nas.network.build import build_network
from nas.network.copying import classifier_names, copy_same
from nas.network.supernet_weights import searched_tensors
from nas.runs.checkpoint import load_checkpoint, load_weights, save_checkpoint
from nas.space.deployment import Deployment
from nas.space.design import Design, load_design
from nas.space.genotype import Genotype, save_genotype
from nas.space.weights import one_hot
from search_spaces import SEARCH_SPACES
from tests.small_jobs import SEARCH, SIZE, search_job, search_task, space_config, train_job

CHANNELS = SEARCH["init_channels"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("searched") / "run"
    nas.search(search_job(out, search__max_steps=2, deploy__init_channels=CHANNELS))
    return out


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return load_weights(path / "weights.safetensors")


def test_a_network_out_of_a_search_computes_what_the_supernet_does(searched: Path):
    state, design = load_checkpoint(searched / "checkpoints/last.pt"), load_design(searched, SEARCH_SPACES)
    task = search_task(search_job(deploy__init_channels=CHANNELS))
    task.supernet.load_state_dict(state["supernet"])
    task.supernet.eval()
    network = build_network(design).eval()
    network.load_state_dict(searched_tensors(state, design, searched))
    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = task.supernet.network(images, one_hot(design.genotype.choices, task.space.choices()))
        torch.testing.assert_close(network(images), expected, rtol=0, atol=1e-5)
    assert expected.std() > 1e-3


@pytest.mark.parametrize("weights", ["{run}", "{run}/checkpoints/last.pt"])
def test_a_training_starts_at_the_weights_of_the_search(searched: Path, tmp_path: Path, weights: str, caplog):
    given = weights.format(run=searched)
    still = {"train__lr": 1e-12, "train__weight_decay": 0.0, "train__max_steps": 1}
    with caplog.at_level("INFO", logger="nas"):
        run = nas.train(train_job(searched, tmp_path / "run", weights=given, **still))
    said = next(record.getMessage() for record in caplog.records if record.getMessage().startswith("weights: "))
    state, design = load_checkpoint(searched / "checkpoints/last.pt"), load_design(searched, SEARCH_SPACES)
    assert said.endswith(f"tensors from {given}; initialised at random: none")
    expected = searched_tensors(state, design, searched)
    names = [name for name, _ in build_network(design).named_parameters()]
    for name in names:
        torch.testing.assert_close(weights_of(run.out)[name], expected[name], rtol=0, atol=1e-6)


def test_a_training_goes_on_from_a_training(searched: Path, tmp_path: Path):
    first = nas.train(train_job(searched, tmp_path / "first", train__epochs=1))
    still = {"train__lr": 1e-12, "train__weight_decay": 0.0, "train__max_steps": 1}
    again = nas.train(train_job(searched, tmp_path / "again", weights=str(first.out), **still))
    names = [name for name, _ in build_network(load_design(searched, SEARCH_SPACES)).named_parameters()]
    for name in names:
        torch.testing.assert_close(weights_of(again.out)[name], weights_of(first.out)[name], rtol=0, atol=1e-6)


def test_other_classes_get_a_fresh_classifier(searched: Path):
    design = load_design(searched, SEARCH_SPACES)
    state = load_checkpoint(searched / "checkpoints/last.pt")
    network = build_network(design, 5)
    fresh = copy_same(network, design, searched_tensors(state, design, searched), "run", "advice")
    assert fresh == classifier_names(network, design)
    assert fresh


def test_widths_of_another_size_are_refused_with_the_remedy(searched: Path, tmp_path: Path):
    genotype = nas.load_genotype(searched)
    wide = tmp_path / "wide.yaml"
    save_genotype(wide, Genotype(genotype.space, genotype.space_config, Deployment(SIZE, 8, 11), genotype.choices, {}))
    with pytest.raises(CheckpointError, match=r"has shape \[.*, expected \[.*search.init_channels as deploy.init_channels"):
        nas.train(train_job(wide, tmp_path / "run", weights=str(searched)))
    assert not (tmp_path / "run").exists()


def test_a_search_that_does_not_fit_is_named(searched: Path):
    state, design = load_checkpoint(searched / "checkpoints/last.pt"), load_design(searched, SEARCH_SPACES)
    with pytest.raises(CheckpointError, match="s: got a checkpoint of nas 'train', expected one of nas search"):
        searched_tensors({**state, "verb": "train"}, design, "s")
    with pytest.raises(ConfigError, match="a search of space 'gas', expected one of lgcnet"):
        searched_tensors({**state, "space": {"name": "gas", "config": {}}}, design, "s")
    other = {"name": "lgcnet", "config": asdict(space_config(head_channels=16))}
    with pytest.raises(ConfigError, match=r"a search with head_channels=16, expected 8"):
        searched_tensors({**state, "space": other}, design, "s")
    with pytest.raises(CheckpointError, match=r"s: space.config: .*'surplus'"):
        searched_tensors({**state, "space": {"name": "lgcnet", "config": {"surplus": 1}}}, design, "s")
    wrong = dict(state["supernet"])
    name = next(name for name in wrong if name.endswith("running_var") and ".stem." in f".{name}")
    wrong[name] = wrong[name] * float("nan")
    with pytest.raises(CheckpointError, match="s: got NaN or infinite values in the tensor stem"):
        searched_tensors({**state, "supernet": wrong}, design, "s")


def test_a_search_of_before_a_setting_existed_has_its_default(searched: Path):
    state, design = load_checkpoint(searched / "checkpoints/last.pt"), load_design(searched, SEARCH_SPACES)
    config = {key: value for key, value in state["space"]["config"].items() if key != "up_ops"}
    assert len(config) == len(state["space"]["config"]) - 1
    found = searched_tensors({**state, "space": {"name": "lgcnet", "config": config}}, design, "s")
    assert found.keys() == build_network(design).state_dict().keys()


def test_whole_images_cannot_start_from_a_search(searched: Path, tmp_path: Path, run_nas):
    for label in ("cat", "dog"):
        for split in ("train", "val"):
            (tmp_path / "images" / split / label).mkdir(parents=True)
            Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "images" / split / label / "a.png")
    data = ("data=image_folder", f"data.root={tmp_path / 'images'}", "train.task=classification", "train.crop=[32,32]")
    outcome = run_nas("train", f"genotype={searched}", f"weights={searched}", *data, "train.batch_size=2", "out=run")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "the checkpoint of a search, with train.task=classification" in outcome.err


def test_a_stopped_training_goes_on_with_the_search_that_it_started_from_alone(searched: Path, tmp_path: Path):
    run = shutil.copytree(searched, tmp_path / "search")
    job = train_job(searched, tmp_path / "run", weights=str(run), train__epochs=1)
    nas.train(job)
    longer = replace(job, train=replace(job.train, epochs=2), resume=str(tmp_path / "run"), out=None)
    state = load_checkpoint(run / "checkpoints/last.pt")
    state["supernet"] = {name: value + 1 for name, value in state["supernet"].items()}
    save_checkpoint(run / "checkpoints/last.pt", state)
    with pytest.raises(UserError, match="resume: other weights than when the run was started"):
        nas.train(longer)
    shutil.rmtree(run)
    with pytest.raises(UserError, match="search: no such file"):
        nas.train(longer)
    shutil.copytree(searched, run)
    assert nas.train(longer).out == tmp_path / "run"


def test_a_space_whose_networks_are_no_part_of_its_supernet_is_refused():
    entry = SEARCH_SPACES["fasterseg"]
    config = entry.config()
    design = Design(Genotype("fasterseg", asdict(config), Deployment((64, 64), 12, 11), {}, {}), entry.build(config))
    state = {"verb": "search", "supernet": {}, "space": {"name": "fasterseg", "config": asdict(config)}}
    with pytest.raises(ConfigError, match="networks of space fasterseg are no part of its supernet"):
        searched_tensors(state, design, "s")


def test_a_folder_without_weights_is_refused(searched: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"weights: got .*empty, a folder without weights.safetensors and without checkpoints"):
        nas.train(train_job(searched, tmp_path / "run", weights=str(tmp_path / "empty")))
