"""Stage `profile` on a simulated device with known times; test_profiling_job.py runs it for real."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas import profiling
from nas.cost import load_table
from nas.devices import RuntimeName
from nas.devices.backend import Run
from nas.devices.identity import DeviceInfo
from nas.errors import ConfigError, TableError
from nas.ops import OpSpec
from nas.profiling import ProfileResult, entry_of, num_calls, profile_specs

DEVICE = DeviceInfo(name="simulated")
RUNTIME = RuntimeName(backend="torch-eager")


def conv(channels: int, size: int = 8, *, kind: str = "relu_conv_bn") -> OpSpec:
    return OpSpec(
        kind=kind,
        in_channels=channels,
        height=size,
        width=size,
        out_channels=channels,
        out_height=size,
        out_width=size,
        kernel=3,
    )


class SimulatedBackend:
    """Known time per operation, multiplicative noise with outliers; fails when it has run `fail_at` times."""

    def __init__(self, times: dict[OpSpec, float], *, noise: float = 0.0, seed: int = 0) -> None:
        self.runtime = RUNTIME
        self.version = "1.0"
        self.times = times
        self.noise = noise
        self.rng = np.random.default_rng(seed)
        self.runs: list[tuple[OpSpec, int]] = []
        self.fail_at: int | None = None
        self.failure: BaseException = RuntimeError("power cut")
        self.inside = False

    @contextmanager
    def measuring(self) -> Iterator[None]:
        self.inside = True
        try:
            yield
        finally:
            self.inside = False

    def prepare(self, spec: OpSpec) -> Run:
        assert self.inside

        def run(calls: int) -> float:
            if self.fail_at is not None and len(self.runs) >= self.fail_at:
                raise self.failure
            self.runs.append((spec, calls))
            slow = 3.0 if self.noise and self.rng.random() < 0.05 else 1.0
            return float(self.times[spec] * slow * np.exp(self.noise * self.rng.standard_normal()))

        return run


def simulated(count: int = 6, **kwargs: Any) -> SimulatedBackend:
    return SimulatedBackend({conv(c): 0.07 * 2.0**c for c in range(1, count + 1)}, **kwargs)


def measure(backend: SimulatedBackend, path: Path, *, rounds: int = 4, **kwargs: Any) -> ProfileResult:
    return profile_specs(list(backend.times), backend, device=DEVICE, path=path, rounds=rounds, **kwargs)


def journal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.journal.jsonl")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal_of(path).read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tables" / "table.json"


def test_medians_are_recovered_within_one_percent_under_noise_and_outliers(path: Path) -> None:
    backend = simulated(8, noise=0.02, seed=1)
    table = measure(backend, path, rounds=81).table
    for spec, ms in backend.times.items():
        assert table.cost(spec) == pytest.approx(ms, rel=0.01)
        assert table.entries[spec.key].n == 81


def test_percentiles_are_those_of_an_independent_interpolation() -> None:
    samples = [0.6, 0.9, 0.7, 1.4, 1.1, 0.8, 2.0]
    ordered = sorted(samples)

    def quantile(q: float) -> float:
        below = int(q * (len(ordered) - 1))
        rest = q * (len(ordered) - 1) - below
        return ordered[below] + rest * (ordered[min(below + 1, len(ordered) - 1)] - ordered[below])

    entry = entry_of(samples)
    assert (entry.p10_ms, entry.median_ms, entry.p90_ms) == pytest.approx((quantile(0.1), quantile(0.5), quantile(0.9)), abs=1e-6)
    assert entry.n == 7


@pytest.mark.parametrize(("ms", "calls"), [(1e-6, 50), (0.1, 50), (0.11, 46), (1.0, 5), (4.9, 2), (5.0, 1), (900.0, 1)])
def test_a_sample_fills_about_five_milliseconds(ms: float, calls: int) -> None:
    assert num_calls(ms) == calls


def test_rounds_interleave_all_operations_in_changing_order(path: Path) -> None:
    order: list[str] = []
    backend = simulated(8)

    def look(done: int, total: int) -> None:
        assert (done, total) == (len(order) + 1, 8 * 5)
        order.append(lines_of(path)[-1]["key"])

    measure(backend, path, rounds=5, on_progress=look)
    rounds = [tuple(order[start : start + 8]) for start in range(0, 40, 8)]
    assert all(set(keys) == {spec.key for spec in backend.times} for keys in rounds)
    assert len(set(rounds)) == 5


def test_repeated_and_free_operations_are_not_measured(path: Path) -> None:
    backend = simulated(2)
    specs = [*backend.times, *backend.times, conv(1, kind="identity"), conv(2, kind="none")]
    result = profile_specs(specs, backend, device=DEVICE, path=path, rounds=3)
    assert sorted(result.table.entries) == sorted(spec.key for spec in backend.times)


def test_table_states_device_runtime_and_protocol(path: Path) -> None:
    table = measure(simulated(1), path, rounds=7).table
    assert load_table(path) == table
    assert table.device == DEVICE
    assert (table.runtime.name, table.runtime.version) == ("torch-eager-fp32-b1-t1", "1.0")
    assert (table.protocol.rounds, table.protocol.threads) == (7, 1)
    assert not journal_of(path).exists()


@pytest.mark.parametrize("seed", range(8))
def test_runs_stopped_at_random_points_lose_and_repeat_nothing(seed: int, path: Path) -> None:
    draw = random.Random(seed)
    backend = simulated(5, noise=0.02, seed=seed)
    taken: dict[tuple[str, int], float] = {}
    stops = 0

    def take(done: int, total: int) -> None:
        line = lines_of(path)[-1]
        assert (line["key"], line["round"]) not in taken
        taken[line["key"], line["round"]] = line["ms"]
        assert (done, total) == (len(taken), 5 * 4)

    while not path.exists():
        backend.fail_at = len(backend.runs) + draw.randrange(0, 25)
        try:
            result = measure(backend, path, on_progress=take)
        except RuntimeError:
            stops += 1
            written = lines_of(path)[1:] if journal_of(path).exists() else []
            assert {(line["key"], line["round"]): line["ms"] for line in written} == taken
    assert stops >= 2
    assert set(taken) == {(spec.key, index) for spec in backend.times for index in range(4)}
    for spec in backend.times:
        median = float(np.median([taken[spec.key, index] for index in range(4)]))
        assert result.table.cost(spec) == pytest.approx(median, abs=1e-6)


def test_resumed_run_takes_only_the_samples_that_the_journal_lacks(path: Path) -> None:
    backend = simulated(3)
    backend.fail_at = 3 * 2 + 2 * 7
    with pytest.raises(RuntimeError, match="power cut"):
        measure(backend, path)
    assert len(lines_of(path)) == 1 + 7
    rest = simulated(3)
    done: list[tuple[int, int]] = []
    measure(rest, path, on_progress=lambda *progress: done.append(progress))
    assert done == [(n, 12) for n in range(8, 13)]
    assert len(rest.runs) == 3 * 2 + 2 * 5


def test_entries_are_made_of_the_samples_of_all_runs(path: Path) -> None:
    first = simulated(2)
    first.fail_at = 2 * 2 + 2 * 4
    with pytest.raises(RuntimeError, match="power cut"):
        measure(first, path)
    second = SimulatedBackend({spec: 3 * ms for spec, ms in first.times.items()})
    table = measure(second, path).table
    for spec, ms in first.times.items():
        assert table.cost(spec) == pytest.approx(2 * ms, abs=1e-6)


def test_the_sample_of_a_torn_line_is_taken_again(path: Path) -> None:
    backend = simulated(3)
    backend.fail_at = 3 * 2 + 2 * 5
    with pytest.raises(RuntimeError, match="power cut"):
        measure(backend, path)
    journal_of(path).write_text(journal_of(path).read_text()[:-9])
    rest = simulated(3)
    assert {entry.n for entry in measure(rest, path).table.entries.values()} == {4}
    assert len(rest.runs) == 3 * 2 + 2 * (3 * 4 - 4)


def test_the_journal_of_another_plan_is_finished_along_with_this_one(path: Path) -> None:
    backend = simulated(4)
    backend.fail_at = 4 * 2 + 2 * 6
    with pytest.raises(RuntimeError, match="power cut"):
        measure(backend, path)
    rest = simulated(4)
    profile_specs([conv(1)], rest, device=DEVICE, path=path, rounds=4)
    assert load_table(path).missing(rest.times) == []


def test_a_run_killed_between_saving_and_deleting_the_journal_measures_nothing_again(path: Path) -> None:
    measure(simulated(2), path)
    header = {"format_version": 1, **{k: json.loads(path.read_text())[k] for k in ("device", "runtime", "protocol")}}
    sample = {"key": conv(1).key, "round": 0, "ms": 1.0, "calls": 5}
    journal_of(path).write_text(f"{json.dumps(header)}\n{json.dumps(sample)}\n")
    before = path.read_bytes()
    again = simulated(2)
    measure(again, path)
    assert again.runs == []
    assert path.read_bytes() == before
    assert not journal_of(path).exists()


KILLED = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    import importlib.util
    spec = importlib.util.spec_from_file_location("simulation", sys.argv[3])
    simulation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(simulation)
    backend = simulation.simulated(6)
    def slow(done, total):
        print(done, flush=True)
        time.sleep(0.01)
    simulation.measure(backend, Path(sys.argv[1]), rounds=200, on_progress=slow)
"""


def test_a_killed_process_leaves_a_journal_that_another_finishes(path: Path) -> None:
    root = Path(profiling.__file__).parents[1]
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(path), str(root), __file__],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) == 23:
            os.kill(child.pid, signal.SIGKILL)
            break
    child.wait()
    child.stdout.close()
    before = {(line["key"], line["round"]) for line in lines_of(path)[1:]}
    assert len(before) >= 23
    rest = simulated(6)
    result = measure(rest, path, rounds=200)
    assert len(rest.runs) == 6 * 2 + 2 * (6 * 200 - len(before))
    assert {entry.n for entry in result.table.entries.values()} == {200}


def test_ctrl_c_keeps_the_journal_and_goes_up(path: Path) -> None:
    backend = simulated(2)
    backend.fail_at, backend.failure = 2 * 2 + 2 * 3, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        measure(backend, path)
    assert len(lines_of(path)) == 1 + 3
    assert not path.exists()


def test_missing_operations_are_added_and_the_others_kept_as_they_are(path: Path) -> None:
    old = measure(simulated(3, noise=0.1), path).table
    backend = simulated(5, seed=9)
    result = measure(backend, path)
    assert {key: result.table.entries[key] for key in old.entries} == dict(old.entries)
    assert {spec for spec, _ in backend.runs} == {conv(4), conv(5)}
    assert result.measured == (conv(4).key, conv(5).key)
    assert result.kept == 3
    assert load_table(path) == result.table


def test_when_nothing_is_missing_nothing_is_done_and_the_summary_says_so(path: Path) -> None:
    measure(simulated(3), path)
    before = path.read_bytes()
    backend = simulated(3)
    result = measure(backend, path)
    assert backend.runs == []
    assert path.read_bytes() == before
    assert "nothing to measure" in result.summary()[0]


def other_version(backend: SimulatedBackend) -> dict[str, Any]:
    backend.version = "2.0"
    return {}


def other_runtime(backend: SimulatedBackend) -> dict[str, Any]:
    backend.runtime = replace(RUNTIME, batch=2)
    return {}


CHANGES: dict[str, Any] = {
    "device.name is 'simulated' there and 'other' now": lambda _: {"device": DeviceInfo(name="other")},
    "device.power_mode is None there and 'eco' now": lambda _: {"device": replace(DEVICE, power_mode="eco")},
    "protocol.rounds is 4 there and 5 now": lambda _: {"rounds": 5},
    "runtime.version is '1.0' there and '2.0' now": other_version,
    "runtime.batch is 1 there and 2 now": other_runtime,
}


@pytest.mark.parametrize("difference", CHANGES)
def test_table_of_other_conditions_is_refused_with_the_difference(difference: str, path: Path) -> None:
    measure(simulated(2), path)
    before = path.read_bytes()
    backend = simulated(3)
    changed = {"device": DEVICE, "rounds": 4, **CHANGES[difference](backend)}
    with pytest.raises(TableError) as caught:
        profile_specs(list(backend.times), backend, path=path, **changed)
    assert difference in str(caught.value)
    assert "out=" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert backend.runs == []
    assert path.read_bytes() == before


def test_journal_of_other_conditions_stops_the_run_before_it_measures(path: Path) -> None:
    first = simulated(2)
    first.fail_at = 2 * 2 + 2 * 3
    with pytest.raises(RuntimeError, match="power cut"):
        measure(first, path)
    before = journal_of(path).read_bytes()
    backend = simulated(2)
    with pytest.raises(TableError, match="protocol.rounds is 4 there and 5 now"):
        measure(backend, path, rounds=5)
    assert backend.runs == []
    assert journal_of(path).read_bytes() == before


@pytest.mark.parametrize("ms", [0.0, -1.0, float("nan"), float("inf")])
def test_a_backend_that_measures_nonsense_stops_the_run(ms: float, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "num_calls", lambda _: 1)
    with pytest.raises(RuntimeError, match="expected a finite positive time"):
        measure(SimulatedBackend({conv(1): ms}), path)


def test_wrong_targets_and_rounds_are_refused_before_measuring(tmp_path: Path) -> None:
    backend = simulated(2)
    with pytest.raises(ConfigError, match="is a folder, expected a file"):
        measure(backend, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        measure(backend, tmp_path / "file" / "table.json")
    with pytest.raises(ConfigError, match="rounds: got 0"):
        measure(backend, tmp_path / "table.json", rounds=0)
    with pytest.raises(ValueError, match="at least one to measure"):
        profile_specs([conv(1, kind="none")], backend, device=DEVICE, path=tmp_path / "t.json")
    assert backend.runs == []


def test_summary_names_file_counts_spread_and_the_next_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("latency_tables") / "simulated" / "torch-eager-fp32-b1-t1.json"
    measure(simulated(2), path)
    lines = measure(simulated(5), path).summary()
    assert lines[0].startswith(f"{path}: 3 operations measured, 2 kept, in ")
    assert "0.0% at the median operation" in lines[1]
    assert lines[2] == "next: nas search latency.table=simulated/torch-eager-fp32-b1-t1"
    assert measure(simulated(2), Path("mine.json")).summary()[2] == "next: nas search latency.table=mine.json"


@pytest.mark.parametrize(("noise", "busy"), [(0.01, False), (0.5, True)])
def test_summary_tells_when_the_machine_was_busy(noise: float, busy: bool, path: Path) -> None:
    backend = SimulatedBackend({conv(c): 1.0 for c in range(1, 9)}, noise=noise)
    assert any("idle machine" in line for line in measure(backend, path, rounds=10).summary()) is busy
