"""What `nas profile` recovers of a device with known times under noise, drift and throttling."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.cost import LatencyTable
from nas.devices.this_machine import DeviceInfo
from nas.measuring.effort import Effort
from nas.measuring.journal import TableJournal
from nas.measuring.reference_operation import choose_reference
from nas.measuring.runners.in_process import InProcess
from nas.measuring.table_filling import ProfileResult, entry_of, journal_path, relative_spread
from nas.ops import OpSpec
from nas.worker.drift import Timing, corrected_samples
from tests.simulated_device import SimulatedDevice, conv, drifting, profile_specs, steady, throttled

DEVICE = DeviceInfo(name="simulated")
TIMES = {conv(c): 0.05 * 1.3**c for c in range(1, 17)}
REFERENCE = choose_reference(TIMES)
QUIET = {spec: 0.003 for spec in list(TIMES)[::2]}
NOISY = {spec: 0.012 for spec in list(TIMES)[1::2]}
EFFORT = Effort(rounds=10, max_rounds=80, ci=0.005)
LENGTH = 540
"""About the lines of a journal of these: 10 rounds of 16 operations, some 35 more of 8, and the reference."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.json"


class Measurement:
    """A run and the timings that its table was made of."""

    def __init__(self, path: Path, specs: Any = None, *, effort: Effort = EFFORT, **device: Any) -> None:
        self.device = SimulatedDevice(TIMES, journal_path(path), **{"noise": {**QUIET, **NOISY}, **device})
        self.timings: list[Timing] = []
        conditions = InProcess(self.device, device=DEVICE, effort=effort).conditions

        def keep_journal() -> None:
            self.timings = TableJournal(journal_path(path), conditions).timings

        self.result: ProfileResult = profile_specs(
            list(TIMES) if specs is None else specs,
            self.device,
            device=DEVICE,
            path=path,
            effort=effort,
            read_clocks=keep_journal,
        )
        self.table: LatencyTable = self.result.table

    @property
    def plain(self) -> dict[str, list[float]]:
        """The samples as they were measured."""
        return corrected_samples(timing for timing in self.timings if not timing.is_reference)


def errors(medians: dict[str, float], level: float) -> dict[str, float]:
    """Error of each median, relative to the true time at a level of speed."""
    return {key: median / (level * TIMES[OpSpec.from_key(key)]) - 1 for key, median in medians.items()}


def level_of(table: LatencyTable) -> float:
    """The speed at which a table's entries stand: its reference operation over that one's true time."""
    assert table.reference is not None
    return table.reference.median_ms / TIMES[OpSpec.from_key(table.reference.key)]


def worst(medians: dict[str, float], level: float) -> float:
    return max(abs(error) for error in errors(medians, level).values())


def medians_of(table: LatencyTable) -> dict[str, float]:
    return {key: entry.median_ms for key, entry in table.entries.items()}


THIRD = LENGTH // 3
SLOWNESS: dict[str, Callable[[int], float]] = {
    "steady": steady,
    "drift": drifting(LENGTH),
    "throttled first": throttled(0, THIRD),
    "throttled in between": throttled(THIRD, 2 * THIRD),
    "throttled last": throttled(2 * THIRD, 10 * LENGTH),
}


@pytest.mark.parametrize("slowness", SLOWNESS)
@pytest.mark.parametrize("outliers", [0.0, 0.05])
def test_medians_are_recovered_within_one_percent_of_one_level(slowness: str, outliers: float, path: Path) -> None:
    measured = Measurement(path, slowness=SLOWNESS[slowness], outliers=outliers)
    assert 0.75 * LENGTH < len(measured.timings) < 1.4 * LENGTH
    assert worst(medians_of(measured.table), level_of(measured.table)) < 0.01
    assert measured.result.unstable == {}


@pytest.mark.parametrize("slowness", ["drift", "throttled first"])
def test_without_the_correction_the_same_samples_miss_every_common_level_by_two_percent(slowness: str, path: Path) -> None:
    measured = Measurement(path, slowness=SLOWNESS[slowness])
    plain = {key: float(np.median(samples)) for key, samples in measured.plain.items()}
    best_level = min(np.linspace(0.9, 1.4, 501), key=lambda level: worst(plain, level))
    assert worst(plain, float(best_level)) > 0.02
    assert max(errors(plain, 1.0).values()) - min(errors(plain, 1.0).values()) > 0.04
    corrected = errors(medians_of(measured.table), 1.0).values()
    assert max(corrected) - min(corrected) < 0.02


@pytest.mark.parametrize("slowness", ["throttled in between", "throttled last"])
def test_throttling_leaves_the_spread_of_the_corrected_samples(slowness: str, path: Path) -> None:
    measured = Measurement(path, slowness=SLOWNESS[slowness], noise=0.012, effort=Effort(rounds=27, max_rounds=27))
    plain = [relative_spread(entry_of(samples)) for samples in measured.plain.values()]
    corrected = [relative_spread(entry) for entry in measured.table.entries.values()]
    assert min(plain) > 0.25
    assert max(corrected) < 0.08
    assert measured.result.drift == pytest.approx((1.0, 1.3), abs=0.035)


def test_where_nothing_drifts_the_correction_adds_no_noticeable_noise(path: Path) -> None:
    measured = Measurement(path, effort=Effort(rounds=30, max_rounds=30), noise=0.01)
    by_key = corrected_samples(measured.timings)
    ratio = [np.std(np.log(by_key[key])) / np.std(np.log(measured.plain[key])) for key in by_key]
    assert float(np.mean(ratio)) < 1.08


def test_the_level_is_the_median_of_all_timings_of_the_reference(path: Path) -> None:
    measured = Measurement(path, slowness=SLOWNESS["drift"])
    reference = measured.table.reference
    assert reference is not None
    assert reference.key == REFERENCE.key
    taken = sorted(timing.ms for timing in measured.timings if timing.is_reference)
    middle = (taken[(len(taken) - 1) // 2] + taken[len(taken) // 2]) / 2
    assert reference.median_ms == pytest.approx(middle, abs=1e-6)


def test_a_table_is_extended_at_its_level_though_the_machine_has_become_slower(path: Path) -> None:
    specs = sorted(TIMES)
    first = Measurement(path, specs[:8]).table
    second = Measurement(path, specs[8:], slowness=lambda _: 1.2)
    assert first.reference is not None
    assert second.table.reference == first.reference
    assert {timing.key for timing in second.timings if timing.is_reference} == {first.reference.key}
    assert {key: second.table.entries[key] for key in first.entries} == dict(first.entries)
    assert worst(medians_of(second.table), level_of(first)) < 0.01
    plain = {key: float(np.median(samples)) for key, samples in second.plain.items()}
    assert min(errors(plain, level_of(first)).values()) > 0.18
    assert second.result.drift == pytest.approx((1.2, 1.2), abs=0.02)


def test_quiet_operations_stop_early_noisy_ones_go_on_and_hopeless_ones_are_flagged(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    specs = list(TIMES)
    noise = {**dict.fromkeys(specs, 0.005), specs[3]: 0.04, specs[7]: 0.05, specs[12]: 0.5, specs[15]: 0.3}
    with caplog.at_level(logging.WARNING):
        measured = Measurement(path, noise=noise, effort=Effort(rounds=10, max_rounds=40, ci=0.02))
    entries = measured.table.entries
    rounds = {spec: entries[spec.key].n for spec in specs}
    assert {rounds[spec] for spec in specs if noise[spec] == 0.005} == {10}
    assert all(10 < rounds[spec] <= 40 and entries[spec.key].stable for spec in (specs[3], specs[7]))
    assert [spec for spec in specs if not entries[spec.key].stable] == [specs[12], specs[15]]
    assert rounds[specs[12]] == rounds[specs[15]] == 40
    assert set(measured.result.unstable) == {specs[12].key, specs[15].key}
    line = next(line for line in measured.result.summary() if line.startswith("not stable"))
    assert "2 operations" in line
    assert "+-2.0% after 40 rounds" in line
    assert specs[12].key in line
    assert line in caplog.messages


def test_the_summary_names_the_five_worst_of_many(path: Path) -> None:
    measured = Measurement(path, noise=0.3, effort=Effort(rounds=4, max_rounds=6))
    widths = list(measured.result.unstable.values())
    assert widths == sorted(widths, reverse=True)
    assert len(widths) > 5
    line = next(line for line in measured.result.summary() if line.startswith("not stable"))
    assert [key in line for key in measured.result.unstable] == [True] * 5 + [False] * (len(widths) - 5)


def test_fewer_rounds_than_say_anything_are_not_called_stable(path: Path) -> None:
    measured = Measurement(path, effort=Effort(rounds=2, max_rounds=3))
    assert len(measured.result.unstable) == len(TIMES)


def test_clocks_of_the_last_run_are_in_the_table(path: Path) -> None:
    clocks = iter(["1 GHz", "2 GHz", "3 GHz", None])
    for specs in (list(TIMES)[:2], list(TIMES)[2:4]):
        device = SimulatedDevice(TIMES, journal_path(path))
        table = profile_specs(
            specs, device, device=DEVICE, path=path, effort=Effort(rounds=4), read_clocks=lambda: next(clocks)
        ).table
    assert (table.clocks_before, table.clocks_after) == ("3 GHz", None)
