"""How much of an epoch waits for its batches: what is counted, stated and said."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

import nas.training.batch_waits
from nas.runs.tracking import read_metrics
from nas.stages.search import search
from nas.training.batch_waits import DataWatch
from tests.small_jobs import search_job


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(nas.training.batch_waits, "time", made)
    return made


def epoch(watch: DataWatch, clock: Clock, *, waits: list[float], step_s: float) -> float:
    """Seconds of an epoch whose batches come after `waits`."""
    batch = torch.zeros(()), torch.zeros(())
    began = clock.now

    def batches():  # noqa: ANN202
        for wait in waits:
            clock.now += wait
            yield batch

    for _ in watch.batches(batches()):
        clock.now += step_s
    return clock.now - began


def test_the_share_is_that_of_waiting_and_starts_anew_in_each_epoch(clock: Clock) -> None:
    watch = DataWatch(0)
    assert watch.share(epoch(watch, clock, waits=[2.0, 1.0], step_s=3.0)) == pytest.approx(3 / 9)
    assert watch.share(epoch(watch, clock, waits=[0.0, 0.0], step_s=3.0)) == 0
    assert DataWatch(0).share(0.0) == 0


def test_a_long_wait_is_said_once_with_what_to_do(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    watch = DataWatch(2, cached=False)
    with caplog.at_level(logging.WARNING, logger="nas"):
        for _ in range(2):
            watch.tell(epoch(watch, clock, waits=[2.0], step_s=8.0))
    (line,) = caplog.messages
    assert line.startswith(
        "data: 20 % of the epoch's 10.0 s went into waiting for batches with data.workers=2, expected at most 10 %"
    )
    assert "give data.workers=4" in line
    assert "data.cache=true" in line


def test_while_a_cache_fills_nothing_is_said_and_later_no_cache_is_advised(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    watch = DataWatch(0, cached=True)
    with caplog.at_level(logging.WARNING, logger="nas"):
        watch.tell(epoch(watch, clock, waits=[2.0], step_s=8.0))
        assert caplog.messages == []
        watch.tell(epoch(watch, clock, waits=[2.0], step_s=8.0))
    (line,) = caplog.messages
    assert line.endswith("give data.workers=2 (processes that prepare them)")


@pytest.mark.parametrize(("wait", "step_s"), [(0.9, 0.1), (5.0, 95.0)], ids=["short", "small share"])
def test_a_short_wait_or_a_small_share_is_not_said(
    wait: float, step_s: float, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    watch = DataWatch(0)
    with caplog.at_level(logging.WARNING, logger="nas"):
        watch.tell(epoch(watch, clock, waits=[wait], step_s=step_s))
    assert caplog.messages == []


def test_every_epoch_of_a_search_states_its_share(tmp_path: Path) -> None:
    job = search_job(tmp_path / "run", search__epochs=2, search__eval_every=0, data__train=2, data__val=1, search__recalibrate=0)
    search(job, nas.build_space(job.space))
    shares = [row["data_share"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if row["split"] == "train"]
    assert len(shares) == 2
    assert all(0 < share < 1 for share in shares)
