"""Graphs of another bundle are not measured, and a result of other graphs than the job's is not imported."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from nas.measuring.operation_graphs import operation_file
from nas.measuring.runners.bundle import bundle_files
from nas.measuring.runners.graph_hashes import NOT_CHECKED, check_graphs
from nas.measuring.runners.worker_result import import_result
from nas.worker.graph_archive import GRAPHS_FILE
from nas.worker.job import JOB_FILE
from tests.measuring.runners.bundles import PLAN, REFERENCE, measured, refused, request, run_worker, sealed, spec, unpack

pytest.importorskip("onnxruntime")

DILATED = {dilation: spec("conv_bn_relu", kernel=3, dilation=dilation) for dilation in (2, 4)}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return measured(tmp_path_factory.mktemp("worker") / "run")


def former(result: dict[str, Any]) -> dict[str, Any]:
    """The same as a worker of the version before states it."""
    raw = copy.deepcopy(result)
    del raw["graphs"]
    raw["job"]["format_version"] = 1
    for one in raw["job"]["operations"]:
        del one["sha256"], one["size"]
    return raw


def test_graphs_of_another_bundle_are_refused_where_their_shapes_agree(tmp_path: Path) -> None:
    """Dilation 4 in place of dilation 2 has the same inputs and the same output."""
    folders = {dilation: unpack(tmp_path / str(dilation), plan=[one], reference=one) for dilation, one in DILATED.items()}
    shapes = [json.loads((folder / JOB_FILE).read_text())["operations"][0]["inputs"] for folder in folders.values()]
    assert shapes[0] == shapes[1]
    shutil.copy(folders[4] / GRAPHS_FILE, folders[2] / GRAPHS_FILE)
    outcome = run_worker(folders[2])
    assert (outcome.returncode, outcome.stderr, len(outcome.stdout.splitlines())) == (2, "", 1)
    assert "0000.onnx has " in outcome.stdout
    assert "as the job states, so another operation would be measured; unpack the whole bundle again" in outcome.stdout
    assert not (folders[2] / "journal.jsonl").exists()


def test_a_half_measured_bundle_does_not_go_on_with_other_graphs_and_goes_on_with_its_own(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "run")
    other = bundle_files(PLAN[1:], REFERENCE, request())
    own = (folder / GRAPHS_FILE).read_bytes()
    assert run_worker(folder).returncode == 0
    (folder / "result.json").unlink()
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    half = b"".join(lines[: len(lines) // 2])
    (folder / "journal.jsonl").write_bytes(half)
    (folder / GRAPHS_FILE).write_bytes(other[GRAPHS_FILE])
    assert run_worker(folder).returncode == 2
    assert (folder / "journal.jsonl").read_bytes() == half
    (folder / JOB_FILE).write_bytes(other[JOB_FILE])  # the whole of another bundle over it
    outcome = run_worker(folder)
    assert outcome.returncode == 2
    assert "journal.jsonl: is of another job than the one in this folder; unpack each bundle in an empty folder" in outcome.stdout
    assert (folder / "journal.jsonl").read_bytes() == half
    for name, content in {GRAPHS_FILE: own, JOB_FILE: bundle_files(PLAN, REFERENCE, request())[JOB_FILE]}.items():
        (folder / name).write_bytes(content)
    assert run_worker(folder).returncode == 0
    assert (folder / "journal.jsonl").read_bytes().startswith(half)


def test_a_job_that_was_changed_is_refused_by_the_worker_and_at_import(
    good: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = unpack(tmp_path / "run")
    job = json.loads((folder / JOB_FILE).read_text())
    job["operations"][0]["sha256"] = job["operations"][1]["sha256"]
    (folder / JOB_FILE).write_text(json.dumps(job))
    outcome = run_worker(folder)
    assert outcome.returncode == 2
    assert "got a job that was changed after it was made" in outcome.stdout
    monkeypatch.chdir(tmp_path)
    raw = copy.deepcopy(good)
    raw["job"]["operations"][0]["key"] = DILATED[4].key
    assert "job.id: the job was changed after it was made" in refused(sealed(raw, job_too=False))


def test_a_result_of_other_graphs_than_the_jobs_is_refused(
    good: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for change in ("0" * 64, None, 7, good["graphs"][0]):
        raw = copy.deepcopy(good)
        raw["graphs"][1] = change
        message = refused(sealed(raw))
        assert "graphs[1]: another graph was measured than the job states" in message
        assert "unpack the bundle again in an empty folder" in message
    for graphs in (good["graphs"][1:], [], None, "x"):
        assert "graphs" in refused(sealed({**good, "graphs": graphs}))
    raw = {name: value for name, value in good.items() if name != "graphs"}
    assert "graphs: got None" in refused(sealed(raw))
    assert not Path("latency_tables").exists()


def test_a_result_that_was_measured_earlier_is_imported_and_said_to_be_unchecked(
    good: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, raw in (("new", good), ("old", former(good))):
        Path(f"{name}.json").write_text(sealed(raw))
    new, old = (import_result(Path(f"{name}.json"), out=f"{name}-table.json") for name in ("new", "old"))
    assert NOT_CHECKED not in new.notes
    assert old.notes[-1:] == (NOT_CHECKED,)
    assert NOT_CHECKED in old.summary()
    assert new.profile.table.entries == old.profile.table.entries
    mixed = {**former(good), "graphs": good["graphs"]}
    assert "expected none with a job that states none" in refused(sealed(mixed))
    raw = former(good)
    raw["job"]["format_version"] = 2
    assert "sha256" in refused(sealed(raw))


def test_the_worker_refuses_a_job_of_an_earlier_version(good: dict[str, Any], tmp_path: Path) -> None:
    folder = unpack(tmp_path / "run")
    (folder / JOB_FILE).write_text(json.dumps(former(good)["job"]))
    outcome = run_worker(folder)
    assert outcome.returncode == 2
    assert "got a job of version 1, expected 2; use the worker of the same bundle" in outcome.stdout


def test_hashes_are_compared_in_the_order_of_the_operations(good: dict[str, Any]) -> None:
    check_graphs(good["job"], good["graphs"])
    with pytest.raises(ValueError, match=r"graphs\[0\]: another graph"):
        check_graphs(good["job"], good["graphs"][::-1])


def test_a_graph_has_no_weights_outside_of_its_file() -> None:
    """Else its hash would not be that of all that is measured."""
    for one in PLAN:
        model = onnx.load_model_from_string(operation_file(one, batch=1, script=False).content)
        assert not any(onnx.external_data_helper.uses_external_data(tensor) for tensor in model.graph.initializer)
