"""`nas eval onnx=`: exported files score what their run scores, files of others what NumPy counts; and ms and FPS beside mIoU."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch.nn import functional

import nas
from nas.config.jobs import EvalJob
from nas.config.settings import ExportSettings
from nas.data.classes.palette import CAMVID_CLASSES
from nas.data.synthetic import SyntheticDataset
from nas.errors import ConfigError
from nas.space.genotype import Genotype, save_genotype
from nas.stages.export import ExportJob, export
from search_spaces import SEARCH_SPACES
from tests.label_trees import noise, save
from tests.onnx_files import weights, write_file
from tests.small_jobs import data_config, made_up_table
from tests.stages.test_export import trained_run

DATA = ["data=synthetic", "data.size=[48,64]", "data.train=6", "data.val=2", "data.test=3", "trainer.threads=1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training's folder, with the file of its export at two forms of output."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    trained_run(folder)
    for output in ("logits", "labels"):
        settings = ExportSettings(output=output, classes=list(CAMVID_CLASSES))
        export(ExportJob(run=str(folder), export=settings, out=str(folder.parent / output)), SEARCH_SPACES)
    return folder


def scores(out):
    """The part of eval.json that does not say where it comes from, and the pictures."""
    report = json.loads((Path(out) / "eval.json").read_text())
    pictures = [(Path(out) / "predictions" / name).read_bytes() for name in report["pictures"]]
    return {
        key: value for key, value in report.items() if key not in ("weights", "weights_sha256", "genotype_space", "onnx")
    }, pictures


@pytest.mark.parametrize("output", ["logits", "labels"])
def test_an_exported_file_scores_what_its_run_scores(run, run_nas, output):
    assert run_nas("eval", f"run={run}", *DATA, "out=torch").status == 0
    outcome = run_nas("eval", f"onnx={run.parent / output / 'model.onnx'}", *DATA, "out=onnx")
    assert (outcome.status, "onnx:" in outcome.out) == (0, False)
    assert scores("onnx") == scores("torch")
    told = json.loads(Path("onnx/eval.json").read_text())["onnx"]
    assert set(told["input"]["known_from"].values()) == {"the file's metadata"}
    assert (told["output"]["kind"], told["output"]["resized"]) == (output, None)


def test_the_class_names_of_a_file_count_as_those_of_weights(run, run_nas, tmp_path):
    names = [*CAMVID_CLASSES[1:], CAMVID_CLASSES[0]]
    file = onnx.load(run.parent / "logits" / "model.onnx")
    (entry,) = (entry for entry in file.metadata_props if entry.key == "classes")
    entry.value = json.dumps(names)
    onnx.save(file, tmp_path / "turned.onnx")
    outcome = run_nas("eval", "onnx=turned.onnx", *DATA, "out=new")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "whose class 0 is 'sky', expected 'building' as the network was trained on (the metadata of turned.onnx)" in outcome.err
    assert not (tmp_path / "new").exists()
    (tmp_path / "map.yaml").write_text("".join(f"{name}: {name}\n" for name in names))
    assert run_nas("eval", "onnx=turned.onnx", "class_map=map.yaml", *DATA, "out=mapped").status == 0
    matrix = json.loads(Path("mapped/eval.json").read_text())
    assert list(matrix["classes"]) == list(CAMVID_CLASSES)
    given = [f"onnx_file.classes=[{','.join(CAMVID_CLASSES)}]"]
    outcome = run_nas("eval", "onnx=turned.onnx", *given, *DATA, "out=new")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "onnx_file.classes: got others than the metadata of turned.onnx state" in outcome.err


def test_a_file_in_the_folder_of_a_training_is_scored_on_its_data(run, run_nas, tmp_path):
    (tmp_path / "trained").mkdir()
    shutil.copy(run.parent / "logits" / "model.onnx", tmp_path / "trained")
    settings = "verb: train\ndata: {name: synthetic, size: [48, 64], train: 6, val: 2, test: 3}\n"
    (tmp_path / "trained" / "config.yaml").write_text(settings)
    for words, images in (([], 3), (["data.test=2"], 2)):
        out = f"out={images}"
        assert run_nas("eval", "onnx=trained/model.onnx", *words, "trainer.threads=1", "pictures=0", out).status == 0
        assert json.loads(Path(str(images), "eval.json").read_text())["images"] == images


def counted(stride):
    """mIoU by NumPy of the convolution of `write_file`, fed with BGR pixels less their mean."""
    weight, bias = weights()
    dataset = SyntheticDataset(data_config(), "test")
    matrix = np.zeros((11, 11), dtype=np.int64)
    for index in range(len(dataset)):
        image, label = dataset.load(index)
        height, width, _ = image.shape
        normal = image.astype(np.float64)[..., ::-1] - [104.0, 117.0, 123.0]
        means = normal.reshape(height // stride, stride, width // stride, stride, 3).mean(axis=(1, 3))
        logits = torch.from_numpy((means @ weight.T + bias).transpose(2, 0, 1)[None])
        full = functional.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        for truth, guess in zip(label.ravel(), full[0].numpy().argmax(axis=0).ravel(), strict=True):
            if truth != 255:
                matrix[truth, guess] += 1
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix)
    return float((np.diag(matrix)[union > 0] / union[union > 0]).mean())


CAFFE = ["onnx_file.scale=1", "onnx_file.mean=[104,117,123]", "onnx_file.std=[1,1,1]", "onnx_file.channels=bgr"]


@pytest.mark.parametrize("stride", [1, 4])
def test_a_file_of_anybody_is_counted_at_the_size_of_the_labels(run_nas, stride):
    write_file(Path("m.onnx"), stride=stride, batch=2)
    outcome = run_nas("eval", "onnx=m.onnx", *CAFFE, *DATA, "pictures=1", "out=out")
    assert outcome.status == 0
    report = json.loads(Path("out/eval.json").read_text())
    assert report["miou"] == pytest.approx(counted(stride), abs=1e-3)
    resized = None if stride == 1 else "bilinearly, with half-pixel centres, from 12x16"
    assert report["onnx"]["output"]["resized"] == resized
    assert (f"  logits resized {resized} to the size of the images" in outcome.out.splitlines()) == (stride == 4)
    said = (
        "m.onnx does not say how images are fed; assumed, as for our own networks: layout=nchw; onnx_file.KEY=VALUE states another"
    )
    assert f"onnx: {said}" in outcome.out.splitlines()


def test_pictures_without_labels_are_predicted_by_a_file(run, run_nas, tmp_path):
    save(tmp_path / "photos" / "a.png", noise(1, (30, 40)))
    assert run_nas("eval", f"run={run}", "images=photos", "out=torch").status == 0
    assert run_nas("eval", f"onnx={run.parent / 'logits' / 'model.onnx'}", "images=photos", "out=onnx").status == 0
    assert (tmp_path / "onnx/label_ids/a.png").read_bytes() == (tmp_path / "torch/label_ids/a.png").read_bytes()
    assert json.loads((tmp_path / "onnx/eval.json").read_text())["classes"] == list(CAMVID_CLASSES)
    write_file(tmp_path / "free.onnx")
    outcome = run_nas("eval", "onnx=free.onnx", "images=photos", "out=new")
    assert (outcome.status, outcome.err) == (
        2,
        "nas eval: images_size: missing, and free.onnx reads images of any size; give images_size=[HEIGHT,WIDTH]\n",
    )
    assert run_nas("eval", "onnx=free.onnx", "images=photos", "images_size=[32,48]", "out=free").status == 0
    assert json.loads((tmp_path / "free/eval.json").read_text())["classes"][:2] == ["class 0", "class 1"]


REFUSED = {
    "another size": (["onnx={logits}", "data=synthetic"], "reads images of 48x64, got 128x160; give data.size=[48,64]"),
    "other pictures": (["onnx={logits}", "images={photos}", "images_size=[48,72]"], "give images_size=[48,64]"),
    "other classes": (["onnx=few.onnx", *DATA], "got a network of 5 classes, expected 11 as in data=synthetic"),
    "no names to map": (
        ["onnx=few.onnx", *DATA, "class_map=cityscapes_to_camvid"],
        "few.onnx states no names; onnx_file.classes=[NAME,...] gives them",
    ),
    "labels to map": (
        ["onnx=labels.onnx", *DATA, "class_map=cityscapes_to_camvid"],
        "does not state its classes; give onnx_file.classes",
    ),
    "no data": (["onnx=few.onnx"], "data is missing, and there is no config.yaml of a run to take it from"),
    "gone": (["onnx=gone.onnx", *DATA], "gone.onnx"),
    "a folder": (["onnx={photos}", *DATA], "photos"),
    "run": (["onnx=few.onnx", "run={run}"], "got {run} with onnx=few.onnx, which has weights of its own; leave run away"),
    "weights": (["onnx=few.onnx", "weights=w"], "weights: got w with onnx=few.onnx"),
    "table": (["onnx=few.onnx", "latency.table=macs"], "latency.table: got macs with onnx=few.onnx"),
    "cuda": (
        ["onnx=few.onnx", "trainer.accelerator=cuda"],
        "trainer.accelerator: got cuda with onnx=few.onnx, which runs on the CPU",
    ),
    "settings alone": (["run={run}", "onnx_file.scale=1"], "onnx_file: got a value without onnx=FILE"),
    "a setting": (["onnx=few.onnx", "onnx_file.std=[1,1,0]"], "onnx_file.std: got [1.0,1.0,0.0], expected 3 numbers above 0"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_status_2_in_a_line(run, run_nas, tmp_path, arguments, message):
    save(tmp_path / "photos" / "a.png", noise(1, (30, 40)))
    write_file(tmp_path / "few.onnx", classes=5)
    write_file(tmp_path / "labels.onnx", labels=TensorProto.INT64)
    places = {"run": run, "photos": "photos", "logits": run.parent / "logits" / "model.onnx"}
    outcome = run_nas("eval", *(argument.format(**places) for argument in arguments), "out=new")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert message.format(**places) in outcome.err
    assert not (tmp_path / "new").exists()


def test_ms_and_fps_stand_beside_miou(run, run_nas, tmp_path):
    table = made_up_table(tmp_path / "table.json")
    latency = nas.predict(nas.load_genotype(run), table)
    outcome = run_nas("eval", f"run={run}", *DATA, "pictures=0", "latency.table=table.json", "out=out")
    report = json.loads(Path("out/eval.json").read_text())
    line = f"  mIoU {report['miou']:.4f} at {latency.ms:.3f} ms, {1000 / latency.ms:.0f} FPS on {table.identifier}, predicted"
    assert line in outcome.out.splitlines()
    assert report["latency"] == {
        "predicted": latency.ms,
        "low": None,
        "high": None,
        "unit": "ms",
        "table": table.identifier,
        "known_from": "latency.table",
        "fps": 1000 / latency.ms,
        "fps_low": None,
        "fps_high": None,
    }
    outcome = run_nas("eval", f"run={run}", "data=synthetic", "latency.table=table.json", "out=new")
    assert outcome.status == 2
    assert "deploy.input=[128,160]" in outcome.err, "the latency is that of the size evaluated"
    assert not (tmp_path / "new").exists()


def test_a_latency_that_the_genotype_states_is_said_if_it_is_of_this_size(run, run_nas, tmp_path):
    genotype = nas.load_genotype(run)
    stated = {**genotype.provenance, "table": "board/torch-eager-fp32-b1-t1", "cost_unit": "ms", "expected_latency": 12.5}
    save_genotype(
        tmp_path / "genotype.yaml", Genotype(genotype.space, genotype.space_config, genotype.deploy, genotype.choices, stated)
    )
    words = ["genotype=genotype.yaml", f"weights={run / 'weights.safetensors'}", "pictures=0"]
    outcome = run_nas("eval", *words, *DATA, "out=same")
    assert " at 12.500 ms, 80 FPS on board/torch-eager-fp32-b1-t1, predicted\n" in outcome.out
    assert json.loads(Path("same/eval.json").read_text())["latency"]["known_from"] == "provenance"
    outcome = run_nas("eval", *words, "data=synthetic", "data.size=[48,80]", "data.test=3", "out=other")
    assert (outcome.status, " FPS" in outcome.out) == (0, False)
    assert "latency" not in json.loads(Path("other/eval.json").read_text())


def test_an_onnx_file_and_its_settings_go_together():
    with pytest.raises(ConfigError, match="genotype: got g with onnx=m.onnx"):
        EvalJob(onnx="m.onnx", genotype="g")
