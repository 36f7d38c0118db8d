"""Export: the file computes what the network computes and says how to use it; what is wrong gets neither name nor status."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import nas
from nas.config.jobs import ExportJob
from nas.config.settings import ExportSettings
from nas.data.classes.palette import CAMVID_CLASSES
from nas.exporting import onnx_check, required_packages
from nas.exporting.runtime_facts import known_differences
from nas.network.build import build_network
from nas.runs.checkpoint import save_weights
from nas.space.design import design_of, load_design
from nas.space.genotype import Genotype, save_genotype
from nas.stages import export as exporting
from nas.stages.export import export
from search_spaces import SEARCH_SPACES, all_spaces
from tests.random_weights import as_if_trained
from tests.small_jobs import SIZE, random_genotype


def trained_run(folder, *, seed=0, num_classes=11, provenance=None):
    """A folder as `nas train` leaves it, with weights of a network far from its initialisation."""
    genotype = random_genotype(folder / "genotype.yaml", seed=seed)
    if provenance is not None:
        parts = (genotype.space, genotype.space_config, genotype.deploy, genotype.choices)
        save_genotype(folder / "genotype.yaml", Genotype(*parts, provenance))
    torch.manual_seed(seed)
    network = as_if_trained(build_network(design_of(genotype, SEARCH_SPACES), num_classes), seed)
    save_weights(folder / "weights.safetensors", network.state_dict())
    return network


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    trained_run(folder)
    return folder


@pytest.fixture(scope="module")
def network(run):
    """The network of the run as a user of the Python interface makes it."""
    from safetensors.torch import load_file

    network = nas.build(nas.load_genotype(run)).eval()
    network.load_state_dict(load_file(run / "weights.safetensors"))
    return network


def exported(run, out, **settings):
    """(result, report, model, session) of an export."""
    result = export(ExportJob(run=str(run), out=str(out), export=ExportSettings(**settings)), SEARCH_SPACES)
    path = out / "model.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return result, json.loads((out / "export.json").read_text()), onnx.load(path), session


def images(batch, size=SIZE):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(batch))


def metadata(model):
    return {entry.key: entry.value for entry in model.metadata_props}


@pytest.fixture(scope="module")
def plain(run, tmp_path_factory):
    """The export of the run with all defaults, and its folder."""
    out = tmp_path_factory.mktemp("exported") / "out"
    return *exported(run, out), out


@pytest.mark.parametrize(("seed", "opset", "size"), [(0, 13, None), (1, 17, [45, 71]), (2, 20, None)])
def test_file_of_a_random_architecture_computes_its_logits_for_any_batch(tmp_path, seed, opset, size):
    network = trained_run(tmp_path / "run", seed=seed)
    _, report, model, session = exported(tmp_path / "run", tmp_path / "out", opset=opset, input=size)
    for batch in (1, 2, 5):
        x = images(batch, size or SIZE)
        with torch.no_grad():
            expected = network(x).numpy()
        got = session.run(["logits"], {"images": x.numpy()})[0]
        np.testing.assert_allclose(got, expected, atol=1e-5 * max(1.0, abs(expected).max()))
    assert [found["input"] for found in report["check"]] == ([[45, 71], [47, 75]] if size else [[48, 64], [51, 69]])
    assert report["passed"]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_many_random_architectures(tmp_path, seed, precision):
    trained_run(tmp_path / "run", seed=seed)
    _, report, _, _ = exported(tmp_path / "run", tmp_path / "out", precision=precision)
    assert report["passed"]


def test_report_states_what_the_file_is(run, plain):
    result, report, model, _, out = plain
    content = (out / "model.onnx").read_bytes()
    assert (report["file_bytes"], report["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert (report["opset"], report["ir_version"], report["precision"]) == (17, model.ir_version, "fp32")
    assert report["input"]["name"] == "images"
    assert report["input"]["shape"] == ["batch", 3, *SIZE]
    assert report["output"] == {"name": "logits", "shape": ["batch", 11, *SIZE], "dtype": "float32"}
    assert report["weights"] == str(run / "weights.safetensors")
    assert report["genotype"] == str(run)
    parameters = build_network(load_design(run, SEARCH_SPACES)).parameters()
    assert report["parameters"] == sum(parameter.numel() for parameter in parameters)
    assert sum(report["nodes"].values()) == len(model.graph.node)
    assert {"torch", "onnx", "onnxruntime", "version"} <= set(report["made_by"])
    deployed, odd = report["check"]
    assert (deployed["input"], odd["input"]) == ([48, 64], [51, 69])
    for found in (deployed, odd):
        assert 0 <= found["max_abs_difference"] <= found["allowed"] == 1e-3
        assert (found["batch_sizes"], found["images"]) == ([1, 3, 1, 3], 8)
        assert found["argmax_agreement"] > 0.999
    assert dict(result.report) == report


def test_metadata_suffice_to_deploy_without_the_project(run, network, plain):
    _, _, model, session, _ = plain
    told = metadata(model)
    assert json.loads(told["classes"]) == list(CAMVID_CLASSES)
    genotype = load_design(run, SEARCH_SPACES).genotype
    assert (told["space"], json.loads(told["choices"])) == (genotype.space, dict(genotype.choices))
    assert json.loads(told["provenance"]) == {"seed": 0, "data": "synthetic"}
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    mean, std = (np.array(json.loads(told[key]), dtype=np.float32) for key in ("input_mean", "input_std"))
    fed = ((picture / np.float32(255) - mean) / std).transpose(2, 0, 1)[None]
    assert (told["input_layout"], told["input_normalisation"]) == ("NCHW, RGB", "(image / 255 - input_mean) / input_std")
    from nas.data.batches.transforms import to_tensors

    with torch.no_grad():
        expected = network(to_tensors(picture, np.zeros(SIZE, dtype=np.uint8))[0][None]).numpy()
    np.testing.assert_allclose(session.run(None, {"images": fed})[0], expected, atol=1e-5 * abs(expected).max())


def test_file_knows_no_folder_of_this_machine(tmp_path):
    trained_run(tmp_path / "run", provenance={"table": str(tmp_path / "tables" / "mine.json"), "seed": 1, "more": [str(tmp_path)]})
    _, _, model, _ = exported(tmp_path / "run", tmp_path / "out")
    assert json.loads(metadata(model)["provenance"]) == {"table": "mine.json", "seed": 1, "more": [tmp_path.name]}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["export.json", "model.onnx"]
    content = (tmp_path / "out" / "model.onnx").read_bytes()
    for trace in (str(tmp_path).encode(), str(Path(nas.__file__).parent).encode(), b".py", b"stack_trace"):
        assert trace not in content


def test_labels_are_the_label_map(run, network, tmp_path):
    _, report, _, session = exported(run, tmp_path / "out", output="labels")
    x = images(2)
    with torch.no_grad():
        expected = network.label_map(x).numpy()
    got = session.run(["labels"], {"images": x.numpy()})[0]
    assert got.dtype == np.int64
    assert got.shape == expected.shape == (2, 1, *SIZE)
    assert (got == expected).mean() > 0.999
    assert report["output"] == {"name": "labels", "shape": ["batch", 1, *SIZE], "dtype": "int64"}


def test_fp16_is_float16_inside_and_float32_outside(run, network, tmp_path):
    _, report, model, session = exported(run, tmp_path / "out", precision="fp16")
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert not kinds & {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}
    assert sum(node.op_type == "Cast" for node in model.graph.node) == 2
    x = images(2)
    with torch.no_grad():
        expected = network(x).numpy()
    got = session.run(None, {"images": x.numpy()})[0]
    assert got.dtype == np.float32
    difference = np.abs(got - expected).max()
    assert 0 < difference < 0.01 * np.abs(expected).max()
    found = report["check"][0]
    assert found["allowed"] == pytest.approx(0.01 * found["largest_logit"])
    assert metadata(model)["precision"] == report["precision"] == "fp16"


def test_report_and_summary_say_what_the_target_does_differently(run, tmp_path):
    result, report, model, _ = exported(run, tmp_path / "out", output="labels", target="ncnn")
    assert report["target"] == "ncnn"
    assert report["runtimes"] == known_differences(model, "ncnn")
    assert "argmax" in {one["trigger"] for one in report["runtimes"]}
    lines = result.summary()
    place = lines.index(
        "  ncnn 1.0.20261020, pnnx 20261020: pnnx converts ArgMax with exit status 0, and ncnn cannot load the file"
    )
    assert lines[place + 1] == "    export.output=logits"
    assert report["onnxruntime"]["argmax"] == "first"
    assert report["onnxruntime"]["resizes"] == report["nodes"]["Resize"]


def test_without_a_target_the_report_has_all_and_the_summary_a_line(plain):
    result, report, model, _, _ = plain
    assert report["target"] is None
    assert report["runtimes"] == known_differences(model)
    (line,) = (line for line in result.summary() if "export.target=NAME" in line)
    assert "openvino 3" in line
    assert (report["onnxruntime"]["argmax"], report["onnxruntime"]["corner_aligned"]) == ("logits", 0)
    assert report["onnxruntime"]["resize_difference"] < 1e-6


def test_a_batch_norm_without_a_convolution_before_it_stays_in_the_file(tmp_path):
    """DABNet begins its blocks with a batch norm, and PReLU behind it."""
    design = load_design("zoo/dabnet", all_spaces())
    torch.manual_seed(0)
    network = as_if_trained(build_network(design, 11))
    save_weights(tmp_path / "weights.safetensors", network.state_dict())
    job = ExportJob(genotype="zoo/dabnet", weights=str(tmp_path / "weights.safetensors"), out=str(tmp_path / "out"))
    job.export = ExportSettings(input=[32, 48])
    report = export(job, all_spaces()).report
    norms = sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())
    assert report["passed"]
    assert 0 < report["nodes"]["BatchNormalization"] < norms
    assert report["batch_norms_folded"] == norms - report["nodes"]["BatchNormalization"]


def test_what_is_stated_is_of_the_file_without_auxiliary_heads(tmp_path):
    design = load_design("zoo/context_net", all_spaces())
    torch.manual_seed(0)
    network = as_if_trained(build_network(design, 19))
    save_weights(tmp_path / "weights.safetensors", network.state_dict())
    job = ExportJob(genotype="zoo/context_net", weights=str(tmp_path / "weights.safetensors"), out=str(tmp_path / "out"))
    job.export = ExportSettings(input=[32, 48])
    report = export(job, all_spaces()).report
    for name in network.auxiliary:
        delattr(network, name)
    running = list(network.modules())
    assert report["parameters"] == sum(weight.numel() for weight in network.parameters()) == 876_563
    assert report["batch_norms_folded"] == sum(isinstance(part, nn.BatchNorm2d) for part in running)


@pytest.mark.parametrize("size", [(45, 60), (96, 128), (1, 1), (2, 3), (256, 255)])
def test_odd_size_is_odd_larger_and_rounds_the_sides_differently(size):
    odd = exporting.odd_size(*size)
    assert all(side % 2 == 1 and 0 < side - given <= 5 for side, given in zip(odd, size, strict=True))
    assert odd[0] - size[0] != odd[1] - size[1]


def test_a_difference_above_the_limit_is_status_1_in_a_line_and_leaves_no_model(run_nas, tmp_path, monkeypatch):
    trained_run(tmp_path / "run")
    (tmp_path / "run" / "model.onnx").write_bytes(b"of an earlier export")
    monkeypatch.setattr(onnx_check, "FP32_LIMIT", 1e-9)
    outcome = run_nas("export", "run=run")
    assert (outcome.status, len(outcome.err_lines)) == (1, 1)
    assert outcome.err.startswith("nas export: run/rejected.onnx: differs from PyTorch by ")
    assert "expected at most 1e-09" in outcome.err
    report = json.loads((tmp_path / "run" / "export.json").read_text())
    assert not report["passed"]
    assert report["check"][0]["max_abs_difference"] > 1e-9
    assert not (tmp_path / "run" / "model.onnx").exists()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert run_nas("export", "run=run").status == 0
    assert (tmp_path / "run" / "model.onnx").exists()
    assert not (tmp_path / "run" / "rejected.onnx").exists()


def test_command_says_what_it_did_and_gives_the_same_bytes_again(run, run_nas, plain, tmp_path):
    arguments = (f"genotype={run / 'genotype.yaml'}", f"weights={run / 'weights.safetensors'}", "out=parts")
    outcome = run_nas("export", *arguments)
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "ONNX opset 17, fp32: images batchx3x48x64 -> logits batchx11x48x64"
    assert {"  wrote parts/model.onnx", "  wrote parts/export.json"} <= set(lines)
    assert lines[-1].startswith("next: ")
    assert any("51x69: largest difference" in line for line in lines)
    assert (tmp_path / "parts" / "model.onnx").read_bytes() == (plain[-1] / "model.onnx").read_bytes()


def names_in(folder):
    told = metadata(onnx.load(folder / "model.onnx"))
    return json.loads(told["classes"]) if "classes" in told else None


def test_class_names_are_those_of_the_data_trained_on_or_given(run_nas, tmp_path):
    """The data of the run count, not those of the search, which the genotype names."""
    run = tmp_path / "run"
    trained_run(run)
    (run / "config.yaml").write_text("verb: train\ndata:\n  name: elsewhere\n")
    outcome = run_nas("export", "run=run")
    assert names_in(run) is None
    assert json.loads((run / "export.json").read_text())["classes"] is None
    assert "export.classes=[NAME,...]" in outcome.out
    names = [f"c{number}" for number in range(11)]
    outcome = run_nas("export", "run=run", f"export.classes=[{','.join(names)}]")
    assert names_in(run) == names
    assert "export.classes" not in outcome.out
    outcome = run_nas("export", "run=run", "export.classes=[road,car]")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "export.classes: got 2 names, expected 11" in outcome.err


REFUSED = {
    "opset too old": (["run={run}", "export.opset=10"], "export.opset: got 10, expected 11 to 20"),
    "opset too new": (["run={run}", "export.opset=21"], "export.opset: got 21, expected 11 to 20"),
    "precision": (["run={run}", "export.precision=int8"], "export.precision: got 'int8', expected one of fp32, fp16"),
    "output": (["run={run}", "export.output=masks"], "export.output: got 'masks', expected one of logits, labels"),
    "target": (["run={run}", "export.target=tensorrt"], "export.target: got 'tensorrt', expected one of onnxruntime, openvino, "),
    "size": (["run={run}", "export.input=[0,8]"], "export.input: got [0,8], expected [HEIGHT,WIDTH]"),
    "run with genotype": (["run={run}", "genotype={run}"], "got run= together with genotype=, expected one of them"),
    "no such checkpoint": (["run={run}", "checkpoint=best"], "checkpoints/best.pt: no such file"),
    "nothing": ([], "give run=FOLDER of a nas train, or genotype= and weights="),
    "genotype alone": (["genotype={run}"], "give run=FOLDER of a nas train, or genotype= and weights="),
    "run without weights": (["run=nowhere"], "nowhere/weights.safetensors: no such file"),
    "missing genotype": (["genotype=nowhere.yaml", "weights={run}/weights.safetensors"], "nowhere.yaml"),
    "missing weights": (["genotype={run}", "weights=nowhere.safetensors"], "nowhere.safetensors: no such file"),
    "weights that are none": (["genotype={run}", "weights={run}/genotype.yaml"], "damaged or no safetensors file"),
    "full folder": (["run={run}", "out={run}"], "is not empty"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_wrong_input_is_status_2_in_a_line_and_writes_nothing(run, run_nas, tmp_path, arguments, message):
    before = sorted(path.name for path in run.iterdir())
    outcome = run_nas("export", *(argument.format(run=run) for argument in arguments))
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert message in outcome.err
    assert list(tmp_path.iterdir()) == []
    assert sorted(path.name for path in run.iterdir()) == before


def test_missing_packages_are_named_with_the_command_that_installs_them(run, run_nas, monkeypatch):
    find = required_packages.find_spec
    monkeypatch.setattr(required_packages, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    outcome = run_nas("export", f"run={run}")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert outcome.err == "nas export: needs onnxruntime, which is not installed: pip install 'segnas[export]'\n"
