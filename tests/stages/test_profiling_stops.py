"""A profile run that is stopped anywhere goes on as if it had not stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.cost import LatencyTable, load_table, save_table
from nas.cost.table_lock import changing_table
from nas.devices.this_machine import DeviceInfo
from nas.errors import ConfigError, TableError
from nas.measuring import table_filling
from nas.measuring.effort import Effort
from nas.measuring.table_filling import ProfileResult, journal_path
from tests.simulated_device import PowerCutError, SimulatedDevice, conv, drifting, profile_specs
from tests.small_jobs import CHECKOUT

DEVICE = DeviceInfo(name="simulated")
TIMES = {conv(c): 0.2 * 1.7**c for c in range(1, 8)}
NOISE = {spec: 0.003 if number % 2 else 0.05 for number, spec in enumerate(TIMES)}
EFFORT = Effort(rounds=6, max_rounds=9, ci=0.02)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tables" / "table.json"


def device(path: Path, **changes: Any) -> SimulatedDevice:
    return SimulatedDevice(TIMES, journal_path(path), **{"noise": NOISE, "outliers": 0.05, "slowness": drifting(70), **changes})


def measure(backend: SimulatedDevice, path: Path, specs: Any = None, **kwargs: Any) -> ProfileResult:
    plan = list(TIMES) if specs is None else specs
    return profile_specs(plan, backend, device=DEVICE, path=path, **{"effort": EFFORT, **kwargs})


def lines_of(path: Path) -> list[tuple[Any, ...]]:
    """(kind, key, round, ms) of the whole lines of a journal."""
    if not journal_path(path).exists():
        return []
    text = journal_path(path).read_text()
    rows = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()[1:]]
    return [(*next(iter(row.items())), row["round"], row["ms"]) for row in rows]


def undated(table: LatencyTable) -> LatencyTable:
    return replace(table, measured_at="2026-01-01T00:00:00+00:00")


def uninterrupted(path: Path) -> tuple[LatencyTable, list[tuple[Any, ...]]]:
    """What a run that nothing stops makes, and its journal."""
    lines: list[tuple[Any, ...]] = []

    def keep() -> None:
        lines[:] = lines_of(path)

    return undated(measure(device(path), path, read_clocks=keep).table), lines


def stopped(backend: SimulatedDevice, path: Path, *, after_lines: int) -> None:
    """Run until so many lines are written; before them come two calls for each operation and the reference."""
    backend.fail_at = 2 * (len(TIMES) + 1) + 2 * after_lines
    with pytest.raises(PowerCutError):
        measure(backend, path)


@pytest.mark.parametrize("seed", range(12))
def test_runs_stopped_at_random_points_lose_and_repeat_nothing_and_make_the_same_table(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    table, lines = uninterrupted(tmp_path / "whole.json")
    path = tmp_path / "stopped.json"
    stops = torn = 0
    result = None
    while result is None:
        backend = device(path)
        backend.fail_at = draw.randrange(0, 50)
        before = lines_of(path)
        try:
            result = measure(backend, path, read_clocks=lambda: None)
        except PowerCutError:
            stops += 1
            written = lines_of(path)
            assert written == lines[: len(written)]
            assert len(written) >= len(before)
            if len(written) > 1 and draw.random() < 0.4:
                torn += 1
                text = journal_path(path).read_bytes()
                last = len(text.splitlines(keepends=True)[-1])
                journal_path(path).write_bytes(text[: -draw.randrange(1, last)])
    assert stops >= 5
    assert torn >= 1
    assert undated(result.table) == table
    assert not journal_path(path).exists()


def test_the_stopped_and_the_whole_run_of_those_tests_have_all_that_can_go_wrong(path: Path) -> None:
    table, lines = uninterrupted(path)
    rounds = {entry.n for entry in table.entries.values()}
    assert min(rounds) == EFFORT.rounds
    assert max(rounds) == EFFORT.max_rounds
    assert {entry.stable for entry in table.entries.values()} == {True, False}
    assert sum(kind == "reference" for kind, *_ in lines) > 15


@pytest.mark.parametrize("after_lines", [0, 1, 5, 6, 9, 10, 11, 45, 60])
def test_a_resumed_run_takes_only_what_the_journal_lacks(after_lines: int, path: Path) -> None:
    _, lines = uninterrupted(path.with_name("whole.json"))
    stopped(device(path), path, after_lines=after_lines)
    assert lines_of(path) == lines[:after_lines]
    samples = sum(kind == "key" for kind, *_ in lines[:after_lines])
    done: list[int] = []
    measure(device(path), path, on_progress=lambda now, _: done.append(now))
    assert done[0] == samples + 1
    total = sum(kind == "key" for kind, *_ in lines)
    assert sorted(set(done)) == list(range(samples + 1, total + 1))


def test_entries_are_made_of_the_samples_of_all_runs(path: Path) -> None:
    effort = Effort(rounds=4, max_rounds=4)
    steady: dict[str, Any] = {"noise": 0.0, "outliers": 0.0}
    first = device(path, slowness=lambda _: 1.0, **steady)
    first.fail_at = 2 * len(TIMES) + 2 + 2 * 19
    with pytest.raises(PowerCutError):
        measure(first, path, effort=effort)
    keys = [key for kind, key, *_ in lines_of(path) if kind == "key"]
    assert set(keys) == {spec.key for spec in TIMES}
    table = measure(device(path, slowness=lambda _: 1.5, **steady), path, effort=effort).table
    assert {entry.n for entry in table.entries.values()} == {4}
    assert table.reference is not None
    level = table.reference.median_ms / TIMES[next(spec for spec in TIMES if spec.key == table.reference.key)]
    assert 1.0 <= level <= 1.5
    for spec, ms in TIMES.items():
        assert table.cost(spec) == pytest.approx(level * ms, rel=1e-5)


def test_the_journal_of_another_plan_is_finished_along_with_this_one(path: Path) -> None:
    stopped(device(path), path, after_lines=14)
    keys = {key for kind, key, *_ in lines_of(path) if kind == "key"}
    other = conv(40)
    backend = device(path)
    backend.times[other] = 3.0
    table = measure(backend, path, [other]).table
    assert set(table.entries) == keys | {other.key}
    assert table.cost(other) == pytest.approx(3.0, rel=0.15)


def test_a_run_killed_between_saving_and_deleting_the_journal_measures_nothing_again(path: Path) -> None:
    kept: list[bytes] = []

    def keep() -> None:
        kept.append(journal_path(path).read_bytes() if journal_path(path).exists() else b"")

    measure(device(path), path, read_clocks=keep)
    journal_path(path).write_bytes(kept[-1])
    before = path.read_bytes()
    again = device(path)
    measure(again, path)
    assert again.runs == []
    assert path.read_bytes() == before
    assert not journal_path(path).exists()


def test_a_journal_with_another_reference_than_the_table_is_refused(path: Path) -> None:
    measure(device(path), path, [conv(1)])
    stopped_elsewhere = path.with_name("other.json")
    backend = device(stopped_elsewhere)
    backend.fail_at = 2 * (len(TIMES) + 1) + 2 * 9
    with pytest.raises(PowerCutError):
        measure(backend, stopped_elsewhere)
    journal_path(path).write_bytes(journal_path(stopped_elsewhere).read_bytes())
    with pytest.raises(TableError, match=r"reference operation .*; delete the journal to start over") as caught:
        measure(device(path), path)
    assert "\n" not in str(caught.value)


def test_ctrl_c_keeps_the_journal_and_goes_up(path: Path) -> None:
    backend = device(path)
    backend.fail_at, backend.failure = 2 * (len(TIMES) + 1) + 2 * 3, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        measure(backend, path)
    assert len(lines_of(path)) == 3
    assert not path.exists()


KILLED = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from tests.stages import test_profiling_stops as stops
    path = Path(sys.argv[1])
    def slow(done, total):
        print(done, flush=True)
        time.sleep(0.01)
    stops.measure(stops.device(path), path, on_progress=slow)
"""


def test_a_killed_process_leaves_a_journal_that_another_finishes_alike(tmp_path: Path) -> None:
    table, lines = uninterrupted(tmp_path / "whole.json")
    path = tmp_path / "killed.json"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(path), str(root)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) == 23:
            os.kill(child.pid, signal.SIGKILL)
            break
    child.wait()
    child.stdout.close()
    written = lines_of(path)
    assert len(written) >= 23
    assert written == lines[: len(written)]
    assert undated(measure(device(path), path).table) == table
    assert undated(load_table(path)) == table


def test_what_others_add_to_the_table_meanwhile_stays(path: Path) -> None:
    first, others = list(TIMES)[:2], list(TIMES)[2:]
    level = measure(device(path), path, first).table.reference
    added = replace(load_table(path).entries[first[0].key], median_ms=0.123, p10_ms=0.123, p90_ms=0.123)

    def add(done: int, total: int) -> None:
        with changing_table(path, "profile import"):
            table = load_table(path)
            save_table(replace(table, entries={**table.entries, others[0].key: added}), path)

    result = measure(device(path), path, on_progress=add)
    table = load_table(path)
    assert set(table.entries) == {spec.key for spec in TIMES}
    assert table.entries[others[0].key] == added
    assert set(result.measured) == {spec.key for spec in others[1:]}
    assert table.reference == level
    assert [one.name for one in path.parent.iterdir()] == ["table.json"]


def test_what_others_add_while_the_table_is_waited_for_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = list(TIMES)[:2], list(TIMES)[-1]
    measure(device(path), path, first)
    added = replace(load_table(path).entries[first[0].key], median_ms=0.123, p10_ms=0.123, p90_ms=0.123)

    @contextmanager
    def after_another(table_file: Path, verb: str) -> Iterator[None]:
        with changing_table(table_file, verb):
            table = load_table(table_file)
            save_table(replace(table, entries={**table.entries, last.key: added}), table_file)
            yield

    monkeypatch.setattr(table_filling, "changing_table", after_another)
    result = measure(device(path), path)
    assert load_table(path).entries[last.key] == added
    assert set(result.measured) == {spec.key for spec in TIMES} - {spec.key for spec in (*first, last)}


def test_timings_at_another_level_than_others_have_begun_meanwhile_are_refused_and_kept(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    measure(device(other), other, [conv(1)])

    def add(done: int, total: int) -> None:
        if not path.exists():
            path.write_bytes(other.read_bytes())

    with pytest.raises(TableError, match="they do not stand at one level"):
        measure(device(path), path, [conv(6), conv(7)], on_progress=add)
    assert load_table(path) == load_table(other)
    assert lines_of(path)


def test_a_second_measurement_into_a_table_is_refused_and_takes_nothing_from_the_first(path: Path) -> None:
    refused = []

    def second(done: int, total: int) -> None:
        if not refused:
            with pytest.raises(ConfigError, match=f"the table {path} is being written by nas profile .process {os.getpid()} on"):
                measure(device(path), path)
            refused.append(True)

    assert measure(device(path), path, on_progress=second).table.entries.keys() == {spec.key for spec in TIMES}
    assert refused


def test_of_two_processes_that_fill_one_table_at_once_none_loses_an_entry(path: Path) -> None:
    """Each is repeated until it is not refused, as a user would."""
    code = """
        import sys, time
        from pathlib import Path
        from nas.devices.this_machine import DeviceInfo
        from nas.errors import ConfigError
        from tests.simulated_device import SimulatedDevice, conv, profile_specs
        from nas.measuring.table_filling import journal_path
        path, first, start = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
        time.sleep(max(0.0, start - time.time()))
        refusals = 0
        for channels in range(first, first + 6):
            while True:
                try:
                    profile_specs([conv(channels)], SimulatedDevice({conv(channels): 1.0, conv(1): 1.0}, journal_path(path)),
                                  device=DeviceInfo(name="simulated"), path=path)
                    break
                except ConfigError as error:
                    assert "is being written by nas profile" in str(error), error
                    refusals += 1
        print(refusals)
    """
    measure(device(path), path, [conv(1)], effort=Effort())
    start = time.time() + 5.0
    running = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(path), str(first), str(start)], cwd=CHECKOUT)
        for first in (2, 8)
    ]
    assert [process.wait(120) for process in running] == [0, 0]
    assert set(load_table(path).entries) == {conv(channels).key for channels in range(1, 14)}
