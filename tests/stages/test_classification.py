"""Pretraining on classes of images, and fine-tuning from it: the second and third stage of the paper's pipeline."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
import torch

import nas
from nas.data import DATASETS
from nas.data.batches.image_batches import eval_loader
from nas.data.image_folder import ImageFolderConfig, build_image_folder
from nas.data.synthetic import SyntheticDataset
from nas.errors import CheckpointError
from nas.network.build import build_network
from nas.network.copying import load_encoder, load_same
from nas.network.image_classifier import ENCODER, HEAD, build_image_classifier
from nas.runs.checkpoint import load_checkpoint, load_weights, save_weights
from nas.space.design import design_of, load_design
from nas.training.objectives import hits
from nas.training.train_task import TrainTask
from search_spaces import SEARCH_SPACES
from tests.image_folders import write_colours, write_scenes
from tests.small_jobs import assert_same_run, random_genotype, rows, train_job

IMAGES = {"train": 8, "val": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A genotype and a folder of images of two classes."""
    path = tmp_path_factory.mktemp("pretraining")
    random_genotype(path / "genotype.yaml")
    write_scenes(path / "images", IMAGES)
    return path


def job_of(folder, out, *, images="images", **changes):
    """One pretraining of two epochs of four steps."""
    settings = {"train__task": "classification", "train__batch_size": 4, "train__lr": 0.05, **changes}
    job = train_job(folder / "genotype.yaml", out, **settings)
    return dataclasses.replace(job, data=ImageFolderConfig(root=str(folder / images), size=[32, 40]))


@pytest.fixture(scope="module")
def pretrained(folder):
    return nas.train(job_of(folder, folder / "run", train__epochs=8))


def test_pretraining_learns_which_way_is_up(folder, pretrained):
    assert pretrained.scores["top1"] >= 0.75
    assert pretrained.scores.keys() == {"top1"}
    losses = [row["loss"] for row in rows(folder / "run", "train")]
    assert losses[-1] < 0.8 * losses[0]
    assert {"top1", "loss", "lr"} < rows(folder / "run", "step")[0].keys()
    assert "miou" not in rows(folder / "run", "train")[0]
    run = folder / "run"
    following = f"train genotype={run / 'genotype.yaml'} encoder_weights={run / 'weights.safetensors'} data=NAME"
    assert pretrained.summary()[-1] == f"next, with labels of pixels: nas {following}"


def test_validation_is_the_share_of_images_whose_class_has_the_largest_logit(folder, pretrained):
    network = build_image_classifier(load_design(folder / "genotype.yaml", SEARCH_SPACES), 2).eval()
    network.load_state_dict(load_weights(folder / "run" / "weights.safetensors"), strict=True)
    dataset = build_image_folder(job_of(folder, None).data, "val")
    with torch.no_grad():
        right = sum(int((network(x).argmax(dim=1) == y).sum()) for x, y in eval_loader(dataset, batch_size=3))
    assert pretrained.scores["top1"] == right / 8


def test_step_reports_loss_and_accuracy_of_its_images_and_weighs_classes(folder, tmp_path):
    for name, weights in (("plain", None), ("weighted", [1.0, 30.0]), ("auto", "auto")):
        nas.train(job_of(folder, tmp_path / name, train__class_weights=weights, train__max_steps=1))
    plain, weighted, auto = (rows(tmp_path / name, "step")[0] for name in ("plain", "weighted", "auto"))
    assert plain["top1"] in (0, 0.25, 0.5, 0.75, 1)
    assert weighted["loss"] != pytest.approx(plain["loss"], rel=1e-3)
    assert auto["loss"] == pytest.approx(plain["loss"], rel=1e-6)  # as many images of one class as of the other


def test_hits_look_at_the_classes_of_largest_logit():
    logits = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1]])
    assert hits(logits, torch.tensor([1, 1]), 1).tolist() == [True, False]
    assert hits(logits, torch.tensor([2, 2]), 2).tolist() == [True, False]
    assert hits(logits, torch.tensor([0, 2]), 3).tolist() == [True, True]


def test_more_than_five_classes_get_a_top_5_too(folder, tmp_path):
    write_colours(folder / "greys", 7)
    result = nas.train(job_of(folder, tmp_path / "run", images="greys", train__max_steps=2))
    assert result.scores.keys() == {"top1", "top5"}
    assert result.scores["top5"] >= result.scores["top1"]
    assert rows(tmp_path / "run", "val")[-1]["top5"] == result.scores["top5"]


@pytest.mark.parametrize(
    "extra", [{}, {"train__ema": 0.9, "train__accumulate": 2, "train__batch_size": 2, "train__class_weights": [1.0, 2.0]}]
)
def test_pretraining_stopped_and_resumed_equals_one_never_stopped(folder, tmp_path, monkeypatch, extra):
    changes = {"train__checkpoint_every": 1, **extra}
    nas.train(job_of(folder, tmp_path / "whole", **changes))
    step = TrainTask.step
    with monkeypatch.context() as patch:

        def stopped(self, images, labels, number):
            if number == 6:
                raise RuntimeError("stopped")
            return step(self, images, labels, number)

        patch.setattr(TrainTask, "step", stopped)
        with pytest.raises(RuntimeError, match="stopped"):
            nas.train(job_of(folder, tmp_path / "run", **changes))
    nas.train(job_of(folder, tmp_path / "run", resume=str(tmp_path / "run"), **changes))
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.usefixtures("bf16_on_cpu")
def test_pretraining_in_bf16_runs(folder, tmp_path):
    nas.train(job_of(folder, tmp_path / "run", train__max_steps=1, trainer__precision="bf16-mixed"))
    assert 0 < rows(tmp_path / "run", "step")[0]["loss"] < 10


def still(**changes):
    """Settings under which a step of training moves nothing to speak of."""
    return {"train__lr": 1e-12, "train__weight_decay": 0.0, "train__max_steps": 1, **changes}


def test_fine_tuning_starts_at_the_pretrained_encoder_and_names_what_is_new(folder, pretrained, tmp_path, caplog):
    given = load_weights(pretrained.out / "weights.safetensors")
    with caplog.at_level(logging.INFO, logger="nas"):
        weights = str(pretrained.out / "weights.safetensors")
        nas.train(train_job(folder / "genotype.yaml", tmp_path / "run", encoder_weights=weights, **still()))
    (line,) = [record.getMessage() for record in caplog.records if "encoder_weights" in record.getMessage()]
    assert line.endswith("initialised at random: classifier.conv.conv.weight, classifier.conv.conv.bias")
    assert line.startswith(f"encoder_weights: {len(given) - len(HEAD)} tensors from")
    state = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["network"]
    named = dict(nas.build(nas.load_genotype(folder / "genotype.yaml")).named_parameters())
    for name in named:
        if not name.startswith("classifier."):
            torch.testing.assert_close(state[name], given[f"{ENCODER}{name}"], rtol=0, atol=1e-6)
    assert {name for name in named if name.startswith("classifier.")} == {
        "classifier.conv.conv.weight",
        "classifier.conv.conv.bias",
    }


def save_segmentation(path, genotype, classes, *, seed=3):
    torch.manual_seed(seed)
    network = build_network(design_of(genotype, SEARCH_SPACES), classes)
    save_weights(path, network.state_dict())
    return network.state_dict()


class FiveClasses(SyntheticDataset):
    """The first five classes alone."""

    def __init__(self, config, split):
        super().__init__(config, split)
        self.classes, self.palette = self.classes[:5], self.palette[:5]

    def load(self, index):
        image, label = super().load(index)
        return image, np.where(label < 5, label, 255).astype(np.uint8)


def test_genotype_of_eleven_classes_is_fine_tuned_with_ohem_at_five_classes_and_other_sizes(folder, tmp_path, monkeypatch):
    genotype = nas.load_genotype(folder / "genotype.yaml")
    assert genotype.deploy.num_classes == 11
    given = save_segmentation(tmp_path / "eleven.safetensors", genotype, 11)
    monkeypatch.setitem(DATASETS, "synthetic", dataclasses.replace(DATASETS["synthetic"], build=FiveClasses))
    changes = {"data__size": [40, 56], "train__crop": [24, 40], "train__loss": "ohem", **still()}
    job = train_job(folder / "genotype.yaml", tmp_path / "run", encoder_weights=str(tmp_path / "eleven.safetensors"), **changes)
    nas.train(job)
    same = dataclasses.replace(job, encoder_weights=None, weights=job.encoder_weights, out=str(tmp_path / "whole"))
    nas.train(same)
    for run in ("run", "whole"):
        state = load_weights(tmp_path / run / "weights.safetensors")
        assert state["classifier.conv.conv.weight"].shape[0] == 5
        for name, value in nas.build(genotype, 5).named_parameters():
            assert state[name].shape == value.shape
            if not name.startswith("classifier."):
                torch.testing.assert_close(state[name], given[name], rtol=0, atol=1e-6)


def test_wrong_encoders_are_refused_by_name(folder, pretrained, tmp_path):
    genotype = nas.load_genotype(folder / "genotype.yaml")
    design = design_of(genotype, SEARCH_SPACES)
    network = build_network(design)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    given = load_weights(pretrained.out / "weights.safetensors")
    name = f"{ENCODER}stem.conv0.conv.weight"
    wrong = {
        "missing ['stem.conv0.conv.weight']": {key: value for key, value in given.items() if key != name},
        "left over ['stem.bogus']": {**given, f"{ENCODER}stem.bogus": torch.zeros(1)},
        "stem.conv0.conv.weight has shape [2, 2], expected [4, 3, 3, 3]": {**given, name: torch.zeros(2, 2)},
        "missing ['cells": {"classifier.weight": torch.zeros(2, 2), "classifier.bias": torch.zeros(2)},
        "left over ['classifier.extra']": {**before, "classifier.extra": torch.zeros(1)},
    }
    for message, weights in wrong.items():
        save_weights(tmp_path / "wrong.safetensors", weights)
        with pytest.raises(CheckpointError) as refused:
            load_encoder(network, design, tmp_path / "wrong.safetensors")
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in before.items())


def test_image_classifier_takes_the_encoder_of_another_with_other_classes(folder, pretrained):
    design = load_design(folder / "genotype.yaml", SEARCH_SPACES)
    network = build_image_classifier(design, 9)
    given = load_weights(pretrained.out / "weights.safetensors")
    assert load_encoder(network, design, pretrained.out / "weights.safetensors") == ["classifier.weight", "classifier.bias"]
    assert all(torch.equal(value, given[name]) for name, value in network.state_dict().items() if name not in HEAD)
    assert network.classifier.weight.shape[0] == 9


def test_whole_weights_must_fit_save_for_a_classifier_of_other_classes(folder, pretrained, tmp_path):
    genotype = nas.load_genotype(folder / "genotype.yaml")
    save_segmentation(tmp_path / "five.safetensors", genotype, 5)
    design = design_of(genotype, SEARCH_SPACES)
    network = build_network(design)
    anew = load_same(network, design, tmp_path / "five.safetensors")
    assert anew == [name for name, value in network.state_dict().items() if len(value.shape) and name.startswith("classifier")]
    five = load_weights(tmp_path / "five.safetensors")
    assert all(torch.equal(value, five[name]) for name, value in network.state_dict().items() if name not in anew)
    with pytest.raises(CheckpointError, match="or encoder_weights= of a pretraining"):
        load_same(build_network(design), design, pretrained.out / "weights.safetensors")
    name = next(name for name in five if name not in anew and five[name].dim() == 4)
    save_weights(tmp_path / "narrow.safetensors", {**five, name: five[name][1:]})
    with pytest.raises(CheckpointError, match="has shape"):
        load_same(build_network(design), design, tmp_path / "narrow.safetensors")
    same = build_image_classifier(design, 2)
    assert load_same(same, design, pretrained.out / "weights.safetensors") == []
    given = load_weights(pretrained.out / "weights.safetensors")
    assert all(torch.equal(value, given[name]) for name, value in same.state_dict().items())


def test_pretraining_and_fine_tuning_from_the_command_line(run_nas, folder, tmp_path):
    data = ["data=image_folder", f"data.root={folder / 'images'}", "data.size=[32,40]", "train.task=classification"]
    common = [f"genotype={folder / 'genotype.yaml'}", "trainer.accelerator=cpu", "train.batch_size=4"]
    outcome = run_nas("train", *common, *data, "train.epochs=1", "out=pretrained", "train.ema=0.9")
    assert outcome.status == 0, outcome.err
    assert "validation top-1" in outcome.out
    weights = "encoder_weights=pretrained/weights.safetensors"
    size = ["data.size=[48,64]", "data.train=4", "data.val=2", "train.max_steps=1"]
    outcome = run_nas("train", *common, *size, weights, "out=tuned")
    assert outcome.status == 0, outcome.err
    assert "nas eval run=tuned" in outcome.out


FOLDER = "data=image_folder data.root=images"
CLASSIFY = "train.task=classification"
REFUSED = {
    CLASSIFY: "train.task=classification: got data=synthetic, which labels pixels, expected classes of whole images",
    FOLDER: "train.task=segmentation: got data=image_folder, which has classes of whole images",
    f"data=image_folder data.root=nowhere {CLASSIFY}": "nowhere: no such folder, expected train/CLASS/",
    f"{FOLDER} {CLASSIFY} train.loss=ohem": "train.loss: got ohem with train.task=classification, expected cross_entropy",
    f"{FOLDER} {CLASSIFY} train.class_weights=[1,2,3]": "got 3 weights, expected 2",
    "weights=a encoder_weights=b": "weights, encoder_weights: got both, expected at most one of them",
    "encoder_weights=nowhere.safetensors": "nowhere.safetensors: no such file",
}


@pytest.mark.parametrize("settings", REFUSED)
def test_settings_that_do_not_go_together_are_status_2_and_leave_no_folder(run_nas, folder, tmp_path, settings):
    (tmp_path / "images").symlink_to(folder / "images")
    base = [f"genotype={folder / 'genotype.yaml'}", "out=run", "trainer.accelerator=cpu"]
    small = [] if "data=" in settings else ["data.size=[48,64]", "data.train=2", "data.val=2"]
    outcome = run_nas("train", *base, *small, *settings.split())
    assert (outcome.status, len(outcome.err_lines)) == (2, 1), outcome.err
    assert REFUSED[settings] in outcome.err
    assert not (tmp_path / "run").exists()


def test_search_and_eval_do_not_take_images_of_classes(run_nas, folder, pretrained):
    for verb, given in (("search", "latency.table=none"), ("eval", f"run={pretrained.out}")):
        outcome = run_nas(verb, given, "data=image_folder", f"data.root={folder / 'images'}", "trainer.accelerator=cpu")
        assert (outcome.status, len(outcome.err_lines)) == (2, 1), outcome.err
        assert "data.name: got 'image_folder', expected one of synthetic" in outcome.err
