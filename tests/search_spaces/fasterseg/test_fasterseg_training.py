"""Training of networks with auxiliary outputs, on a small FasterSeg network."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

import nas
from nas.config.train_settings import TrainSettings
from nas.data import build_dataset
from nas.distributed.fabric import make_fabric
from nas.errors import ConfigError
from nas.losses import LOSSES
from nas.network.trained_network import trained_network
from nas.space.deployment import Deployment
from nas.space.design import load_design
from nas.space.genotype import Genotype, save_genotype
from nas.training.train_setup import make_task
from nas.training.train_task import TrainTask
from search_spaces import all_spaces
from search_spaces.fasterseg.config import FasterSegConfig
from search_spaces.fasterseg.deployed.branches import Branch, Layer, decided_choices
from tests.random_weights import as_if_trained
from tests.small_jobs import SIZE, assert_same_run, batch, train_job

DEEP = Branch(32, (Layer("conv", 8, 4), Layer("conv_downup", 8, 4), Layer("conv_2x", 16, 4), Layer("conv_2x_downup", 32, 4)))
MIDDLE = Branch(16, (Layer("conv", 8, 4), Layer("conv", 8, 6), Layer("conv", 16, 4)))


@pytest.fixture(scope="module")
def genotype(tmp_path_factory) -> str:
    config = FasterSegConfig(layers=4)
    choices = decided_choices((DEEP, MIDDLE), config, stem_width=4, head_width=4)
    path = tmp_path_factory.mktemp("genotype") / "genotype.yaml"
    save_genotype(path, Genotype("fasterseg", dataclasses.asdict(config), Deployment(SIZE, 3, 11), choices))
    return str(path)


def official(genotype: str, folder: Path) -> str:
    """The same network with what the official one holds and never runs."""
    stated = nas.load_genotype(genotype)
    stated.space_config["fidelity"] = "official"
    save_genotype(folder / "official.yaml", stated)
    return str(folder / "official.yaml")


def task_of(genotype: str, **changes) -> TrainTask:
    job = train_job(genotype, **changes)
    splits = {f"{split}_set": build_dataset(job.data, split) for split in ("train", "val")}
    return make_task(job, load_design(genotype, all_spaces()), all_spaces(), **splits, fabric=make_fabric(job.trainer))


def gradients(task: TrainTask) -> dict[str, torch.Tensor | None]:
    return {name: parameter.grad for name, parameter in task.network.named_parameters()}


@pytest.mark.parametrize("weight", [0.2, 0.7])
def test_the_loss_is_that_of_the_logits_and_a_share_of_each_auxiliary_output(genotype, weight):
    task = task_of(genotype, train__aux_weight=weight, train__lr=0.0)
    images, labels = batch()
    outputs = task.network.train().forward_with_aux(images)
    losses = {name: LOSSES["ohem"](output, labels) for name, output in outputs.items()}
    expected = losses["logits"] + weight * (losses["heads16"] + losses["heads32"])
    expected.backward()
    by_hand = {name: gradient.clone() for name, gradient in gradients(task).items()}
    row, _ = task.step(images, labels, 0)
    assert row["loss"] == pytest.approx(expected.item(), rel=1e-6)
    for name, gradient in gradients(task).items():
        torch.testing.assert_close(gradient, by_hand[name], rtol=1e-4, atol=1e-6)


def test_without_weight_auxiliary_heads_stay_as_they_are(genotype):
    task = task_of(genotype, train__aux_weight=0.0)
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    task.step(*batch(), 0)
    moved = {name.split(".")[0] for name, value in task.network.state_dict().items() if not torch.equal(value, before[name])}
    assert "heads8" in moved
    assert not {"heads16", "heads32"} & moved


def test_what_is_idle_is_trained_by_nothing(genotype, tmp_path):
    task = task_of(official(genotype, tmp_path), train__weight_decay=0.1, train__grad_clip=0.5, train__ema=0.5, train__momentum=0.9)
    idle = {"ffm.attention.1.conv.weight", "ffm.attention.2.conv.weight"}
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    for number in range(2):
        task.step(*batch(number), number)
    assert {name for name, gradient in gradients(task).items() if gradient is None} == idle
    parameters = dict(task.network.named_parameters())
    assert {name for name, value in parameters.items() if torch.equal(value, before[name])} == idle
    assert all(torch.equal(task.average.state_dict()[name], before[name]) for name in idle)


@pytest.mark.usefixtures("bf16_on_cpu")
def test_low_precision_covers_auxiliary_outputs(genotype):
    task = task_of(genotype, trainer__precision="bf16-mixed")
    seen = []
    task.network.get_submodule("heads32.classifier.conv").register_forward_hook(lambda *args: seen.append(args[2].dtype))
    outputs = task.model(batch()[0])
    assert seen == [torch.bfloat16]
    assert {output.dtype for output in outputs.values()} == {torch.float32}


@pytest.mark.parametrize("idle", [False, True])
def test_a_run_stopped_and_resumed_equals_one_never_stopped_and_its_weights_load(genotype, tmp_path, monkeypatch, idle):
    genotype = official(genotype, tmp_path) if idle else genotype
    changes = {"train__ema": 0.9, "train__checkpoint_every": 2}
    nas.train(train_job(genotype, tmp_path / "whole", **changes))
    step = TrainTask.step
    with monkeypatch.context() as patch:

        def stopped(self, images, labels, number):
            if number == 3:
                raise RuntimeError("stopped")
            return step(self, images, labels, number)

        patch.setattr(TrainTask, "step", stopped)
        with pytest.raises(RuntimeError, match="stopped"):
            nas.train(train_job(genotype, tmp_path / "run", **changes))
    resumed = nas.train(train_job(genotype, tmp_path / "run", resume=str(tmp_path / "run"), **changes))
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert resumed.parameters == sum(value.numel() for value in nas.build(nas.load_genotype(genotype)).parameters())
    network, _ = trained_network(load_design(genotype, all_spaces()), resumed.out / "weights.safetensors")
    fresh = nas.build(nas.load_genotype(genotype)).state_dict()
    assert not torch.equal(network.state_dict()["heads32.conv.bn.running_mean"], fresh["heads32.conv.bn.running_mean"])


def test_a_negative_weight_is_refused():
    with pytest.raises(ConfigError, match=r"train\.aux_weight: got -1, expected at least 0"):
        TrainSettings(aux_weight=-1)


def test_a_small_network_has_all_three_outputs(genotype):
    network = as_if_trained(nas.build(nas.load_genotype(genotype)))
    assert network.auxiliary == ("heads16", "heads32")
