"""Networks in a bundle: made here, timed by its worker in a process of its own, and read back with all that is known of them."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from nas.config.bench_networks_job import BenchNetworksJob, BenchSettings
from nas.errors import ConfigError, TableError
from nas.measuring.reference_operation import NETWORKS_REFERENCE
from nas.measuring.runners.carried_networks import NetworkBundle
from nas.measuring.runners.worker_result import read_result
from nas.stages.bench_networks import BenchNetworksResult, bench_networks
from nas.worker.result import checksum
from search_spaces import SEARCH_SPACES
from tests.onnx_networks import save_network
from tests.small_jobs import random_genotype

SIZES = [[32, 48], [48, 64]]


def the_job(**changes: Any) -> BenchNetworksJob:
    settings = {
        "networks": ["one.yaml", "theirs.onnx"],
        "runtime": "onnxruntime",
        "runner": "bundle",
        "rounds": 2,
        "device": "board",
    }
    job = BenchNetworksJob(**{**settings, **changes})
    job.bench = BenchSettings(sizes=SIZES)
    return job


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with networks and the result of their bundle, and what was said when that was written."""
    folder = tmp_path_factory.mktemp("carried")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        random_genotype(Path("one.yaml"))
        save_network(Path("theirs.onnx"))
        bundle = bench_networks(the_job(out="networks.zip"), SEARCH_SPACES)
        assert isinstance(bundle, NetworkBundle)
        with zipfile.ZipFile("networks.zip") as archive:
            archive.extractall("board")
        done = subprocess.run([sys.executable, "-I", "worker.py"], cwd="board", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        Path("board/result.json").rename("result.json")
    return folder, bundle.summary()


def test_the_result_of_a_bundle_makes_the_same_files(carried: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, said = carried
    monkeypatch.chdir(folder)
    words = "'networks=[one.yaml,theirs.onnx]' 'bench.sizes=[[32,48],[48,64]]' runtime=onnxruntime runner=bundle result=result.json"
    assert said[-1].endswith(f"nas bench {words}")
    assert said[-1].removeprefix("next: carry its result.json back and run: ") in (folder / "board" / "README.txt").read_text()
    result = bench_networks(the_job(result="result.json", out="out", rounds=None), SEARCH_SPACES)
    assert isinstance(result, BenchNetworksResult)
    content, raw = json.loads(Path("out/bench.json").read_text()), json.loads(Path("result.json").read_text())
    assert [block["size"] for block in content["blocks"]] == SIZES
    assert content["protocol"]["rounds"] == 2
    assert content["processing"] == []
    for block in content["blocks"]:
        assert block["device"]["name"] == "board"
        assert block["reference"]["key"] == NETWORKS_REFERENCE.key
        assert [one["network"] for one in block["networks"]] == ["one.yaml", "theirs.onnx"]
        assert all(len(one["samples_ms"]) == 4 and one["macs"] for one in block["networks"])
    taken = [ms for number, _, ms, _, is_reference in raw["timings"] if number in (2, 3) and not is_reference]
    (theirs,) = [one for one in content["blocks"][0]["networks"] if one["network"] == "theirs.onnx"]
    assert 0.5 < theirs["ms"] / sorted(taken)[len(taken) // 2] < 2.0  # but for drift


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"networks": ["one.yaml"]}, "got a result of 4 networks"),
        ({"networks": ["theirs.onnx", "one.yaml"]}, "expected the 4 of this command in its order"),
        (
            {"runtime": "onnxruntime-fp32-b1-t2"},
            "got a result of onnxruntime-fp32-b1-t1 on cpu, expected one of onnxruntime-fp32-b1-t2",
        ),
    ],
)
def test_a_result_of_something_else_is_refused(
    changes: dict[str, Any], reason: str, carried: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(carried[0])
    with pytest.raises(ConfigError, match=reason):
        bench_networks(the_job(result="result.json", out="refused", **changes), SEARCH_SPACES)
    assert not Path("refused").exists()


def test_results_of_operations_and_of_networks_are_told_apart(carried: tuple[Path, list[str]], tmp_path: Path) -> None:
    with pytest.raises(TableError, match="expected a result of operations; nas bench with result= reads it"):
        read_result(carried[0] / "result.json")
    content = json.loads((carried[0] / "result.json").read_text())
    content["timings"][0][2] *= 2
    (tmp_path / "changed.json").write_text(json.dumps(content))
    with pytest.raises(TableError, match="checksum"):
        read_result(tmp_path / "changed.json", of_networks=True)
    content["timings"] = content["timings"][:-4]
    content["checksum"] = checksum(content)
    (tmp_path / "cut.json").write_text(json.dumps(content))
    with pytest.raises(TableError, match="timings: got"):
        read_result(tmp_path / "cut.json", of_networks=True)


def test_a_bundle_is_not_written_over_a_file(carried: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(carried[0])
    with pytest.raises(ConfigError, match="out: got networks.zip, which is there already; give another out="):
        bench_networks(the_job(out="networks.zip"), SEARCH_SPACES)
    with pytest.raises(ConfigError, match="expected names of at most 400 printable characters"):
        bench_networks(the_job(networks=[f"{'./' * 200}one.yaml"], out="long.zip"), SEARCH_SPACES)
