"""metrics.jsonl: written line by line, exact on resume, readable while it grows."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.errors import CheckpointError
from nas.runs.tracking import MetricsLog, read_metrics


def test_each_line_is_an_object_and_readable_at_once(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    with MetricsLog(path) as metrics:
        for step in (1, 2):
            metrics.write(step=step, epoch=0, split="train", loss=0.1 * step, count=3, absent=None)
            assert read_metrics(path)[-1] == {
                "step": step, "epoch": 0, "split": "train", "loss": 0.1 * step, "count": 3, "absent": None,
            }  # fmt: skip
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_json_cannot_hold_are_null(tmp_path: Path, value: float) -> None:
    with MetricsLog(tmp_path / "m") as metrics:
        metrics.write(step=1, epoch=0, split="train", loss=value)
    assert json.loads((tmp_path / "m").read_text())["loss"] is None


@pytest.mark.parametrize("value", [torch.tensor(1.0), "1.0", [1.0]])
def test_values_that_are_no_numbers_are_refused_and_named(tmp_path: Path, value: Any) -> None:
    with MetricsLog(tmp_path / "m") as metrics, pytest.raises(TypeError, match=f"metric loss: got {type(value).__name__}"):
        metrics.write(step=1, epoch=0, split="train", loss=value)
    assert (tmp_path / "m").read_bytes() == b""


def test_floats_survive_bit_for_bit(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 1e-300, 123456789.123456789]
    with MetricsLog(tmp_path / "m") as metrics:
        for value in values:
            metrics.write(step=1, epoch=0, split="train", x=value)
    assert [row["x"] for row in read_metrics(tmp_path / "m")] == values


def test_offset_counts_the_bytes_on_disk_also_of_an_earlier_part(tmp_path: Path) -> None:
    for size in (0, 1):
        with MetricsLog(tmp_path / "m") as metrics:
            assert (metrics.offset() == 0) == (size == 0)
            metrics.write(step=size, epoch=0, split="größer")
            assert metrics.offset() == (tmp_path / "m").stat().st_size
    assert len(read_metrics(tmp_path / "m")) == 2


def write_steps(metrics: MetricsLog, steps: range) -> None:
    for step in steps:
        metrics.write(step=step, epoch=step // 5, split="train", loss=1 / (step + 1))


@pytest.mark.parametrize("torn", [b"", b'{"step": 9, "lo'])
def test_resumed_file_equals_that_of_an_uninterrupted_run(tmp_path: Path, torn: bytes) -> None:
    with MetricsLog(tmp_path / "whole") as metrics:
        write_steps(metrics, range(12))
    with MetricsLog(tmp_path / "resumed") as metrics:
        write_steps(metrics, range(6))
        offset = metrics.offset()
        write_steps(metrics, range(6, 9))
    with (tmp_path / "resumed").open("ab") as file:
        file.write(torn)
    with MetricsLog.resume(tmp_path / "resumed", offset) as metrics:
        assert metrics.offset() == offset
        write_steps(metrics, range(6, 12))
        assert metrics.offset() == (tmp_path / "resumed").stat().st_size
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()


def test_resume_from_before_the_first_line_needs_no_file(tmp_path: Path) -> None:
    with MetricsLog.resume(tmp_path / "m", 0) as metrics:
        write_steps(metrics, range(1))
    with MetricsLog.resume(tmp_path / "m", 0) as metrics:
        assert metrics.offset() == 0
    assert read_metrics(tmp_path / "m") == []


def test_resume_refuses_a_file_that_is_not_that_of_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "m"
    with pytest.raises(CheckpointError, match=r"m: got 0 bytes, expected at least the 5"):
        MetricsLog.resume(path, 5)
    with MetricsLog(path) as metrics:
        write_steps(metrics, range(3))
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="no end of a line at byte 5"):
        MetricsLog.resume(path, 5)
    with pytest.raises(CheckpointError, match=f"got {len(before)} bytes"):
        MetricsLog.resume(path, len(before) + 1)
    assert path.read_bytes() == before


def test_torn_last_line_is_cut_before_more_is_appended(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "m") as metrics:
        write_steps(metrics, range(2))
    with (tmp_path / "m").open("ab") as file:
        file.write(b'{"step": 2, "epo')
    assert [row["step"] for row in read_metrics(tmp_path / "m")] == [0, 1]
    with MetricsLog(tmp_path / "m") as metrics:
        write_steps(metrics, range(2, 4))
    assert [row["step"] for row in read_metrics(tmp_path / "m")] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b"[1, 2]",
        b"",
        b'{"step": 1',
        b"\xff\xfe",
        b'{"step": [1]}',
        b'{"step": 1e400}',
        b'{"step": 1, "miou": NaN}',
        b'{"step": 1, "miou": "x"}',
        b'{"step": 1, "miou": 1e308}',
        b'{"step": 1, "split": 2}',
        b'{"step": 1, "step": 1}',
        b"[" * 100_000,
    ],
)
def test_damaged_line_in_the_middle_is_refused_and_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "m").write_bytes(b'{"step": 0}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(CheckpointError, match=r"m:2: .*got"):
        read_metrics(tmp_path / "m")


def test_missing_metrics_are_refused_and_empty_ones_are_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_metrics(tmp_path / "m")
    (tmp_path / "m").touch()
    assert read_metrics(tmp_path / "m") == []


def test_a_log_that_was_removed_ends_the_run_at_its_next_checkpoint(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        log.write(step=1, epoch=0, split="step")
        (tmp_path / "metrics.jsonl").unlink()
        with pytest.raises(FileNotFoundError, match="removed while it was written"):
            log.offset()


def test_a_full_disk_names_the_log_and_is_said_once(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
    try:
        with pytest.raises(OSError, match="too large") as caught, MetricsLog(tmp_path / "metrics.jsonl") as log:
            log.write(step=1, epoch=0, split="step", loss=0.5, miou=0.5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(tmp_path / "metrics.jsonl")
    assert caught.value.__context__ is None
