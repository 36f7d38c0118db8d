"""A job is read whole and as it was made, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nas.worker.interface import WorkerError
from nas.worker.job import JOB_FILE, job_id, read_job
from tests.worker.test_job_mutations import job


def written(folder: Path, **changes: Any) -> str:
    """Write a job whose id fits; returns its folder."""
    fields = {**job(), **changes}
    (folder / JOB_FILE).write_text(json.dumps({**fields, "id": job_id(fields)}))
    return str(folder)


def first(**changes: Any) -> dict[str, Any]:
    operations = job()["operations"]
    return {"operations": [{**operations[0], **changes}, *operations[1:]]}


def test_a_job_states_each_graph_and_is_identified_by_all_of_it(tmp_path: Path) -> None:
    read = read_job(written(tmp_path))
    assert {name: (one.sha256, one.size) for name, one in read.graphs.items()} == {
        one["graph"]: (one["sha256"], one["size"]) for one in job()["operations"]
    }
    assert read.job_id == job_id(job()) != job_id({**job(), **first(sha256="0" * 64)})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format_version": 1}, "got a job of version 1, expected 2; use the worker of the same bundle"),
        ({"operations": [{"key": "op0"}]}, "got a job that is not whole .no 'graph'.; unpack the bundle again"),
        (first(graph="../0000.onnx"), "graph: got '../0000.onnx', expected a number and .onnx or .pt"),
        (first(graph="0001.onnx"), "two hashes of one graph"),
        (first(sha256="0" * 63), "sha256: got .*, expected 64 hexadecimal digits"),
        (first(size=2**40), "size: got 1099511627776, expected 1 to 2147483648 bytes"),
        (first(size=True), "size: got True"),
        (first(key="x" * 501), "expected texts of at most 500 printable characters"),
        (first(key="a\x1b[2J"), "expected texts of at most 500 printable characters"),
        (first(output=[1] * 9), "expected shapes of at most 8 sides"),
        (first(output=[2**31 + 1]), "expected shapes of at most 8 sides, each at most"),
        (first(output=[True]), "expected whole numbers above 0"),
        ({"protocol": {"rounds": [3, 2], "program_rounds": [1, 1], "ci": 0.02}}, r"rounds: expected \[fewest, most\]"),
        ({"protocol": {"rounds": [1, 10**6], "program_rounds": [1, 1], "ci": 0.02}}, "of at most 10000"),
        ({"reference": True}, "expected numbers of operations that fit their list"),
    ],
)
def test_what_is_no_job_is_refused_in_one_line(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=reason) as caught:
        read_job(written(tmp_path, **changes))
    assert str(caught.value).startswith(f"{tmp_path}/{JOB_FILE}: got a job ")
    assert str(caught.value).isprintable()


def test_a_job_that_was_changed_after_it_was_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / JOB_FILE).write_text(json.dumps({**job(), "device": "other"}))
    with pytest.raises(WorkerError, match="got a job that was changed after it was made"):
        read_job(str(tmp_path))


def test_a_job_nested_too_deep_is_refused(tmp_path: Path) -> None:
    (tmp_path / JOB_FILE).write_text("[" * 200_000)
    with pytest.raises(WorkerError, match=r"got no job \(not valid JSON"):
        read_job(str(tmp_path))
