"""Latency tables: costs, what a table holds, and its file."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from nas.cost import (
    Entry,
    MacsTable,
    Origin,
    load_table,
    save_table,
)
from nas.cost.latency_table import dump_table, parse_table
from nas.errors import TableError
from nas.space.deployment import Deployment
from tests.cost.small_tables import NAME, calibration, conv, refused, table


def test_cost_is_the_median_of_the_entry() -> None:
    assert table(8, 16).cost(conv(16)) == 8.0
    assert table(8).unit == "ms"
    assert table(8).identifier == f"box/{NAME}"


@pytest.mark.parametrize("kind", ["identity", "none"])
def test_operations_that_execute_nothing_cost_zero_and_are_never_missing(kind: str) -> None:
    assert table().cost(conv(8, kind=kind)) == 0.0
    assert table().missing([conv(8, kind=kind)]) == []


def test_cost_of_an_unmeasured_operation_is_refused_not_zero() -> None:
    with pytest.raises(TableError, match="relu_conv_bn in=16x6x8 .* was not measured"):
        table(8).cost(conv(16))


def test_missing_lists_each_unmeasured_operation_once() -> None:
    assert table(8).missing([conv(32), conv(8), conv(16), conv(32)]) == [conv(16), conv(32)]


def test_require_names_what_is_missing_and_the_command_in_two_lines() -> None:
    with pytest.raises(TableError) as caught:
        table(1).require([conv(c) for c in range(1, 10)], command="nas profile space=lgcnet")
    first, second = str(caught.value).split("\n")
    assert "8 of 9 operations" in first
    assert first.count("relu_conv_bn") == 5
    assert first.endswith("and 3 more")
    assert second == "measure them with: nas profile space=lgcnet"


def test_require_passes_when_everything_is_there() -> None:
    table(8).require([conv(8), conv(3, kind="none")], command="")


def test_a_table_cannot_be_changed() -> None:
    frozen = table(8)
    with pytest.raises(TypeError):
        frozen.entries["x"] = Entry(1, 1, 1, 1)  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        frozen.measured_at = "now"  # type: ignore[misc]


def test_macs_table_counts_products_of_the_convolution() -> None:
    products = sum(1 for _ in range(6 * 8) for _ in range(4 * 4) for _ in range(3 * 3))
    assert MacsTable().cost(conv(4)) == products / 1e6
    assert MacsTable().cost(conv(4, kind="identity")) == 0.0
    assert MacsTable().missing([conv(4)]) == []
    assert MacsTable().unit == "MMACs"


def test_a_calibration_is_found_by_space_and_shape_and_replaced_by_a_new_one() -> None:
    old = table(8)
    assert old.calibration("lgcnet", Deployment((360, 480), 40, 11)) == calibration("lgcnet")
    assert old.calibration("cas", Deployment((360, 480), 16, 19)) == calibration("cas", channels=16)
    for space, size, channels in [("lgcnet", (360, 480), 16), ("lgcnet", (480, 360), 40), ("gas", (360, 480), 40)]:
        assert old.calibration(space, Deployment(size, channels, 11)) is None
    again = old.with_calibration(calibration("lgcnet", gap_ms=0.5))
    found = again.calibration("lgcnet", Deployment((360, 480), 40, 11))
    assert found is not None
    assert found.gap_ms == 0.5
    assert len(again.calibrations) == 2
    assert replace(again, calibrations=old.calibrations) == old
    assert len(again.with_calibration(calibration("gas")).calibrations) == 3


def test_calibrations_of_one_key_twice_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got two for space lgcnet at \(360, 480\), 40 channels"):
        replace(table(8), calibrations=(calibration("lgcnet"), calibration("lgcnet", bar=0.1)))


def test_the_order_of_calibrations_does_not_matter() -> None:
    one, other = table(8), replace(table(8), calibrations=tuple(reversed(table(8).calibrations)))
    assert one == other


def test_a_file_has_one_entry_and_one_calibration_a_line(table_file: Path) -> None:
    lines = [line.strip() for line in table_file.read_text().splitlines()]
    assert sum(line.startswith('"relu_conv_bn ') for line in lines) == 2
    assert sum(line.startswith('{"space": ') for line in lines) == 2


def test_the_result_of_a_worker_is_no_table_yet_and_the_command_that_makes_one_is_named(table_file: Path) -> None:
    table_file.write_text(json.dumps({"format_version": 1, "job": {}, "timings": [], "checksum": ""}))
    message = refused(table_file)
    assert message.endswith(f"expected a latency table; make one of it by nas profile import file={table_file}")


def test_a_table_of_the_first_format_is_refused_with_what_to_do(table_file: Path) -> None:
    raw = json.loads(table_file.read_text())
    for name in ("reference", "calibrations", "clocks_before", "clocks_after"):
        del raw[name]
    for entry in raw["entries"].values():
        del entry["stable"]
    table_file.write_text(json.dumps({**raw, "format_version": 1}))
    message = refused(table_file)
    assert "format_version: got 1, expected 2" in message
    assert "measure again with nas profile" in message


def test_saved_table_loads_equal_and_saves_to_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "deep" / "a.json", tmp_path / "b.json"
    save_table(table(16, 8), first)
    loaded = load_table(first)
    save_table(loaded, second)
    assert loaded == table(8, 16)
    assert first.read_bytes() == second.read_bytes()
    assert list(json.loads(first.read_text())["entries"]) == sorted(loaded.entries)


def test_empty_table_survives_the_file(tmp_path: Path) -> None:
    save_table(table(), tmp_path / "a.json")
    assert load_table(tmp_path / "a.json") == table()


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    save_table(table(8), path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(step, fail)
    with pytest.raises(OSError, match="disk full"):
        save_table(table(8, 16), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


SHIPPED = sorted((Path(__file__).resolve().parents[2] / "latency_tables").glob("*/*.json"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_shipped_tables_are_written_as_they_stand(path: Path) -> None:
    assert dump_table(parse_table(path.read_text())) == path.read_text()


def test_a_file_has_what_is_optional_only_where_it_says_something(tmp_path: Path) -> None:
    plain = json.loads(dump_table(table(8, 16)))
    names = {"origin", "system", "temperature_before", "temperature_after", "throttled"}
    assert names.isdisjoint(plain)
    assert all("energy_mj" not in entry for entry in plain["entries"].values())
    assert all("cuda_graph" not in entry for entry in plain["entries"].values())
    assert {"clock", "cuda_graphs", "implementation"}.isdisjoint(plain["protocol"])
    entries = {**table(8).entries, conv(16).key: Entry(1.0, 1.0, 1.0, 1, energy_mj=2.5, cuda_graph=False)}
    full = replace(
        table(8),
        entries=entries,
        protocol=replace(table(8).protocol, clock="gpu-time", cuda_graphs=True, implementation="nas.worker 2"),
        origin=Origin(kind="published", source="a paper", caveats=("old", "one")),
        system={"os": "Ubuntu 18.04"},
        temperature_before="GPU 40 C",
        temperature_after="GPU 61.5 C",
        throttled=("sw_power_cap",),
    )
    save_table(full, tmp_path / "full.json")
    raw = json.loads((tmp_path / "full.json").read_text())
    assert names < set(raw)
    assert raw["origin"] == {"kind": "published", "source": "a paper", "caveats": ["old", "one"]}
    assert raw["entries"][conv(16).key]["energy_mj"] == 2.5
    assert raw["entries"][conv(16).key]["cuda_graph"] is False
    assert {"energy_mj", "cuda_graph"}.isdisjoint(raw["entries"][conv(8).key])
    assert (raw["protocol"]["clock"], raw["protocol"]["cuda_graphs"]) == ("gpu-time", True)
    assert load_table(tmp_path / "full.json") == full
    with pytest.raises(TypeError):
        full.system["os"] = "another"  # type: ignore[index]


@pytest.mark.parametrize(
    "change",
    [
        {"origin": None},
        {"origin": {}},
        {"origin": {"kind": "measured", "source": "x", "caveats": []}},
        {"origin": {"kind": "published", "source": " ", "caveats": []}},
        {"origin": {"kind": "published", "source": "x"}},
        {"origin": {"kind": "published", "source": "x", "caveats": [""]}},
        {"origin": {"kind": "published", "source": "x", "caveats": "y"}},
        {"origin": {"kind": "published", "source": "x", "caveats": [], "more": 1}},
        {"system": None},
        {"system": {}},
        {"system": {"os": ""}},
        {"system": {"": "Linux"}},
        {"system": {"os": 4}},
        {"system": []},
        {"temperature_before": None},
        {"temperature_after": " "},
        {"temperature_after": 41.5},
        {"throttled": []},
        {"throttled": "heat"},
        {"throttled": [""]},
        {"throttled": [1]},
        {"throttle": ["heat"]},
    ],
    ids=str,
)
def test_optional_fields_that_say_nothing_or_something_else_are_refused(change: dict[str, Any], table_file: Path) -> None:
    table_file.write_text(json.dumps({**json.loads(table_file.read_text()), **change}))
    assert next(iter(change)) in refused(table_file)


@pytest.mark.parametrize("energy", [None, 0, -1.0, "2", True, 10**400, float("nan")])
def test_energy_that_no_call_takes_is_refused(energy: object, table_file: Path) -> None:
    raw = json.loads(table_file.read_text())
    raw["entries"][conv(16).key]["energy_mj"] = energy
    table_file.write_text(json.dumps(raw))
    refused(table_file)


@pytest.mark.parametrize(
    "change", [{"temperature_after": ""}, {"throttled": (" ",)}, {"system": {"os": ""}}, {"system": {" ": "Linux"}}], ids=str
)
def test_a_table_does_not_hold_texts_that_its_file_cannot_state(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected a text"):
        replace(table(8), **change)
