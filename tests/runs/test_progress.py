"""The progress that people see of a run: a bar on a terminal, else lines."""

import io
import logging

import pytest
from rich.console import Console

from nas.runs.progress import Progress, as_clock, describe


class Clock:
    """A clock that goes only when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


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
