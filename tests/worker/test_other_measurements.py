"""What lies in a worker's folder from before: nothing of another job is replaced, and what killed workers left is deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas.worker.interface import WorkerError
from nas.worker.other_measurements import refuse_other_measurements, remove_temporary_files

FILES = {"journal.jsonl": '{{"job": "{}"}}\n{{"key": 1}}\n', "result.json": '{{"job": {{"id": "{}"}}}}'}


@pytest.mark.parametrize("name", FILES)
def test_timings_and_results_of_another_job_are_not_replaced(name: str, tmp_path: Path) -> None:
    refuse_other_measurements(str(tmp_path), "mine")
    (tmp_path / name).write_text(FILES[name].format("mine"))
    refuse_other_measurements(str(tmp_path), "mine")
    (tmp_path / name).write_text(FILES[name].format("other"))
    with pytest.raises(WorkerError, match=f"{name}: is of another job .* unpack each bundle in an empty folder"):
        refuse_other_measurements(str(tmp_path), "mine")


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", json.dumps({"job": 1}), '{"job": {"id": '])
def test_what_states_no_job_is_of_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(text)
    refuse_other_measurements(str(tmp_path), "mine")


def test_temporary_files_of_killed_workers_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    engine, cache = f"{'0a' * 32}.engine", f"{'0a' * 8}.timing-cache"
    temporary = ["result.json.part", "notes.jsonl.part", "graph.onnx", "graph.pt", f"{engine}.part", f"{engine}.partial"]
    others = ["journal.jsonl", "graphs.zip", engine, cache, "movie.mkv.part", "my.graph.pt", "graph.pth"]
    for name in [*temporary, f"{cache}.part", *others]:
        (tmp_path / name).write_text("x")
    (tmp_path / "outside").symlink_to(tmp_path / "graph.pth")
    remove_temporary_files(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "outside"])
