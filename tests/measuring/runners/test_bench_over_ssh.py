"""`nas bench` on another machine: the worker times genotypes and ONNX files over SSH, with an imitated runtime."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas.config.bench_networks_job import BenchNetworksJob, BenchSettings
from nas.config.settings import SshSettings
from nas.measuring.runners.local_place import LocalPlace
from nas.stages.bench_networks import bench_networks
from nas.worker.rounds import IMPLEMENTATION
from search_spaces import SEARCH_SPACES
from tests.measuring.runners.remote_device import RemoteDevice
from tests.onnx_networks import save_network
from tests.small_jobs import random_genotype


def the_job(board: RemoteDevice, **changes: object) -> BenchNetworksJob:
    target = board.sshd.target()
    ssh = SshSettings(key=str(target.key), known_hosts=str(target.known_hosts), python=str(board.python), folder=str(board.base))
    settings = {"runner": "ssh", "host": target.text, "ssh": ssh, "device": "board", "runtime": "onnxruntime", "rounds": 2}
    return BenchNetworksJob(**{**settings, **changes})  # type: ignore[arg-type]


def test_networks_of_several_sizes_are_timed_on_the_device_and_nothing_stays_there(board: RemoteDevice) -> None:
    random_genotype(Path("one.yaml"))
    save_network(Path("theirs.onnx"))
    sizes = [[32, 48], [48, 64]]
    job = the_job(board, networks=["one.yaml", "theirs.onnx"], bench=BenchSettings(sizes=sizes), out="out")
    told: list[tuple[int, int]] = []
    lines = "\n".join(bench_networks(job, SEARCH_SPACES, on_progress=lambda *one: told.append(one)).summary())
    content = json.loads(Path("out/bench.json").read_text())
    assert [block["size"] for block in content["blocks"]] == sizes
    for block in content["blocks"]:
        assert block["device"]["name"] == "board"
        assert block["runtime"]["version"] == "99.0-fake"
        assert block["system"]["runtime: provider"] == "CPUExecutionProvider"
        assert [one["network"] for one in block["networks"]] == ["one.yaml", "theirs.onnx"]
        for one in block["networks"]:
            assert len(one["samples_ms"]) == 4
            assert 0.5 < one["ms"] < 50.0  # the imitation takes 1 to 2 ms, on a busy machine longer
    assert told[-1] == (16, 16)
    assert "board, onnxruntime-fp32-b1-t1 (99.0-fake), 32x48" in lines
    assert not board.files.exists()


@pytest.mark.slow
def test_the_worker_times_networks_in_another_folder_as_it_would_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    places: list[LocalPlace] = []

    def place(job: object, request: object) -> LocalPlace:
        del job, request
        places.append(LocalPlace("there", base=tmp_path / "elsewhere"))
        return places[-1]

    monkeypatch.setattr("nas.measuring.runners.open_runner._place", place)
    random_genotype(Path("one.yaml"))
    save_network(Path("theirs.onnx"))
    job = BenchNetworksJob(
        networks=["one.yaml", "theirs.onnx"],
        bench=BenchSettings(sizes=[[32, 48], [48, 64]]),
        **{"runner": "ssh", "host": "board", "runtime": "onnxruntime", "rounds": 1, "device": "board", "out": "out"},
    )
    bench_networks(job, SEARCH_SPACES)
    content = json.loads(Path("out/bench.json").read_text())
    assert len(places) == 1
    for block in content["blocks"]:
        assert block["device"]["name"] == "board"
        assert block["implementation"] == IMPLEMENTATION
        assert block["clock"] == "wall"
        assert [len(one["samples_ms"]) for one in block["networks"]] == [2, 2]
    assert not (tmp_path / "elsewhere" / "there").exists()
