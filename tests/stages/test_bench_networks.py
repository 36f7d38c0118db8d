"""`nas bench`: genotypes and ONNX files side by side, what the files say, predictions, and wrong input."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from nas.config.bench_networks_job import BenchNetworksJob, BenchSettings, BenchTableSettings
from nas.cost.genotype_latency import predict
from nas.cost.latency_table import LatencyTable, save_table
from nas.cost.table_parts import Reference
from nas.errors import ConfigError, DataError, GenotypeError
from nas.exporting.onnx_file import read_onnx
from nas.files.file_digest import file_digest
from nas.measuring.memory.network_memory import memory_of
from nas.measuring.reference_operation import NETWORKS_REFERENCE
from nas.network.build import build_network
from nas.ops import is_free
from nas.probing.bench.accuracies import Accuracy, accuracies
from nas.probing.bench.bench_files import COLUMNS
from nas.probing.bench.bench_summary import listed
from nas.probing.bench.benched_networks import at_size
from nas.reports.network_summary import count_macs
from nas.space.design import Design, load_design
from nas.stages.bench_networks import BenchNetworksResult, bench_networks
from search_spaces import SEARCH_SPACES
from tests.cost.simulated_table import table_of
from tests.onnx_networks import PARAMETERS, macs_at, save_network
from tests.small_jobs import SIZE, random_genotype


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two genotypes and an ONNX file of free size."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("one.yaml", "two.yaml")):
        random_genotype(tmp_path / name, seed=number)
    save_network(tmp_path / "theirs.onnx")
    return tmp_path


def the_job(*networks: str, sizes: list[list[int]] | None = None, **changes: Any) -> BenchNetworksJob:
    job = BenchNetworksJob(networks=list(networks), **{"device": "desk", "rounds": 2, "out": "out", **changes})
    job.bench = BenchSettings(sizes=sizes, processing=False)
    return job


def bench(*networks: str, **changes: Any) -> BenchNetworksResult:
    result = bench_networks(the_job(*networks, **changes), SEARCH_SPACES)
    assert isinstance(result, BenchNetworksResult)
    return result


def rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "bench.csv").read_text().splitlines()))


def design_at(path: str, size: tuple[int, int]) -> Design:
    design = load_design(path, SEARCH_SPACES)
    return design.deployed(type(design.deployment)(size, design.deployment.init_channels, design.deployment.num_classes))


def test_networks_are_timed_side_by_side_and_the_files_say_everything(desk: Path) -> None:
    before = torch.random.get_rng_state()
    sizes = [[32, 48], [48, 64]]
    result = bench("one.yaml", "theirs.onnx", sizes=sizes, runtime=["torch-eager", "onnxruntime"])
    assert torch.equal(before, torch.random.get_rng_state())
    content = json.loads((desk / "out" / "bench.json").read_text())
    assert [(block["runtime"]["backend"], block["size"]) for block in content["blocks"]] == [
        (runtime, size) for runtime in ("torch-eager", "onnxruntime") for size in sizes
    ]
    assert content["protocol"]["rounds"] == 2
    named = [[one["network"] for one in block["networks"]] for block in content["blocks"]]
    assert named == [["one.yaml"]] * 2 + [["one.yaml", "theirs.onnx"]] * 2
    assert content["left_out"] == ["theirs.onnx with torch-eager-fp32-b1-t1, which runs no ONNX files"]
    found = rows(desk / "out")
    assert tuple(found[0]) == COLUMNS
    assert len(found) == 6
    for block in content["blocks"]:
        assert block["device"]["name"] == "desk"
        assert block["reference"]["key"] == NETWORKS_REFERENCE.key
        for one in block["networks"]:
            samples = one["samples_ms"]
            assert len(samples) == 4
            assert (one["median_ms"], one["p90_ms"]) == pytest.approx((np.median(samples), np.percentile(samples, 90)), abs=1e-5)
            assert one["fps"] == pytest.approx(1000 / one["median_ms"])
            assert (one["predicted_ms"], one["prediction_error"]) == (None, None)
    theirs, ours = content["blocks"][2]["networks"][1], content["blocks"][2]["networks"][0]
    assert (theirs["parameters"], theirs["macs"], theirs["output"]) == (PARAMETERS, macs_at(32, 48), "float32 1x5x32x48")
    design = design_at("one.yaml", (32, 48))
    assert ours["parameters"] == sum(weight.numel() for weight in build_network(design).parameters())
    assert ours["memory_fp32"] == memory_of(design.graph).as_json()
    assert theirs["memory_fp32"]["weights"] == 4 * (PARAMETERS + 16 + 4)  # with the statistics and the factors of the resize
    assert theirs["memory_fp32"]["activations"] == 4 * 32 * 48 * 5 * 5 // 4  # a resize by 2 and what it reads
    assert int(found[-1]["activation_bytes"]) == 4 * 48 * 64 * 5 * 5 // 4
    assert ours["macs"] == sum(count_macs(design.graph).values())
    lines = "\n".join(result.summary())
    assert "desk, onnxruntime-fp32-b1-t1" in lines
    assert "theirs.onnx with float32 1x5x48x64" in lines
    assert lines.count("there is no table desk/torch-eager-fp32-b1-t1") == 2  # once a block
    assert "wrote out/bench.json" in lines


def test_larger_networks_take_longer_at_their_own_sizes(desk: Path) -> None:
    content = yaml.safe_load((desk / "two.yaml").read_text())
    content["deploy"] |= {"input": [192, 256], "init_channels": 8}
    (desk / "two.yaml").write_text(yaml.safe_dump(content))
    content["deploy"]["num_classes"] = 5
    (desk / "one_5.yaml").write_text(yaml.safe_dump(content))
    lines = bench("two.yaml", "one_5.yaml", rounds=1, sizes=[[32, 48]], out="classes").summary()
    assert any(line.startswith("classes differ, and more take longer: 5 of one_5.yaml; 11 of two.yaml") for line in lines)
    bench("two.yaml", "one.yaml", num_classes=3)
    small, large = sorted(rows(desk / "out"), key=lambda row: int(row["macs"]))
    assert (small["network"], small["height"], small["width"]) == ("one.yaml", *map(str, SIZE))
    assert (large["network"], large["height"], large["width"]) == ("two.yaml", "192", "256")
    assert float(small["median_ms"]) < float(large["median_ms"])
    assert {small["classes"], large["classes"]} == {"3"}


def table_at_hand(names: list[str], size: tuple[int, int], **changes: Any) -> LatencyTable:
    """The table of this machine's PyTorch, under the name desk."""
    specs = {spec for name in names for spec in design_at(name, size).graph.specs() if not is_free(spec)}
    about = {"device": "desk", "version": str(torch.__version__), **changes}
    table = table_of({spec: 0.25 for spec in specs}, **about)
    path = Path("latency_tables/desk/torch-eager-fp32-b1-t1.json")
    path.parent.mkdir(parents=True)
    save_table(table, path)
    return table


def test_predictions_stand_beside_measurements_at_the_level_of_the_table(desk: Path) -> None:
    table = table_at_hand(["one.yaml"], SIZE, reference=Reference(NETWORKS_REFERENCE.key, 1e-3))
    lines = "\n".join(bench("one.yaml", "two.yaml").summary())
    assert "classes differ" not in lines
    (block,) = json.loads((desk / "out" / "bench.json").read_text())["blocks"]
    one, two = block["networks"]
    assert block["slowdown_since_table"] == pytest.approx(block["reference"]["ms"] / 1e-3)
    assert one["predicted_ms"] == predict(design_at("one.yaml", SIZE), table).ms
    at_level = one["median_ms"] / block["slowdown_since_table"]
    assert one["prediction_error"] == pytest.approx(one["predicted_ms"] / at_level - 1)
    assert (two["predicted_ms"], two["no_prediction"]) == (None, "desk/torch-eager-fp32-b1-t1 lacks operations")
    assert "lacks operations: " in lines
    assert "of two.yaml; measure them, e.g. with nas profile genotype=two.yaml" in lines
    assert f"{one['prediction_error']:+.1%}" in lines


def test_what_a_table_lacks_is_measured_with_the_classes_and_into_the_table_of_the_bench(desk: Path) -> None:
    table_at_hand(["one.yaml"], SIZE)
    file = next((desk / "latency_tables").rglob("*.json")).rename(desk / "my table.json")
    result = bench("one.yaml", num_classes=3, accelerator="cpu", latency=BenchTableSettings(table=file.name))
    (line,) = (line for line in result.summary() if line.startswith("not predicted"))
    command = line.partition(" with ")[2]
    assert command == (
        f"nas profile genotype=one.yaml 'deploy.input=[{SIZE[0]},{SIZE[1]}]' num_classes=3 runtime=torch-eager-fp32-b1-t1 "
        "accelerator=cpu device=desk 'out=\"my table.json\"'"
    )


def test_an_onnx_file_needs_the_batches_of_the_runtimes_that_run_it_alone(desk: Path) -> None:
    bench("one.yaml", "theirs.onnx", sizes=[[32, 48]], runtime=["torch-eager-fp32-b2-t1", "onnxruntime"], rounds=1)
    assert [(row["network"], row["batch"]) for row in rows(desk / "out")] == [
        ("one.yaml", "2"),
        ("one.yaml", "1"),
        ("theirs.onnx", "1"),
    ]


def test_a_table_that_is_given_must_be_one_of_the_device(desk: Path) -> None:
    table_at_hand(["one.yaml"], SIZE)
    with pytest.raises(ConfigError, match="latency.table: got macs, expected auto, none, or tables that were measured"):
        bench("one.yaml", latency=BenchTableSettings(table="macs"))
    with pytest.raises(ValueError, match="got a latency table of desk, expected one of elsewhere"):
        bench("one.yaml", device="elsewhere", latency=BenchTableSettings(table="desk/torch-eager"))
    bench("one.yaml", latency=BenchTableSettings(table="desk/torch-eager"), out="given")
    (one,) = rows(desk / "given")
    assert float(one["predicted_ms"]) > 0
    bench("one.yaml", latency=BenchTableSettings(table="none"), out="without")
    (one,) = rows(desk / "without")
    assert one["predicted_ms"] == one["prediction_error_percent"] == ""


def test_the_survey_is_the_mean_of_a_hundred_passes_and_says_what_was_chosen(desk: Path) -> None:
    table_at_hand(["one.yaml"], (32, 48), reference=Reference(NETWORKS_REFERENCE.key, 1.0))
    lines = "\n".join(bench("one.yaml", sizes=[[32, 48]], protocol="survey", rounds=None).summary())
    content = json.loads((desk / "out" / "bench.json").read_text())
    (block,) = content["blocks"]
    (one,) = block["networks"]
    assert content["protocol"]["name"] == "survey"
    assert len(one["samples_ms"]) == content["protocol"]["passes"] == 100
    assert one["ms"] == pytest.approx(np.mean(one["samples_ms"]), abs=1e-5)
    assert one["fps"] == pytest.approx(1000 / one["ms"])
    assert one["prediction_error"] == pytest.approx(one["predicted_ms"] / one["ms"] - 1)
    assert (block["reference"], block["noise_floor"], block["slowdown_since_table"]) == (None, None, None)
    assert "mean of 100 samples" in lines
    assert "it leaves open batch size: 1, warm-up: 10 forward passes" in lines


def publish(path: Path, **figures: Any) -> None:
    """Let a genotype state published figures."""
    content = yaml.safe_load(path.read_text())
    content["provenance"]["published"] = figures
    path.write_text(yaml.safe_dump(content))


def test_miou_is_measured_in_the_folder_of_a_run_or_published_of_one_data_set(desk: Path) -> None:
    run = desk / "run"
    run.mkdir()
    random_genotype(run / "genotype.yaml", seed=2)
    publish(run / "genotype.yaml", cityscapes_val=50.0)
    (run / "eval.json").write_text(json.dumps({"miou": 0.625, "split": "test", "data": "camvid", "size": [360, 480]}))
    publish(desk / "one.yaml", cityscapes_val=70.5, cityscapes_test=71.5, camvid_test=60.0, fps_3090=100, accuracy_from="a table")
    publish(desk / "two.yaml", cityscapes_val=69.0, cityscapes_test=None)
    result = bench("one.yaml", "two.yaml", "run", "theirs.onnx", runtime="onnxruntime", sizes=[[32, 48]], rounds=1)
    found = {row["network"]: (row["miou_percent"], row["miou_of"], row["miou_is_published"]) for row in rows(desk / "out")}
    assert found == {
        "one.yaml": ("70.500", "published: cityscapes val", "true"),
        "two.yaml": ("69.000", "published: cityscapes val", "true"),
        "run": ("62.500", "measured: test of camvid at 360x480", "false"),
        "theirs.onnx": ("", "", ""),
    }
    lines = "\n".join(result.summary())
    assert "70.50*" in lines
    assert "62.50 " in lines
    assert "mIoU not known: theirs.onnx" in lines
    page = (desk / "out" / "bench.html").read_text()
    assert "front of measured: test of camvid at 360x480: run" in page
    for part in ("theirs.onnx", "data:image/png;base64,", "Protocol", "rounds"):
        assert part in page
    assert "http" not in page.replace("http-equiv", "")  # nothing is fetched
    with Image.open(desk / "out" / "bench.png") as picture:
        assert picture.width > 500


def evaluation(folder: Path, digest: str, *, miou: float | None = 0.5) -> str:
    """A folder that an evaluation of such a file might have written."""
    folder.mkdir()
    stated = {"miou": miou, "split": "val", "data": "camvid", "weights": "theirs", "weights_sha256": digest}
    (folder / "eval.json").write_text(json.dumps(stated))
    return folder.name


def test_an_evaluation_elsewhere_counts_for_the_very_file_that_it_is_of(desk: Path) -> None:
    (network,) = [at_size(read_onnx("theirs.onnx"), (32, 48), the_job("theirs.onnx"), name="theirs.onnx", batch=1)]
    good = evaluation(desk / "good", file_digest(desk / "theirs.onnx"))
    other, empty = evaluation(desk / "other", "0" * 64), evaluation(desk / "empty", "0" * 64, miou=None)
    assert accuracies([network]) == {}
    assert accuracies([network], [good]) == {"theirs.onnx": Accuracy(miou=0.5, kind="measured: val of camvid", is_published=False)}
    for folder, reason in (
        (other, "is of theirs, which is none of"),
        (empty, "no eval.json with"),
        ("nowhere", "no eval.json with"),
    ):
        with pytest.raises(ConfigError, match=f"bench.evaluations: {folder} (has )?{reason}"):
            accuracies([network], [good, folder])


def test_a_training_has_no_published_miou_for_its_weights_are_others(desk: Path) -> None:
    publish(desk / "one.yaml", cityscapes_val=70.5)
    content = yaml.safe_load((desk / "one.yaml").read_text())
    content["provenance"]["trained_on"] = "camvid"
    (desk / "two.yaml").write_text(yaml.safe_dump(content))
    job = the_job("one.yaml", "two.yaml")
    networks = [at_size(load_design(name, SEARCH_SPACES), SIZE, job, name=name, batch=1) for name in job.names]
    assert list(accuracies(networks)) == ["one.yaml"]


@pytest.mark.parametrize("figures", [{"cityscapes_val": "high"}, {"cityscapes_val": 0.7e3}, {"cityscapes_test": True}])
def test_a_published_figure_that_is_none_is_refused(figures: dict[str, Any], desk: Path) -> None:
    publish(desk / "one.yaml", **figures)
    with pytest.raises(GenotypeError, match=r"one.yaml: provenance.published.cityscapes_.*, expected mIoU in percent, 0 to 100"):
        bench("one.yaml", rounds=1)


def test_what_comes_before_and_after_a_network_is_timed_once_a_size(desk: Path) -> None:
    Image.new("RGB", (96, 64)).save("picture.jpg")
    job = the_job("one.yaml", "two.yaml", num_classes=7, rounds=1)
    job.bench = BenchSettings(sizes=[[32, 48], [48, 64]], picture="picture.jpg")
    lines = "\n".join(bench_networks(job, SEARCH_SPACES).summary())
    content = json.loads((desk / "out" / "bench.json").read_text())
    assert [(one["image_size"], one["network_size"], one["num_classes"]) for one in content["processing"]] == [
        ([64, 96], [32, 48], 7),
        ([64, 96], [48, 64], 7),
    ]
    assert lines.count("decode JPEG") == 2
    page = (desk / "out" / "bench.html").read_text()
    assert page.count("Before and after a network") == 2
    assert "resize labels" in page


def test_a_picture_that_is_none_is_said_before_networks_are_timed(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk / "picture.jpg").write_bytes(b"no picture")
    monkeypatch.setattr("nas.stages.bench_networks.open_runner", None)
    job = the_job("one.yaml")
    job.bench = BenchSettings(picture="picture.jpg")
    with pytest.raises(DataError, match="picture.jpg"):
        bench_networks(job, SEARCH_SPACES)
    assert not (desk / "out").exists()


def test_long_lists_are_cut_in_the_summary() -> None:
    names = [f"n{number}" for number in range(9)]
    assert listed(names) == "n0, n1, n2, n3, n4, n5 and 3 more"
    assert listed(names[:7]) == "n0, n1, n2, n3, n4, n5, n6"


WRONG = {
    "no network": (["networks=[]"], "networks: got [], expected one or more names, each once"),
    "a network twice": (
        ["networks=[one.yaml,one.yaml]"],
        "networks: got [one.yaml,one.yaml], expected one or more names, each once",
    ),
    "a network that is not there": (["networks=[nowhere]"], "nowhere"),
    "an ONNX file that is not there": (["networks=[nowhere.onnx]"], "nowhere.onnx"),
    "ONNX files alone in PyTorch": (["networks=[theirs.onnx]", "bench.sizes=[[32,32]]"], "add runtime=onnxruntime"),
    "a free size": (
        ["networks=[theirs.onnx]", "runtime=onnxruntime"],
        "bench.sizes: got null, and theirs.onnx takes images of any",
    ),
    "one size, not a list": (["networks=[one.yaml]", "bench.sizes=[32,48]"], "bench.sizes: got [32,48], expected a list of sizes"),
    "a size twice": (["networks=[one.yaml]", "bench.sizes=[[32,48],[32,48]]"], "expected each size once"),
    "a size of nothing": (["networks=[one.yaml]", "bench.sizes=[[0,48]]"], "expected [HEIGHT,WIDTH] in pixels, both at least 1"),
    "an evaluation that is a hole": (
        ["networks=[one.yaml]", "bench.evaluations=[null]"],
        "bench.evaluations: got [null], expected null, a folder or a list of folders",
    ),
    "no such runtime": (["networks=[one.yaml]", "runtime=tensorflow"], "runtime: got 'tensorflow'"),
    "a runtime twice": (["networks=[one.yaml]", "runtime=[torch-eager,torch-eager-fp32-b1-t1]"], "expected each once"),
    "no name": (["networks="], "networks: got [], expected one or more names"),
    "no rounds": (["networks=[one.yaml]", "rounds=0"], "rounds: got 0, expected at least 1"),
    "a bundle of two runtimes": (["networks=[one.yaml]", "runner=bundle", "runtime=[onnxruntime,tensorrt]"], "expected one"),
    "a bundle for this process": (["networks=[one.yaml]", "runner=bundle"], "runtime: got 'torch-eager', expected"),
    "a bundle that is no zip": (["networks=[one.yaml]", "runner=bundle", "runtime=onnxruntime"], "out: got new, expected a .zip"),
    "a result without a bundle": (["networks=[one.yaml]", "result=r.json"], "result: got r.json; give runner=bundle with it"),
    "a result that is not there": (
        ["networks=[one.yaml]", "runner=bundle", "runtime=onnxruntime", "result=r.json"],
        "r.json: cannot be read",
    ),
    "the survey with another runtime": (
        ["networks=[one.yaml]", "protocol=survey", "runtime=onnxruntime"],
        "runtime: got onnxruntime-",
    ),
    "the survey with rounds": (["networks=[one.yaml]", "protocol=survey", "rounds=3"], "rounds: got 3 with protocol=survey"),
    "the survey elsewhere": (
        ["networks=[one.yaml]", "protocol=survey", "runner=ssh", "host=h"],
        "runner: got ssh with protocol=survey",
    ),
    "the survey of an ONNX file": (
        ["networks=[theirs.onnx,one.yaml]", "protocol=survey", "bench.sizes=[[32,32]]"],
        "theirs.onnx is an ONNX file; leave it out, or give protocol=rounds",
    ),
    "a host without ssh": (["networks=[one.yaml]", "host=board"], "host: got a value with runner=local"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_and_writes_nothing(case: str, desk: Path, run_nas: Any) -> None:
    words, reason = WRONG[case]
    ended = run_nas("bench", *words, "out=new")
    assert ended.status == 2
    assert reason in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert not (desk / "new").exists()


def test_a_folder_with_something_in_it_is_refused_before_anything_is_read(desk: Path, run_nas: Any) -> None:
    ended = run_nas("bench", "networks=[nowhere]", "out=.")
    assert ended.status == 2
    assert "out: the folder . is not empty" in ended.err


def test_a_bench_that_is_stopped_says_so_and_leaves_no_file(desk: Path, run_nas: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.measuring.runners.in_process.time_networks", stop)
    ended = run_nas("bench", "networks=[one.yaml]", "out=stopped")
    assert (ended.status, ended.err) == (130, "nas bench: interrupted\n")
    assert not list((desk / "stopped").glob("bench*"))
