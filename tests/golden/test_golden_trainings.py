"""Trainings, evaluations and exports: metrics, weights, pictures, the graph of the ONNX file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from tests.golden import records
from tests.golden.records import digest, run_in, words
from tests.golden.small import CPU, DATA, TRAIN
from tests.golden.stored import FOLDER

GENOTYPES = FOLDER / "before" / "genotypes"
LGCNET = f"genotype={GENOTYPES / 'lgcnet.yaml'}"
MIXTURE = (
    "train.loss=cross_entropy",
    "train.class_weights=auto",
    "train.accumulate=2",
    "train.ema=0.9",
    "train.grad_clip=1",
    "train.crop=[16,32]",
)
CASES = {
    "lgcnet": (LGCNET,),
    "lgcnet averaged and weighted": (LGCNET, *MIXTURE),
    "squeezenas_small": (f"genotype={GENOTYPES / 'squeezenas_small.yaml'}", "trainer.checkpointing=all"),
    "fasterseg": (f"genotype={GENOTYPES / 'fasterseg.yaml'}", "train.aux_weight=0.4", "data.size=[64,96]", "train.lr=1e-3"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a trained network in `run`."""
    folder = tmp_path_factory.mktemp("trained")
    run_in(folder, "train", *words(DATA, CPU, TRAIN), LGCNET, "out=run")
    return folder


def write_images(root: Path) -> None:
    """Noise, dark or bright: root/train/dark/0.png ..."""
    for split, count in (("train", 4), ("val", 2)):
        for label, name in enumerate(("dark", "bright")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                rng = np.random.default_rng([len(split), label, number])
                pixels = rng.integers(0, 60, (32, 40, 3)) + 120 * label
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{number}.png")


@pytest.mark.parametrize("case", CASES)
def test_training_gives_the_same_numbers_and_weights(golden, tmp_path, case):
    run_in(tmp_path, "train", *words(DATA, CPU, TRAIN, CASES[case]), "out=run")
    golden(case, records.training(tmp_path / "run"))


def test_training_of_a_second_network_from_the_first_gives_the_same_numbers_and_weights(golden, trained):
    student = f"genotype={GENOTYPES / 'gas_tiny.yaml'}"
    distilling = ("distill.teacher=run", "distill.temperature=2", "distill.weight=0.5")
    run_in(trained, "train", *words(DATA, CPU, TRAIN, distilling), student, "out=student")
    golden("distilled", records.training(trained / "student"))


def test_pretraining_on_images_and_the_training_after_it_give_the_same_numbers_and_weights(golden, tmp_path):
    write_images(tmp_path / "images")
    network = f"genotype={GENOTYPES / 'gas_tiny.yaml'}"
    images = ("data=image_folder", "data.root=images", "data.size=[32,40]", "train.task=classification", *CPU, *TRAIN)
    run_in(tmp_path, "train", *images, network, "out=pretrained")
    golden("classification", records.training(tmp_path / "pretrained"))
    following = words(DATA, CPU, TRAIN, ["encoder_weights=pretrained/weights.safetensors", "train.max_steps=2"])
    run_in(tmp_path, "train", *following, network, "out=run")
    golden("after classification", records.training(tmp_path / "run"))


def test_evaluation_gives_the_same_numbers_and_pictures(golden, golden_text, trained):
    printed = run_in(trained, "eval", "run=run", *words(DATA, CPU), "out=eval")
    golden("eval", records.evaluation(trained / "eval"))
    golden("eval lines", [line.split()[0] for line in printed.splitlines()])


def test_pictures_of_the_users_own_images_are_the_same(golden, trained):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 56, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(trained / "photograph.png")
    run_in(trained, "eval", "run=run", "images=photograph.png", *CPU, "out=own")
    found = {path.name: records.picture(path) for path in sorted((trained / "own").rglob("*.png"))}
    assert found
    golden("own images", {"pictures": found, "files": records.files(trained / "own")})


@pytest.mark.parametrize("case", ["fp32 logits", "fp16 labels"])
def test_exported_graph_is_the_same(golden, trained, case):
    precision, output = case.split()
    out = case.replace(" ", "_")
    run_in(trained, "export", "run=run", f"export.precision={precision}", f"export.output={output}", f"out={out}")
    golden(case, {"graph": graph(trained / out / "model.onnx"), "report": export_report(trained / out / "export.json")})


def graph(path: Path) -> dict:
    """Operations in order with their attributes, values numbered by their first appearance; constants as hashes."""
    model = onnx.load(path)
    numbers: dict[str, int] = {}
    nodes = []
    for node in model.graph.node:
        ends = [[numbers.setdefault(name, len(numbers)) for name in side] for side in (node.input, node.output)]
        attributes = {a.name: digest(_plain(onnx.helper.get_attribute_value(a))) for a in node.attribute}
        nodes.append(f"{node.op_type} {ends} {digest(attributes)[:15]}")
    constants = {str(numbers[value.name]): digest(numpy_helper.to_array(value)) for value in model.graph.initializer}
    described = {entry.key: entry.value for entry in model.metadata_props if entry.key != "provenance"}
    return {
        "inputs": [value.name for value in model.graph.input],
        "outputs": [value.name for value in model.graph.output],
        "opset": [entry.version for entry in model.opset_import],
        "nodes": nodes,
        "constants": digest(constants),
        "described": described,
    }


def _plain(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def export_report(path: Path) -> dict:
    """What does not depend on versions, nor on how ONNX Runtime rounds."""
    report = json.loads(path.read_text(encoding="utf-8"))
    kept = {
        key: value for key, value in report.items() if key not in ("made_by", "sha256", "weights_sha256", "file_bytes", "check")
    }
    measured = ("max_abs_difference", "largest_logit", "argmax_agreement", "version", "resize_difference")
    checks = [{k: v for k, v in one.items() if k not in measured} for one in (*report["check"], report["onnxruntime"])]
    told = [f"{one['runtime']}: {one['trigger']} {one['times']}" for one in report["runtimes"]]
    return {**kept, "check": checks[:-1], "onnxruntime": checks[-1], "runtimes": told}
