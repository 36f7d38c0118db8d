"""Evaluation: eval.json against an independent count, pictures, and sources that do not fit together."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import nas
from nas.config.jobs import EvalJob
from nas.config.settings import TrainerSettings
from nas.data.synthetic import SyntheticDataset
from nas.runs.checkpoint import load_weights, save_weights
from nas.stages.evaluate import evaluate
from search_spaces import SEARCH_SPACES
from tests.label_trees import noise, save
from tests.small_jobs import data_config, random_genotype, train_job

DATA = ["data=synthetic", "data.size=[48,64]", "data.train=6", "data.val=2", "data.test=3"]
IMAGES = {"train": 6, "val": 2, "test": 3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a short training."""
    folder = tmp_path_factory.mktemp("trained")
    random_genotype(folder / "genotype.yaml")
    job = train_job(folder / "genotype.yaml", folder / "run", train__lr=0.1, train__epochs=4, train__loss="cross_entropy")
    return nas.train(job).out


@pytest.fixture
def half_void(monkeypatch):
    """Make the left third of every label void: the void of the drawn scenes may be little."""
    load = SyntheticDataset.load

    def voided(self, index):
        image, label = load(self, index)
        label = label.copy()
        label[:, :21] = 255
        return image, label

    monkeypatch.setattr(SyntheticDataset, "load", voided)


def eval_job(**changes):
    return EvalJob(**{"data": data_config(), "trainer": TrainerSettings(accelerator="cpu", threads=1), **changes})


def counted(run, split):
    """Confusion matrix by loops in numpy over the predictions of the network that `nas.build` makes, one image at a time."""
    network = nas.build(nas.load_genotype(run)).eval()
    network.load_state_dict(load_weights(run / "weights.safetensors"))
    dataset = SyntheticDataset(data_config(), split)
    matrix = np.zeros((11, 11), dtype=np.int64)
    for index in range(len(dataset)):
        image, label = dataset.load(index)
        normal = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        with torch.no_grad():
            logits = network(torch.tensor(normal.transpose(2, 0, 1)[None], dtype=torch.float32))
        prediction = logits[0].numpy().argmax(axis=0)
        for truth in range(11):
            for guess in range(11):
                matrix[truth, guess] += int(((label == truth) & (prediction == guess)).sum())
    return matrix


@pytest.mark.parametrize("split", IMAGES)
@pytest.mark.usefixtures("half_void")
def test_metrics_of_a_split_equal_an_independent_count(trained, tmp_path, split):
    result = evaluate(eval_job(run=str(trained), split=split, batch_size=2, pictures=0, out=str(tmp_path)), SEARCH_SPACES)
    report = json.loads((tmp_path / "eval.json").read_text())
    matrix = counted(trained, split)
    true, truth, guessed = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    seen = truth + guessed > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = true / (truth + guessed - true)
        recall, precision = np.nan_to_num(true / truth), np.nan_to_num(true / guessed)
    expected = {
        "miou": iou[seen].mean(),
        "pixel_accuracy": true.sum() / matrix.sum(),
        "mean_accuracy": recall[seen].mean(),
        "frequency_weighted_iou": (truth[seen] * iou[seen]).sum() / truth.sum(),
        "recall": recall[seen].mean(),
        "precision": precision[seen].mean(),
        "f1": (2 * true[seen] / (truth + guessed)[seen]).mean(),
    }
    assert {key: report[key] for key in expected} == {key: pytest.approx(value, abs=2e-4) for key, value in expected.items()}
    assert (report["split"], report["images"], report["data"]) == (split, IMAGES[split], "synthetic")
    assert report["pixels"] == matrix.sum() <= IMAGES[split] * 48 * 43
    assert [row["truth_pixels"] for row in report["classes"].values()] == truth.tolist()
    for row, value, one in zip(report["classes"].values(), iou, seen, strict=True):
        assert row["iou"] == (pytest.approx(value, abs=2e-4) if one else None)
    assert dict(result.metrics) == {key: report[key] for key in result.metrics}
    assert not (tmp_path / "predictions").exists()
    assert expected["miou"] > 0.05  # the network has learned something to count


def test_validation_metric_of_the_training_is_that_of_eval(trained, tmp_path):
    result = evaluate(eval_job(run=str(trained), split="val", pictures=0, out=str(tmp_path)), SEARCH_SPACES)
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [row["miou"] for row in rows if row["split"] == "val"][-1] == pytest.approx(result.metrics["miou"], abs=1e-6)


@pytest.mark.parametrize(("asked", "written"), [(0, []), (1, [0]), (2, [0, 2]), (9, [0, 1, 2])])
def test_as_many_pictures_as_asked_spread_over_the_split(trained, tmp_path, asked, written):
    result = evaluate(eval_job(run=str(trained), pictures=asked, out=str(tmp_path)), SEARCH_SPACES)
    files = sorted((tmp_path / "predictions").glob("*")) if asked else []
    assert [file.name for file in files] == [f"test_{index:05d}.png" for index in written]
    assert result.pictures == len(written)


def test_pictures_of_an_earlier_evaluation_go_and_files_of_the_user_stay(trained, tmp_path):
    """The second evaluation has other pictures; what it did not write itself is left alone, whatever its report names."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    evaluate(eval_job(run=str(run), pictures=3), SEARCH_SPACES)
    folder = run / "predictions"
    for path in (folder / "mine.png", folder / "notes.txt", run / "precious.png", tmp_path / "outside.png"):
        path.write_bytes(b"mine")
    report = json.loads((run / "eval.json").read_text())
    assert report["pictures"] == [f"test_{index:05d}.png" for index in range(3)]
    report["pictures"] += ["../precious.png", str(tmp_path / "outside.png"), "notes.txt", "x" * 5_000 + ".png", 7]
    (run / "eval.json").write_text(json.dumps(report))
    evaluate(eval_job(run=str(run), split="val", pictures=1), SEARCH_SPACES)
    assert sorted(path.name for path in folder.iterdir()) == ["mine.png", "notes.txt", "val_00000.png"]
    assert (run / "precious.png").exists()
    assert (tmp_path / "outside.png").exists()
    assert json.loads((run / "eval.json").read_text())["pictures"] == ["val_00000.png"]


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"pictures": 3}', "{}"])
def test_a_report_that_names_no_pictures_removes_none(trained, tmp_path, text):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "predictions").mkdir(exist_ok=True)
    (run / "predictions" / "mine.png").write_bytes(b"mine")
    (run / "eval.json").write_text(text)
    evaluate(eval_job(run=str(run), pictures=0), SEARCH_SPACES)
    assert (run / "predictions" / "mine.png").exists()


def test_pictures_show_image_truth_and_prediction(trained, tmp_path):
    evaluate(eval_job(run=str(trained), pictures=1, out=str(tmp_path)), SEARCH_SPACES)
    (file,) = (tmp_path / "predictions").iterdir()
    with Image.open(file) as opened:
        assert opened.format == "PNG"
        pixels = {tuple(pixel) for pixel in np.asarray(opened.convert("RGB")).reshape(-1, 3).tolist()}
    dataset = SyntheticDataset(data_config(), "test")
    image, label = dataset.load(0)
    scene = {tuple(pixel) for pixel in image.reshape(-1, 3).tolist()}
    assert len(scene & pixels) == len(scene) > 50
    assert {tuple(dataset.palette[i].tolist()) for i in np.unique(label) if i != 255} <= pixels


def test_names_with_dots_keep_their_pictures_apart(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(SyntheticDataset, "name", lambda self, index: f"sequence.{index}")
    evaluate(eval_job(run=str(trained), pictures=3, out=str(tmp_path)), SEARCH_SPACES)
    names = sorted(file.name for file in (tmp_path / "predictions").iterdir())
    assert names == [f"sequence.{index}.png" for index in range(3)]


def test_genotype_and_weights_give_what_the_run_gives_and_a_run_keeps_its_results(trained, run_nas, tmp_path):
    assert run_nas("eval", f"run={trained}", *DATA, "pictures=1").status == 0
    weights = str(trained / "weights.safetensors")
    outcome = run_nas("eval", f"genotype={trained / 'genotype.yaml'}", f"weights={weights}", *DATA, "pictures=0", "out=parts")
    assert (outcome.status, outcome.err) == (0, "")
    reports = [json.loads((folder / "eval.json").read_text()) for folder in (trained, tmp_path / "parts")]
    assert [report.pop("pictures") for report in reports] == [["test_00000.png"], []]
    assert reports[0] == reports[1]
    assert reports[0]["weights"] == weights
    assert (trained / "predictions" / "test_00000.png").exists()


def test_a_split_is_counted_and_one_without_labels_is_status_2_in_a_line(trained, run_nas, tmp_path):
    for number in range(2):
        save(tmp_path / "images" / "val" / f"f{number}.png", noise(number, (48, 64)))
        save(tmp_path / "masks" / "val" / f"f{number}.png", np.full((48, 64), 11))
    arguments = [
        f"genotype={trained}",
        f"weights={trained}/weights.safetensors",
        "data=folder",
        f"data.root={tmp_path}",
        "data.classes=camvid",
    ]
    outcome = run_nas("eval", *arguments, "split=val", "out=empty")
    assert outcome.status == 2
    assert "data: val 2 images of 48x64" in outcome.out.splitlines()
    (line,) = outcome.err_lines
    assert "every pixel of the 2 labels of the val split is void (ids 11, 255), expected pixels of classes" in line
    assert line.endswith("; correct the labels, or choose others, or draw predictions of images without labels with images=FOLDER")
    assert not (tmp_path / "empty").exists()
    save(tmp_path / "masks" / "val" / "f1.png", np.full((48, 64), 2))
    outcome = run_nas("eval", *arguments, "split=val", "out=one")
    assert outcome.status == 0
    assert any("mIoU is that of" in text for text in outcome.out.splitlines())
    assert any("1 of the 2 labels of the val split is void throughout" in text for text in outcome.out.splitlines())


def test_results_do_not_depend_on_the_batch_size(trained, tmp_path):
    found = [
        evaluate(eval_job(run=str(trained), batch_size=size, pictures=0, out=str(tmp_path / str(size))), SEARCH_SPACES).metrics
        for size in (1, 3)
    ]
    assert found[0]["miou"] == pytest.approx(found[1]["miou"], abs=1e-3)
    assert found[0]["pixels"] == found[1]["pixels"]


REFUSED = {
    "run with genotype": (["run={run}", "genotype={run}"], "got run= together with genotype=, expected one of them"),
    "unknown checkpoint": (["run={run}", "checkpoint=first"], "checkpoint: got 'first', expected one of last, best"),
    "checkpoint without run": (["genotype={run}", "checkpoint=best"], "expected run=FOLDER of a nas train beside it"),
    "checkpoint with weights": (["run={run}", "weights=x", "checkpoint=best"], "beside it, and no weights="),
    "no such checkpoint": (["run=nowhere", "checkpoint=best"], "nowhere/checkpoints/best.pt: no such file"),
    "nothing": ([], "give run=FOLDER of a nas train, or genotype= and weights="),
    "genotype alone": (["genotype={run}"], "give run=FOLDER of a nas train, or genotype= and weights="),
    "missing weights": (["genotype={run}", "weights=nowhere.safetensors"], "nowhere.safetensors: no such file"),
    "run without weights": (["run=nowhere"], "nowhere/weights.safetensors: no such file"),
    "missing genotype": (["genotype=nowhere.yaml", "weights={run}/weights.safetensors"], "nowhere.yaml"),
    "unknown split": (["run={run}", "split=bogus"], "split: got 'bogus', expected one of train, val, test"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_sources_that_do_not_fit_are_status_2_in_a_line(trained, run_nas, tmp_path, arguments, message):
    outcome = run_nas("eval", *(argument.format(run=trained) for argument in arguments), *DATA, "out=new")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert message in outcome.err
    assert not (tmp_path / "new").exists()


def test_weights_of_another_network_are_status_2(trained, run_nas, tmp_path):
    weights = load_weights(trained / "weights.safetensors")
    save_weights(
        tmp_path / "wide.safetensors",
        {name: torch.cat([value, value]) if value.dim() else value for name, value in weights.items()},
    )
    outcome = run_nas("eval", f"genotype={trained}", "weights=wide.safetensors", *DATA, "out=new")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "has shape" in outcome.err


def test_a_folder_with_something_in_it_is_status_2(trained, run_nas, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("keep me")
    outcome = run_nas("eval", f"run={trained}", *DATA, f"out={full}")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert str(full) in outcome.err
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
