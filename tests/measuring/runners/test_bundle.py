"""Bundles: what is in them, that the worker runs what is whole and refuses the rest, and that it can be stopped at any time."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from nas.devices.runtimes import WORKER_RUNTIMES
from nas.measuring.effort import Effort
from nas.measuring.runners.bundle import SAME_DAY, bundle_archive, bundle_files
from nas.measuring.runners.worker_file import worker_source
from nas.measuring.runners.worker_result import import_result
from nas.worker.graph_archive import GRAPHS_FILE, Graphs
from nas.worker.job import JOB_FILE, read_job
from tests.measuring.runners.bundles import PLAN, REFERENCE, request, run_worker, spec, unpack
from tests.measuring.test_operation_graphs import odd_shapes, representatives

pytest.importorskip("onnxruntime")

OLD_PYTHON = os.environ.get("SEGNAS_OLD_PYTHON", "")
SCRIPTS = {"onnxruntime": False, "torch-script": True}


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: sha256(content).hexdigest() for name, content in files.items()}


@pytest.mark.parametrize("backend", SCRIPTS)
def test_the_same_measurement_gives_the_same_bytes_and_another_one_others(backend: str) -> None:
    wanted = request(backend)
    one = bundle_files(PLAN, REFERENCE, wanted)
    assert one == bundle_files(PLAN, REFERENCE, wanted)
    assert bundle_archive(one, wanted) == bundle_archive(one, wanted)
    for other in [
        bundle_files(PLAN[1:], REFERENCE, wanted),
        bundle_files(PLAN, PLAN[0], wanted),
        bundle_files(PLAN, REFERENCE, request(backend, batch=2)),
        bundle_files(PLAN, REFERENCE, replace(wanted, device="box")),
        bundle_files(PLAN, REFERENCE, replace(wanted, energy=True)),
        bundle_files(PLAN, REFERENCE, replace(wanted, effort=Effort(rounds=4, max_rounds=6, ci=0.03))),
    ]:
        assert json.loads(other[JOB_FILE])["id"] != json.loads(one[JOB_FILE])["id"]


def test_another_process_makes_the_same_bundle() -> None:
    code = (
        "import json, sys; from hashlib import sha256; from tests.measuring.runners.bundles import *\n"
        "found = {b: {n: sha256(c).hexdigest() for n, c in bundle_files(PLAN, REFERENCE, request(b)).items()}"
        " for b in ('torch-script', 'onnxruntime')}\n"
        "sys.stdout.write(json.dumps(found))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONHASHSEED": "5"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, timeout=120)
    assert json.loads(found.stdout) == {backend: digests(bundle_files(PLAN, REFERENCE, request(backend))) for backend in SCRIPTS}


def test_a_bundle_has_the_worker_the_job_the_graphs_and_a_word_on_their_use() -> None:
    wanted = request()
    files = bundle_files(PLAN, REFERENCE, wanted)
    with zipfile.ZipFile(io.BytesIO(bundle_archive(files, wanted))) as archive:
        assert {name: archive.read(name) for name in files} == files
        (text,) = (archive.read(name).decode() for name in archive.namelist() if name not in files)
        assert {info.date_time for info in archive.infolist()} == {SAME_DAY}
    assert "python3 -I worker.py" in text
    assert "nas profile import file=result.json" in text
    assert str(wanted.runtime) in text
    assert files["worker.py"].decode() == worker_source()
    for backend in WORKER_RUNTIMES:
        assert "nothing leaves the folder" in zipped_readme(backend)


def zipped_readme(backend: str) -> str:
    with zipfile.ZipFile(io.BytesIO(bundle_archive({}, request(backend)))) as archive:
        return archive.read("README.txt").decode()


@pytest.mark.parametrize("reference", [PLAN[2], spec("conv_bn_relu", kernel=1)])
def test_the_worker_reads_back_what_was_asked_for(tmp_path: Path, reference: Any) -> None:
    wanted = request("torch-script", batch=3, energy=True, device="box")
    steps: list[tuple[int, int]] = []
    for name, content in bundle_files(PLAN, reference, wanted, on_graph=lambda *step: steps.append(step)).items():
        (tmp_path / name).write_bytes(content)
    job = read_job(str(tmp_path))
    operations = PLAN if reference in PLAN else [*PLAN, reference]
    assert steps == [(n + 1, len(operations)) for n in range(len(operations))]
    assert [one.key for one in job.operations] == [one.key for one in operations]
    assert (job.planned, operations[job.reference]) == (len(PLAN), reference)
    assert (job.rounds, job.program_rounds) == (wanted.effort.as_rounds, wanted.program_effort.as_rounds)
    assert (job.backend, job.energy, job.raw["device"], job.raw["runtime"]["batch"]) == ("torch-script", True, "box", 3)
    assert (job.setup.precision, job.setup.threads, job.setup.accelerator) == ("fp32", 1, "cpu")
    graphs = Graphs(str(tmp_path), job.graphs)
    for number, one in enumerate(job.operations):
        assert {shape[0] for _, shape in one.inputs} | {one.output[0]} == {3}
        unpacked = graphs.unpack(one)
        assert Path(unpacked.path).suffix == ".pt"
        with zipfile.ZipFile(tmp_path / GRAPHS_FILE) as archive:
            assert Path(unpacked.path).read_bytes() == archive.read(f"{number:04d}.pt")
        graphs.remove(unpacked)
        assert not Path(unpacked.path).exists()


def edited(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        raw = json.loads((folder / JOB_FILE).read_text())
        (folder / JOB_FILE).write_text(json.dumps({**raw, **changes}))

    return edit


def first_operation(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        raw = json.loads((folder / JOB_FILE).read_text())
        raw["operations"][0].update(changes)
        (folder / JOB_FILE).write_text(json.dumps(raw))

    return edit


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes())) and None


def scrambled(content: bytes) -> bytes:
    """An archive whose directory is whole and whose members are not."""
    return content[:60] + bytes(255 - byte for byte in content[60:400]) + content[400:]


BROKEN: dict[str, Callable[[Path], None]] = {
    "no job": lambda folder: (folder / JOB_FILE).unlink(),
    "no graphs": lambda folder: (folder / GRAPHS_FILE).unlink(),
    "job torn": rewrite(JOB_FILE, lambda content: content[:200]),
    "job binary": rewrite(JOB_FILE, lambda content: b"\xff\xfe" + content),
    "job a list": rewrite(JOB_FILE, lambda _: b"[1]"),
    "earlier version": edited(format_version=1),
    "later version": edited(format_version=3),
    "graphs torn": rewrite(GRAPHS_FILE, lambda content: content[: len(content) // 2]),
    "graphs empty": rewrite(GRAPHS_FILE, lambda _: b""),
    "graphs scrambled": rewrite(GRAPHS_FILE, scrambled),
    "graph missing": first_operation(graph="0099.onnx"),
    "graph of another operation": first_operation(graph="0003.onnx"),
    "other shape": first_operation(inputs=[["x0", [1, 8, 10, 11]]]),
    "other input": first_operation(inputs=[["y", [1, 8, 9, 11]]]),
    "other output": first_operation(output=[1, 8, 9, 12]),
    "shape a text": first_operation(inputs=[["x0", "8"]]),
    "input no pair": first_operation(inputs=["x0"]),
    "no key": first_operation(key=None),
    "key twice": first_operation(key=PLAN[1].key),
    "no runtime": edited(runtime=None),
    "other runtime": edited(runtime={"backend": "abacus", "precision": "fp32", "batch": 1, "threads": 1}),
    "threads a text": edited(runtime={"backend": "onnxruntime", "precision": "fp32", "batch": 1, "threads": "1"}),
    "precision": edited(runtime={"backend": "onnxruntime", "precision": "fp8", "batch": 1, "threads": 1}),
    "accelerator": edited(accelerator="tpu"),
    "reference beyond": edited(reference=9),
    "reference none": edited(reference=None),
    "planned beyond": edited(planned=9),
    "planned none": edited(planned=0),
    "rounds": edited(protocol={"rounds": 4, "program_rounds": [1, 2], "ci": 0.02}),
    "rounds text": edited(protocol={"rounds": ["4", "6"], "program_rounds": [1, 2], "ci": 0.02}),
    "ci": edited(protocol={"rounds": [4, 6], "program_rounds": [1, 2], "ci": "x"}),
    "operations": edited(operations={}),
    "no operations": edited(operations=[]),
    "id": edited(id=7),
}


def test_a_broken_bundle_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = unpack(tmp_path / "whole")
    for number, (name, damage) in enumerate(BROKEN.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        for path in whole.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        damage(folder)
        outcome = run_worker(folder)
        lines = outcome.stdout.splitlines()
        assert outcome.returncode == 2, (name, outcome)
        assert outcome.stderr == "", name
        assert lines[-1].startswith("worker: "), name
        assert len([line for line in lines if "samples are there already" not in line and "of about" not in line]) == 1, name
        assert not (folder / "result.json").exists(), name


def journal(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "journal.jsonl").read_text().split("\n")
    return [json.loads(line) for line in lines[1:-1]]


def samples(timings: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(one["key"], one["round"]) for one in timings if "key" in one]


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "worker.py", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def await_samples(folder: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Returns when the journal has that many timings, or the process has ended."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if (folder / "journal.jsonl").read_bytes().count(b"\n") > count:
                return
        time.sleep(0.001)


def test_a_worker_that_is_stopped_again_and_again_takes_each_sample_once(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "run", request(rounds=12, max_rounds=16))
    draw = random.Random(11)
    kinds = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL] * 2
    statuses = []
    there: list[dict[str, Any]] = []
    for number, kind in enumerate(kinds):
        process = start(folder)
        await_samples(folder, len(there) + draw.randrange(1 if number else 0, 9), process)
        time.sleep(draw.random() * 0.004)
        process.send_signal(kind)
        statuses.append((kind, process.wait(60)))
        now = journal(folder)
        assert now[: len(there)] == there
        there = now
    assert set(statuses) <= {
        (signal.SIGINT, 130),
        (signal.SIGTERM, 130),
        (signal.SIGKILL, -9),
        *((kind, 0) for kind in kinds),
    }
    assert len(there) > len(kinds)
    outcome = run_worker(folder)
    assert outcome.returncode == 0
    final = journal(folder)
    assert final[: len(there)] == there
    assert max(Counter(samples(final)).values()) == 1
    by_operation = Counter(key for key, _ in samples(final))
    assert set(samples(final)) == {(key, index) for key, count in by_operation.items() for index in range(count)}
    assert set(by_operation) == {one.key for one in PLAN}
    assert min(by_operation.values()) >= 12
    result = json.loads((folder / "result.json").read_text())
    numbers = {one["key"]: number for number, one in enumerate(result["job"]["operations"])}
    assert result["timings"] == [
        [numbers[one.get("key") or one["reference"]], one["round"], one["ms"], one["calls"], "reference" in one] for one in final
    ]
    assert run_worker(folder).returncode == 0
    assert journal(folder) == final


@pytest.mark.parametrize("arguments", [[], ["--stream", "0"]])
def test_a_second_worker_in_a_folder_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    """One that a program started takes over from one at the same job only; here the lock says that it is at another one."""
    folder = unpack(tmp_path / "run", request(rounds=200, max_rounds=200))
    process = start(folder)
    await_samples(folder, 3, process)
    if arguments:
        (folder / "lock").write_text(f"{process.pid} {'0' * 64}\n")
    second = run_worker(folder, *arguments)
    assert process.poll() is None
    assert second.returncode == 2
    assert f"process {process.pid} is measuring there; wait for its end, or stop it" in second.stdout
    assert len(second.stdout.strip().splitlines()) == 1
    process.terminate()
    assert process.wait(60) == 130
    assert max(Counter(samples(journal(folder))).values()) == 1


def test_files_of_a_wrong_kind_in_the_folder_are_refused_in_one_line(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "run")
    header = {"format_version": 2, "job": json.loads((folder / JOB_FILE).read_text())["id"], "under": {}}
    for text in ("nonsense\n", '{"key": 1}\nmore\n'):
        (folder / "journal.jsonl").write_text(json.dumps(header) + "\n" + text)
        outcome = run_worker(folder)
        assert (outcome.returncode, len(outcome.stdout.strip().splitlines()), outcome.stderr) == (2, 1, "")


def test_the_journal_of_a_former_worker_is_refused(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "run")
    former = {"format_version": 1, "job": json.loads((folder / JOB_FILE).read_text())["id"], "under": {}}
    (folder / "journal.jsonl").write_text(json.dumps(former) + "\n")
    said = run_worker(folder).stdout
    assert "journal.jsonl: line 1: format_version: got 1, expected 2; delete the journal to start over" in said


@pytest.mark.parametrize("backend", SCRIPTS)
@pytest.mark.skipif(not OLD_PYTHON, reason="SEGNAS_OLD_PYTHON names no Python 3.6 to 3.10 with a runtime")
def test_an_old_python_with_an_old_runtime_measures_every_operation(tmp_path: Path, monkeypatch: Any, backend: str) -> None:
    has = {"onnxruntime": "onnxruntime", "torch-script": "torch"}[backend]
    if subprocess.run([OLD_PYTHON, "-I", "-c", f"import {has}"], capture_output=True, check=False).returncode:
        pytest.skip(f"{OLD_PYTHON} has no {has}")
    plan = sorted({*representatives(), *odd_shapes()})
    folder = unpack(tmp_path / "run", request(backend, rounds=1, max_rounds=1), plan=plan, reference=plan[0])
    outcome = run_worker(folder, python=OLD_PYTHON)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    monkeypatch.chdir(tmp_path)
    table = import_result(folder / "result.json", device="old").profile.table
    assert set(table.entries) == {one.key for one in plan}
    assert table.device.name == "old"
