"""The stages on SqueezeNAS: search, derivation, and released weights in eval, train and export."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import nas
from nas.cli import command_line as cli
from nas.config.jobs import EvalJob, SearchJob
from nas.config.settings import DeploySettings, ExportSettings, LatencySettings, SearchSettings, TrainerSettings
from nas.data.classes.cityscapes_labels import CITYSCAPES
from nas.data.classes.class_map import CLASS_MAPS
from nas.data.classes.class_set import CAMVID
from nas.data.synthetic import SyntheticDataset
from nas.errors import CheckpointError, ConfigError
from nas.exporting import onnx_check
from nas.network.copying import load_same
from nas.network.image_classifier import build_image_classifier
from nas.network.official_weights import own_names
from nas.network.trained_network import trained_network
from nas.runs.checkpoint import load_checkpoint, load_weights, save_weights
from nas.space.design import design_of, load_design
from nas.space.weights import one_hot
from nas.stages.evaluate import evaluate
from nas.stages.export import onnx_model
from search_spaces import SEARCH_SPACES
from search_spaces.squeezenas.config import SqueezeNASSmallConfig
from tests.random_weights import as_if_trained
from tests.small_jobs import SIZE, batch, data_config, random_genotype, rows, search_job, search_task, train_job
from tests.squeezenas_reference import NETWORKS, Reference

NAME = "squeezenas/lat_small"
TRAINER = TrainerSettings(accelerator="cpu", threads=1)


def tiny_search(out=None, **changes) -> SearchJob:
    tiny = {"stages": [[8, 2, 2], [12, 2, 2], [16, 2, 1]], "low_level_block": 1, "last_channels": 16, "decoder_channels": 8}
    latency = changes.pop("latency", {})
    return SearchJob(
        space=SqueezeNASSmallConfig(**tiny, stem_channels=8),
        data=data_config(),
        search=SearchSettings(**{"epochs": 1, "batch_size": 2, "log_every": 1, "arch_lr": 0.1, "recalibrate": 1, **changes}),
        latency=LatencySettings(**{"table": "macs", "weight": 0.5, **latency}),
        deploy=DeploySettings(),
        trainer=TRAINER,
        out=None if out is None else str(out),
    )


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> tuple[Reference, str]:
    """A network of the reference far from its initial weights, and the file of its weights under official names."""
    torch.manual_seed(0)
    reference = as_if_trained(Reference(nas.load_genotype(NAME)))
    path = tmp_path_factory.mktemp("released") / "official.safetensors"
    save_weights(path, reference.state_dict())
    return reference, str(path)


@pytest.mark.parametrize("level", ["single", "bilevel"])
def test_a_search_by_macs_gives_a_genotype_that_builds(tmp_path, level):
    result = nas.search(tiny_search(tmp_path / "run", level=level))
    genotype = nas.load_genotype(result.out)
    assert (genotype.space, genotype.deploy.init_channels) == ("squeezenas_small", 8)
    assert nas.build(genotype).eval()(torch.randn(1, 3, 33, 47)).shape == (1, 11, 33, 47)
    logits = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["guided_logits"]["default"]["blocks"]
    assert list(genotype.choices.values()) == [genotype.space_config["ops"][i] for i in logits.argmax(dim=1).tolist()]
    last = rows(result.out, "train")[-1]
    assert last["light_share"] == [*genotype.choices.values()].count("skip") / 6


def test_noise_is_drawn_for_each_image_unless_the_settings_say_otherwise():
    seen = {}
    for noise in (None, "image", "batch"):
        task = search_task(tiny_search(noise=noise))
        drawn = task.draws.of_step(0)[0]
        seen[noise] = drawn.per_image
        row, _ = task.step(*batch(), 0)
        weights = task.supernet.sample(task.draws.of_step(0)[0], batch=2 if drawn.per_image else None)
        assert {z.dim() for z in weights.values.values()} == {2 if drawn.per_image else 1}
        assert row["sampled_latency"] > 0
    assert seen == {None: True, "image": True, "batch": False}
    assert search_task(search_job()).draws.per_image is False
    assert search_task(search_job(search__noise="image")).draws.per_image is True


def test_a_sampled_warm_up_draws_for_the_batch_and_the_search_behind_it_for_each_image():
    task = search_task(tiny_search(epochs=2, warmup_epochs=1, warmup_relaxation="sampled"))
    draws = [task.draws.of_step(step)[0] for step in (task.warmup_steps - 1, task.warmup_steps)]
    assert [(draw.relaxation, draw.per_image) for draw in draws] == [("sampled", False), ("soft", True)]
    for step in (task.warmup_steps - 1, task.warmup_steps):
        assert task.step(*batch(), step)


def test_the_readings_of_the_recipe_are_the_defaults_of_the_command(tmp_path):
    for space, expected in (("squeezenas_large", [0.02, 0.01, 5.0, 1.0, "linear", 0.75, 0.4]), ("lgcnet", None)):
        out = tmp_path / space
        overrides = [f"space={space}", "data.size=[33,47]", "data.train=2", "data.val=2", "latency.table=macs", f"out={out}"]
        short = ["search.max_steps=1", "search.batch_size=2", "search.eval_every=0"]
        assert cli.main(["search", *overrides, *short, "search.tau_end=0.5"]) == 0
        config = yaml.safe_load((out / "config.yaml").read_text())
        keys = ("weight_lr", "arch_lr", "tau_start", "tau_end", "tau_schedule", "tau_share")
        got = [*(config["search"][key] for key in keys), config["latency"]["weight"]]
        assert got[3] == 0.5  # what the user says wins
        expected = expected or [0.025, 1e-3, 1.0, 0.03, "exponential", 1.0, 0.1]
        assert [*got[:3], *got[4:]] == [*expected[:3], *expected[4:]]


def test_temperature_falls_in_a_straight_line_over_its_share_of_the_steps_and_stays():
    settings = {"epochs": 5, "warmup_epochs": 1, "tau_start": 5.0, "tau_end": 1.0, "tau_schedule": "linear", "tau_share": 0.5}
    task = search_task(tiny_search(**settings))
    first, last = task.warmup_steps, task.total_steps - 1
    middle = first + (last - first) / 2
    for step in range(task.total_steps):
        share = min(1, max(0, step - first) / (middle - first))
        assert task.draws.tau(step) == pytest.approx(5 - 4 * share)
    assert (task.draws.tau(0), task.draws.tau(last)) == (5.0, 1.0)


def test_latency_of_a_step_is_the_mean_over_images_of_the_cost_of_their_draws():
    task = search_task(tiny_search(relaxation="hard"))
    weights = task.supernet.sample(task.draws.of_step(0)[0], batch=2)
    choices = task.supernet.space.choices()
    costs = []
    for i in range(2):
        decided = {c.name: c.options[int(weights.values[c.name][i].argmax())] for c in choices}
        costs.append(float(task.supernet.latencies[0](one_hot(decided, choices))))
    row, _ = task.step(*batch(), 0)
    assert costs[0] != costs[1]
    assert row["sampled_latency"] == pytest.approx(sum(costs) / 2, rel=1e-6)


def test_one_operation_for_the_whole_batch_and_noise_for_each_image_exclude_each_other():
    with pytest.raises(ConfigError, match=r"search\.relaxation: got sampled.*add search\.noise=batch"):
        SearchSettings(relaxation="sampled", noise="image")
    with pytest.raises(ConfigError, match=r"search\.relaxation: got sampled.*add search\.noise=batch"):
        search_task(tiny_search(relaxation="sampled"))
    assert search_task(tiny_search(relaxation="sampled", noise="batch")).step(*batch(), 0)
    with pytest.raises(ConfigError, match=r"search\.noise: got 'pixel', expected one of batch, image"):
        SearchSettings(noise="pixel")


def test_released_weights_are_told_by_their_names_and_said_in_one_line(released, tmp_path, caplog):
    reference, path = released
    genotype = nas.load_genotype(NAME)
    with caplog.at_level(logging.INFO, logger="nas"):
        network, num_classes = trained_network(design_of(genotype, SEARCH_SPACES), Path(path))
    assert [record.message for record in caplog.records] == [
        f"weights: {path} has the names of the official code of squeezenas_small; renamed to ours"
    ]
    assert num_classes == 19
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = reference(images)
        assert float((network(images) - expected).abs().max()) < 1e-4 * float(expected.abs().max())
        save_weights(tmp_path / "own.safetensors", network.state_dict())
        caplog.clear()
        again, _ = trained_network(design_of(genotype, SEARCH_SPACES), tmp_path / "own.safetensors")
        assert torch.equal(again(images), network(images))
    assert not caplog.records


def test_a_file_with_official_and_other_names_is_refused_by_them(released, tmp_path):
    state = load_weights(Path(released[1]))
    save_weights(tmp_path / "mixed.safetensors", {**state, "stem.conv.conv.weight": torch.zeros(16, 3, 3, 3)})
    with pytest.raises(CheckpointError, match=r"mixed\.safetensors: .*left over stem\.conv\.conv\.weight"):
        trained_network(load_design(NAME, SEARCH_SPACES), tmp_path / "mixed.safetensors")


@pytest.mark.parametrize("key", ["weights", "encoder_weights"])
def test_training_starts_from_released_weights(key, released, tmp_path):
    reference, path = released
    genotype = nas.load_genotype(NAME)
    network, design = nas.build(genotype), design_of(genotype, SEARCH_SPACES)
    load_same(network, design, path, partial(own_names, design=design, source=path))
    images = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(images), reference(images), rtol=1e-4, atol=1e-3)
    result = nas.train(train_job(NAME, tmp_path / "run", **{key: path}, train__max_steps=1, train__lr=0.0))
    tuned, num_classes = trained_network(design_of(genotype, SEARCH_SPACES), result.out / "weights.safetensors")
    assert num_classes == 11
    assert torch.equal(tuned.get_submodule("block.4.op.expand").weight, reference.encoder.residuals[4].op[0].weight)
    assert tuned.get_submodule("decoder.scores.conv").weight.shape == (11, 128, 1, 1)


def eval_job(path, **changes) -> EvalJob:
    data = data_config(size=[64, 96])
    return EvalJob(**{"genotype": NAME, "weights": path, "data": data, "trainer": TRAINER, "pictures": 1, **changes})


def test_a_network_of_cityscapes_classes_is_evaluated_on_camvids(released, tmp_path):
    reference, path = released
    confusion = np.zeros((11, 11), dtype=np.int64)
    dataset = SyntheticDataset(data_config(size=[64, 96]), "test")
    for index in range(len(dataset)):
        image, label = dataset.load(index)
        normal = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        with torch.no_grad():
            ids = reference(torch.tensor(normal.transpose(2, 0, 1)[None], dtype=torch.float32))[0].argmax(dim=0).numpy()
        for k, name in enumerate(CITYSCAPES.names):
            target = CAMVID.names.index(CLASS_MAPS["cityscapes_to_camvid"][name])
            for truth in range(11):
                confusion[truth, target] += ((ids == k) & (label == truth)).sum()
    accuracy = np.diag(confusion).sum() / confusion.sum()
    for full in (False, True):
        job = eval_job(path, class_map="cityscapes_to_camvid", full_resolution=full, out=str(tmp_path / f"{full}"))
        result = evaluate(job, SEARCH_SPACES)
        assert result.metrics["pixel_accuracy"] == pytest.approx(accuracy, abs=2e-4)
        report = json.loads((result.out / "eval.json").read_text())
        assert report["class_map"] == "cityscapes_to_camvid"
        assert len([*(result.out / "predictions").iterdir()]) == 1


def test_maps_that_do_not_fit_are_refused_before_anything_runs(released, tmp_path):
    path = released[1]
    with pytest.raises(CheckpointError, match="got a network of 19 classes, expected 11 .* or class_map="):
        evaluate(eval_job(path), SEARCH_SPACES)
    (tmp_path / "map.yaml").write_text("road: road\n")
    with pytest.raises(ConfigError, match="class_map: the map leaves out sidewalk, "):
        evaluate(eval_job(path, class_map=str(tmp_path / "map.yaml")), SEARCH_SPACES)
    with pytest.raises(ConfigError, match="class_map: got cityscapes_to_camvid with images="):
        eval_job(path, class_map="cityscapes_to_camvid", images="somewhere")
    genotype = random_genotype(tmp_path / "genotype.yaml")
    save_weights(tmp_path / "w.safetensors", nas.build(genotype, 7).state_dict())
    job = eval_job(str(tmp_path / "w.safetensors"), class_map="cityscapes_to_camvid")
    job.genotype = str(tmp_path / "genotype.yaml")
    with pytest.raises(ConfigError, match="names of the network's classes are not known"):
        evaluate(job, SEARCH_SPACES)


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == "lat_small" else pytest.mark.slow) for name in NETWORKS])
def test_onnx_computes_what_a_published_network_computes_at_even_and_odd_sizes(name):
    torch.manual_seed(0)
    network = as_if_trained(nas.build(nas.load_genotype(f"squeezenas/{name}")))
    for size in (SIZE, (51, 69)):
        model = onnx_model(network, size, ExportSettings())
        found = onnx_check.compare(model, network, size=size, precision="fp32", output="logits")
        assert found.passed, found


def test_a_profiled_table_serves_the_search_and_predicts_its_result(tmp_path, run_nas):
    tiny = [
        "space=squeezenas_small",
        "space.stages=[[8,2,2],[12,2,2],[16,1,1]]",
        "space.low_level_block=1",
        "space.last_channels=null",
        "space.decoder_channels=8",
        "space.stem_channels=8",
        "space.ops=[k3_e3_g1,k3_e1_g2,skip]",
        "deploy.input=[32,48]",
    ]
    done = run_nas("profile", *tiny, "num_classes=11", "rounds=1", "max_rounds=1", "out=table.json")
    assert done.status == 0, done.err
    keys = json.loads((tmp_path / "table.json").read_text())["entries"]
    assert any(key.startswith("inverted_residual ") and key.endswith(" e=3") for key in keys)
    assert any(key.startswith("window_pool ") and key.endswith(" k=49 s=16 d=1 g=1 sw=20") for key in keys)
    data = ["data.size=[32,48]", "data.train=2", "data.val=1"]
    common = ["search.epochs=1", "search.batch_size=2", "search.crop=[32,48]", "latency.table=table.json", "trainer.threads=1"]
    done = run_nas("search", *tiny, *data, *common, "out=run")
    assert done.status == 0, done.err
    done = run_nas("predict", "genotype=run", "latency.table=table.json")
    assert done.status == 0, done.err
    done = run_nas("show", "genotype=run", "out=picture.png")
    assert done.status == 0, done.err


def test_a_published_genotype_is_listed_and_shown(run_nas):
    assert f"{NAME} " in run_nas("show", "list=genotypes").out
    shown = run_nas("show", f"genotype={NAME}")
    assert shown.status == 0, shown.err
    assert "465,774 parameters, 4.465 GMACs" in shown.out
    listed = [name for name in nas.list_genotypes() if name.startswith("squeezenas/")]
    assert listed == sorted(f"squeezenas/{name}" for name in NETWORKS)


@pytest.mark.parametrize(("name", "features"), [("lat_small", 128 + 24), ("lat_xlarge", 160 + 32)])
def test_what_the_classifiers_read_can_be_pretrained_on_images(name, features):
    classifier = build_image_classifier(load_design(f"squeezenas/{name}", SEARCH_SPACES), 10)
    assert classifier(torch.randn(2, 3, 33, 47)).shape == (2, 10)
    assert classifier.classifier.in_features == features
    assert not any("scores" in key for key in classifier.state_dict())
