"""The worker says at once, not after hours of measuring, that it cannot measure energy; and what it measures is that of each."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from nas.worker import main as worker
from nas.worker import run_job as measuring
from nas.worker.graph_archive import GRAPHS_FILE
from nas.worker.interface import Operation, Run, Runtime, Setup
from nas.worker.job import JOB_FILE, JOB_VERSION, job_id
from nas.worker.power import PowerSource, PowerWindow
from nas.worker.result import RESULT_FILE

MS = {"fast": 1.0, "slow": 4.0}
WATTS = {"idle": 1.0, "busy": 5.0}


class FakeRuntime(Runtime):
    """Each operation takes its time of `MS`; notes what is opened."""

    version = "1.0"

    def __init__(self, setup: Setup, *, is_program: bool) -> None:
        del setup
        self.is_program = is_program
        self.opened: list[str] = []

    def open(self, operation: Operation) -> Run:
        self.opened.append(operation.key)
        return lambda calls: MS[operation.key] + 0 * calls


class FakePower(PowerSource):
    """A second of work that takes as long as it says; the first of two windows is idle."""

    name = "fake"

    def __init__(self) -> None:
        self.windows = 0

    def measure(self, seconds: float, work: object) -> PowerWindow:
        self.windows += 1
        if self.windows % 2:
            return PowerWindow(WATTS["idle"], 10, seconds)
        ms = MS["fast"] * 10 if self.windows == 2 else MS["slow"] * 3  # calls that fill 10 ms, by `energy_per_call`
        return PowerWindow(WATTS["busy"], 50, 50 * ms / 1e3)


def sealed(job: dict[str, Any]) -> str:
    """The text of a job whose id fits."""
    return json.dumps({**job, "id": job_id(job)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job of two operations, with energy."""
    stated = {"graph": "0000.onnx", "sha256": hashlib.sha256(b"graph").hexdigest(), "size": 5}
    graph = {**stated, "inputs": [["x0", [1, 1, 2, 2]]], "output": [1, 1, 2, 2], "output_type": "float32"}
    job = {
        "format_version": JOB_VERSION,
        "device": None,
        "runtime": {"backend": "fake", "precision": "fp32", "batch": 1, "threads": 1},
        "accelerator": "cpu",
        "protocol": {"rounds": [1, 1], "program_rounds": [1, 1], "ci": 0.02},
        "energy": True,
        "reference": 0,
        "planned": 2,
        "operations": [{"key": key, **graph} for key in MS],
    }
    (tmp_path / JOB_FILE).write_text(sealed(job))
    with zipfile.ZipFile(tmp_path / GRAPHS_FILE, "w") as archive:
        archive.writestr("0000.onnx", b"graph")
    return tmp_path


def measure(folder: Path, monkeypatch: pytest.MonkeyPatch, *, source: PowerSource | None, is_program: bool = False) -> FakeRuntime:
    """Run the worker in the folder."""
    runtime = FakeRuntime(Setup("fp32", 1, "cpu", str(folder)), is_program=is_program)
    monkeypatch.setattr(worker, "RUNTIMES", {"fake": lambda setup: runtime})
    monkeypatch.setattr(measuring, "find_power_source", lambda accelerator: source)
    monkeypatch.setattr("signal.signal", lambda *args: None)
    monkeypatch.setattr("sys.argv", [str(folder / "worker.py")])
    status = worker.main([])
    assert (status == worker.WORKER_DONE) == (folder / RESULT_FILE).is_file()
    return runtime


@pytest.mark.parametrize(
    ("source", "is_program", "reason"), [(None, False, "tells no power"), (FakePower(), True, "the program trtexec")]
)
def test_energy_that_cannot_be_measured_is_refused_before_the_first_sample(
    folder, monkeypatch, capsys, source, is_program, reason
) -> None:
    runtime = measure(folder, monkeypatch, source=source, is_program=is_program)
    said = capsys.readouterr().out
    assert said.startswith("worker: energy: ")
    assert reason in said
    assert "leave energy out" in said
    assert runtime.opened == []


def test_energy_of_a_call_is_power_times_its_time(folder, monkeypatch) -> None:
    measure(folder, monkeypatch, source=FakePower())
    energy = json.loads((folder / RESULT_FILE).read_text())["energy"]
    expected = {str(number): pytest.approx(WATTS["busy"] * ms) for number, ms in enumerate(MS.values())}  # W x ms = mJ
    assert energy["mj"] == expected
    assert (energy["source"], energy["idle_w"]) == ("fake", WATTS["idle"])


class HalfGraphRuntime(FakeRuntime):
    """Asks for CUDA graphs, and cannot capture the slow operation."""

    graphs, clock = True, "cuda-events"

    def open(self, operation: Operation) -> Run:
        run = super().open(operation)

        def without(calls: int) -> float:
            self.without_graph = {"slow"}
            return run(calls)

        return without if operation.key == "slow" else run


def test_an_operation_without_a_graph_is_in_the_result_also_after_a_stop(folder, monkeypatch) -> None:
    runtime = HalfGraphRuntime(Setup("fp32", 1, "cpu", str(folder)), is_program=False)
    monkeypatch.setattr(worker, "RUNTIMES", {"fake": lambda setup: runtime})
    monkeypatch.setattr("signal.signal", lambda *args: None)
    monkeypatch.setattr("sys.argv", [str(folder / "worker.py")])
    job = json.loads((folder / JOB_FILE).read_text())
    (folder / JOB_FILE).write_text(sealed({**job, "energy": False}))
    assert worker.main([]) == worker.WORKER_DONE
    result = json.loads((folder / RESULT_FILE).read_text())
    assert result["without_graph"] == [list(MS).index("slow")]
    assert (result["device"]["sample_clock"], result["device"]["cuda_graphs"]) == ("cuda-events", True)

    runtime = FakeRuntime(Setup("fp32", 1, "cpu", str(folder)), is_program=False)  # goes on with nothing left to time
    (folder / RESULT_FILE).unlink()
    assert worker.main([]) == worker.WORKER_DONE
    assert runtime.opened == []
    assert json.loads((folder / RESULT_FILE).read_text())["without_graph"] == [list(MS).index("slow")]
