"""Stage `profile` on a simulated device: order, tables and summaries; test_profiling_job.py runs it for real.

What it recovers is tested in test_profiling_accuracy.py, how it goes on after a stop in test_profiling_stops.py.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.cost import load_table
from nas.devices.this_machine import DeviceInfo
from nas.errors import ConfigError, TableError
from nas.measuring.effort import Effort
from nas.measuring.table_filling import ProfileResult, entry_of, journal_path
from nas.worker.readings import Reading
from nas.worker.rounds import num_calls
from tests.simulated_device import RUNTIME, PowerCutError, SimulatedDevice, conv, profile_specs

DEVICE = DeviceInfo(name="simulated")


def simulated(path: Path, count: int = 6, **kwargs: Any) -> SimulatedDevice:
    return SimulatedDevice({conv(c): 0.07 * 2.0**c for c in range(1, count + 1)}, journal_path(path), **kwargs)


def measure(backend: SimulatedDevice, path: Path, *, rounds: int = 4, **kwargs: Any) -> ProfileResult:
    effort = Effort(**{"rounds": rounds, "max_rounds": rounds, **kwargs.pop("effort", {})})
    return profile_specs(list(backend.times), backend, device=DEVICE, path=path, effort=effort, **kwargs)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal_path(path).read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tables" / "table.json"


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
    backend = simulated(path, 8)

    def look(done: int, total: int) -> None:
        assert (done, total) == (len(order) + 1, 8 * 5)
        order.append(lines_of(path)[-1]["key"])

    measure(backend, path, rounds=5, on_progress=look)
    rounds = [tuple(order[start : start + 8]) for start in range(0, 40, 8)]
    assert all(set(keys) == {spec.key for spec in backend.times} for keys in rounds)
    assert len(set(rounds)) == 5


@pytest.mark.parametrize(("count", "expected"), [(10, "R4R4R2R4R4R2R4R4R2R"), (8, "R4R4R4R4R4R4R"), (3, "R3R3R3R"), (1, "R1R1R1R")])
def test_the_reference_is_timed_first_every_four_samples_and_last_in_each_round(count: int, expected: str, path: Path) -> None:
    lines: list[dict[str, Any]] = []
    measure(simulated(path, count), path, rounds=3, read_clocks=lambda: lines.extend(journal_lines(path)))
    pattern = "".join("R" if "reference" in line else "." for line in lines)
    assert pattern == "".join("." * int(sign) if sign.isdigit() else sign for sign in expected)
    assert [line["round"] for line in lines] == sorted(line["round"] for line in lines)
    assert len({line["calls"] for line in lines if "reference" in line}) == 1


def journal_lines(path: Path) -> list[dict[str, Any]]:
    return lines_of(path)[1:] if journal_path(path).exists() else []


def test_each_sample_has_an_untimed_call_before_it(path: Path) -> None:
    backend = simulated(path, 5)
    measure(backend, path)
    assert sorted(backend.runs[:10]) == [(spec, 1) for spec in sorted(backend.times) for _ in range(2)]
    rest = backend.runs[12:]
    assert all(warm_up == (timed[0], 1) for warm_up, timed in zip(rest[::2], rest[1::2], strict=True))
    assert {calls for spec, calls in rest[1::2]} == {num_calls(ms) for ms in backend.times.values()}


def test_the_expected_number_of_samples_follows_what_is_known(path: Path) -> None:
    backend = simulated(path, 6, noise={conv(2): 0.03, conv(5): 0.5})
    seen: list[tuple[int, int]] = []
    effort = {"max_rounds": 40}
    table = measure(backend, path, effort=effort, rounds=6, on_progress=lambda *progress: seen.append(progress)).table
    samples = sum(entry.n for entry in table.entries.values())
    assert [done for done, _ in seen if done < samples] == list(range(1, samples))
    assert all(done <= total <= 6 * 40 for done, total in seen)
    assert seen[0][1] == 6 * 6
    assert seen[-1] == (samples, samples)
    assert max(total for _, total in seen) == pytest.approx(samples, rel=0.35)


def test_repeated_and_free_operations_are_not_measured(path: Path) -> None:
    backend = simulated(path, 2)
    specs = [*backend.times, *backend.times, conv(1, kind="identity"), conv(2, kind="none")]
    result = profile_specs(specs, backend, device=DEVICE, path=path, effort=Effort(rounds=3))
    assert sorted(result.table.entries) == sorted(spec.key for spec in backend.times)


def test_table_states_device_runtime_and_protocol(path: Path) -> None:
    table = measure(simulated(path, 1), path, rounds=7).table
    assert load_table(path) == table
    assert table.device == DEVICE
    assert (table.runtime.name, table.runtime.version) == ("torch-eager-fp32-b1-t1", "1.0")
    assert (table.protocol.rounds, table.protocol.max_rounds, table.protocol.ci, table.protocol.threads) == (7, 7, 0.02, 1)
    assert "every 4 samples" in table.protocol.reference
    assert not journal_path(path).exists()


def test_missing_operations_are_added_and_the_others_kept_as_they_are(path: Path) -> None:
    old = measure(simulated(path, 3, noise=0.1), path).table
    backend = simulated(path, 5)
    result = measure(backend, path)
    assert {key: result.table.entries[key] for key in old.entries} == dict(old.entries)
    assert old.reference is not None
    assert old.reference.key == conv(2).key
    assert {spec for spec, _ in backend.runs} == {conv(2), conv(4), conv(5)}
    assert result.measured == (conv(4).key, conv(5).key)
    assert result.held == 3
    assert load_table(path) == result.table


def test_when_nothing_is_missing_nothing_is_done_and_the_summary_says_so(path: Path) -> None:
    measure(simulated(path, 3), path)
    before = path.read_bytes()
    backend = simulated(path, 3)
    result = measure(backend, path)
    assert backend.runs == []
    assert path.read_bytes() == before
    assert "nothing to measure" in result.summary()[0]


def other_version(backend: SimulatedDevice) -> dict[str, Any]:
    backend.version = "2.0"
    return {}


def other_runtime(backend: SimulatedDevice) -> dict[str, Any]:
    backend.runtime = replace(RUNTIME, batch=2)
    return {}


CHANGES: dict[str, Any] = {
    "device.name is 'simulated' there and 'other' now": lambda _: {"device": DeviceInfo(name="other")},
    "device.power_mode is None there and 'eco' now": lambda _: {"device": replace(DEVICE, power_mode="eco")},
    "protocol.rounds is 4 there and 3 now": lambda _: {"effort": Effort(rounds=3, max_rounds=4)},
    "protocol.max_rounds is 4 there and 5 now": lambda _: {"effort": Effort(rounds=4, max_rounds=5)},
    "protocol.ci is 0.02 there and 0.01 now": lambda _: {"effort": Effort(rounds=4, max_rounds=4, ci=0.01)},
    "runtime.version is '1.0' there and '2.0' now": other_version,
    "runtime.batch is 1 there and 2 now": other_runtime,
}


@pytest.mark.parametrize("difference", CHANGES)
def test_table_of_other_conditions_is_refused_with_the_difference(difference: str, path: Path) -> None:
    measure(simulated(path, 2), path)
    before = path.read_bytes()
    backend = simulated(path, 3)
    changed = {"device": DEVICE, "effort": Effort(rounds=4, max_rounds=4), **CHANGES[difference](backend)}
    with pytest.raises(TableError) as caught:
        profile_specs(list(backend.times), backend, path=path, **changed)
    assert difference in str(caught.value)
    assert "out=" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert backend.runs == []
    assert path.read_bytes() == before


def test_journal_of_other_conditions_stops_the_run_before_it_measures(path: Path) -> None:
    first = simulated(path, 2)
    first.fail_at = 2 * 2 + 2 + 2 * 3
    with pytest.raises(PowerCutError):
        measure(first, path)
    before = journal_path(path).read_bytes()
    backend = simulated(path, 2)
    with pytest.raises(TableError, match="protocol.rounds is 4 there and 5 now"):
        measure(backend, path, rounds=5)
    assert backend.runs == []
    assert journal_path(path).read_bytes() == before


def test_wrong_targets_are_refused_before_measuring(tmp_path: Path) -> None:
    backend = simulated(tmp_path / "table.json", 2)
    with pytest.raises(ConfigError, match="is a folder, expected a file"):
        measure(backend, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        measure(backend, tmp_path / "file" / "table.json")
    with pytest.raises(ValueError, match="at least one to measure"):
        profile_specs([conv(1, kind="none")], backend, device=DEVICE, path=tmp_path / "t.json")
    assert backend.runs == []


def test_summary_names_file_counts_spread_and_the_next_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("latency_tables") / "simulated" / "torch-eager-fp32-b1-t1.json"
    measure(simulated(path, 2), path)
    lines = measure(simulated(path, 5), path).summary()
    assert lines[0].startswith(f"{path}: 3 operations measured, 2 kept, in ")
    assert "0.0% at the median operation" in lines[1]
    assert lines[2].startswith("drift, corrected: the reference operation went from +0.0% to +0.0% of its 0.280 ms (relu_conv_bn ")
    assert lines[3:] == ["next: nas search latency.table=simulated/torch-eager-fp32-b1-t1"]
    mine = Path("mine.json")
    assert measure(simulated(mine, 2), mine).summary()[-1] == "next: nas search latency.table=mine.json"


@pytest.mark.parametrize(("noise", "busy"), [(0.01, False), (0.5, True)])
def test_summary_tells_when_the_machine_was_busy(noise: float, busy: bool, path: Path) -> None:
    backend = SimulatedDevice({conv(c): 1.0 for c in range(1, 9)}, journal_path(path), noise=noise)
    assert any("idle machine" in line for line in measure(backend, path, rounds=10).summary()) is busy


@pytest.mark.parametrize(
    ("effort", "message"),
    [
        ({"rounds": 0}, "rounds: got 0, expected at least 1"),
        ({"rounds": 31}, "rounds: got 31 with max_rounds=30, expected at most that; give max_rounds=31 or more"),
        ({"max_rounds": 9}, "rounds: got 10 with max_rounds=9"),
        ({"ci": 0.0}, "ci: got 0.0, expected a share above 0"),
        ({"ci": 2.0}, "ci: got 2.0"),
        ({"ci": float("nan")}, "ci: got nan"),
    ],
)
def test_an_effort_that_no_measurement_can_follow_is_refused_by_name(effort: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Effort(**effort)


def test_a_table_without_a_reference_operation_is_not_extended(path: Path) -> None:
    measure(simulated(path, 2), path)
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "reference": None}))
    backend = simulated(path, 3)
    with pytest.raises(TableError, match="names no reference operation"):
        measure(backend, path)
    assert backend.runs == []


def test_what_slows_this_machine_down_while_it_measures_is_in_the_table_and_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alarms: list[int] = []

    def read_state() -> Reading:
        alarms.append(100 + 3 * len(alarms))
        return Reading({"gpu": 314.0}, {"gpu": 61.0}, None, ["hot"], {"sys/class/hwmon/hwmon3/oc3_event_cnt": alarms[-1]})

    with caplog.at_level(logging.WARNING):
        result = measure(simulated(path), path, read_state=read_state)
    table = load_table(str(path))
    assert len(alarms) > 4  # before, after, and once a round
    assert table.throttled == ("hot", f"over-current or low voltage: throttled (oc3_event_cnt rose by {alarms[-1] - 100})")
    assert (table.temperature_before, table.temperature_after) == ("GPU 61.0 C", "GPU 61.0 C")
    assert (table.clocks_before, table.clocks_after) == ("GPU 314 MHz", "GPU 314 MHz")
    (line,) = result.throttled_lines()
    assert line in caplog.messages
    assert line in result.summary()
    assert "hot; over-current" in line


def test_a_run_that_nothing_slows_down_warns_of_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = measure(simulated(path), path)
    assert (result.table.throttled, result.throttled_lines(), caplog.messages) == ((), [], [])
