"""metrics.jsonl and what people see of a run."""

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from nas.errors import CheckpointError
from nas.runs.progress import Progress, as_clock, describe
from nas.runs.tracking import MetricsLog, read_metrics


class Clock:
    """A clock that goes only when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


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


@pytest.mark.parametrize("line", [b"no json", b"[1, 2]", b"", b'{"step": 1', b"\xff\xfe"])
def test_damaged_line_in_the_middle_is_refused_and_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "m").write_bytes(b'{"step": 0}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(CheckpointError, match=r"m:2: got"):
        read_metrics(tmp_path / "m")


def test_missing_metrics_are_refused_and_empty_ones_are_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_metrics(tmp_path / "m")
    (tmp_path / "m").touch()
    assert read_metrics(tmp_path / "m") == []


def plain() -> Console:
    return Console(file=io.StringIO(), force_terminal=False)


def terminal() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, width=160, color_system=None), file


def test_plain_lines_come_at_most_every_interval(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    caplog.set_level(logging.INFO, "nas")
    with Progress(total=100, interval_s=10.0, clock=clock, console=plain()) as progress:
        for step in range(1, 36):
            clock.now_s += 1.0
            progress.update(step, epoch=0, loss=1.5)
    steps = [record.getMessage().split()[1] for record in caplog.records]
    assert steps == ["10/100", "20/100", "30/100"]
    assert {record.name for record in caplog.records} == {"nas"}


def test_plain_line_tells_share_eta_and_the_scalars_that_were_given_last(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    caplog.set_level(logging.INFO, "nas")
    with Progress(total=40, description="search", clock=clock, console=plain()) as progress:
        progress.update(1, epoch=0, miou=0.25, loss=2.0)
        clock.now_s += 20.0
        progress.update(10, epoch=2, loss=1.0, tau=0.5, expected_latency_ms=3.25, grad_norm=9.0)
    assert caplog.messages == [
        "search 10/40 (25%), ETA 0:01:00, epoch 3, loss 1.000, mIoU 0.250, expected latency 3.250 ms, temperature 0.500"
    ]


def test_eta_of_a_resumed_run_counts_only_its_own_steps(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    caplog.set_level(logging.INFO, "nas")
    with Progress(total=1000, start=900, clock=clock, console=plain()) as progress:
        clock.now_s += 20.0
        progress.update(910)
    assert caplog.messages == ["steps 910/1000 (91%), ETA 0:03:00"]


def test_time_before_the_progress_is_entered_does_not_count(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    caplog.set_level(logging.INFO, "nas")
    progress = Progress(total=20, clock=clock, console=plain())
    clock.now_s += 5000.0
    with progress:
        clock.now_s += 10.0
        progress.update(10)
    assert caplog.messages == ["steps 10/20 (50%), ETA 0:00:10"]


def test_end_of_an_epoch_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nas")
    with Progress(total=10, clock=Clock(), console=plain()) as progress:
        progress.end_epoch(0, miou=None)
    assert caplog.messages == ["steps 0/10 (0%), ETA -:--:--, epoch 1, mIoU -"]


def test_terminal_shows_a_bar_and_no_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    caplog.set_level(logging.INFO, "nas")
    console, file = terminal()
    with Progress(total=40, description="search", clock=clock, console=console) as progress:
        clock.now_s += 20.0
        progress.update(10, epoch=0, loss=1.25, tau=0.5)
        progress.end_epoch(0, miou=0.5)
    shown = file.getvalue()
    for part in ("search", "10/40", "ETA 0:01:00", "loss 1.250", "temperature 0.500", "mIoU 0.500", "━"):
        assert part in shown
    assert "\x1b[?25h" in shown  # The cursor is back.
    assert caplog.records == []


def test_terminal_is_restored_when_the_run_fails() -> None:
    console, file = terminal()
    with pytest.raises(RuntimeError, match="broken"), Progress(total=4, clock=Clock(), console=console):
        raise RuntimeError("broken")
    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().rindex("\x1b[?25l")


def test_output_that_is_no_terminal_gets_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(total=4, clock=Clock()) as progress:
        progress.update(4, loss=1.0)
    assert capsys.readouterr().out == ""


def test_scalars_are_described_in_one_order_and_unknown_ones_left_out() -> None:
    fields = {"tau": 0.1234, "secret": 1.0, "loss": float("nan"), "epoch": 2}
    assert describe(fields) == ["epoch 2", "loss -", "temperature 0.123"]


@pytest.mark.parametrize(("seconds", "text"), [(None, "-:--:--"), (0, "0:00:00"), (59.6, "0:01:00"), (360_000, "100:00:00")])
def test_durations_are_written_as_hours_minutes_seconds(seconds: float | None, text: str) -> None:
    assert as_clock(seconds) == text
