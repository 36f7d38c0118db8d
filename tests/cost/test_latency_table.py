"""Latency tables: costs, the file and its defects."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from nas.cost import (
    Entry,
    LatencyTable,
    MacsTable,
    Origin,
    ProtocolInfo,
    Reference,
    RuntimeInfo,
    load_table,
    save_table,
)
from nas.cost.calibration import Calibration, Quality
from nas.cost.latency_table import dump_table, parse_table
from nas.devices.identity import DeviceInfo
from nas.devices.runtime_name import RuntimeName
from nas.errors import TableError
from nas.ops import OpSpec

RUNTIME = RuntimeName(backend="torch-eager")
NAME = "torch-eager-fp32-b1-t1"


def conv(channels: int, *, kind: str = "relu_conv_bn") -> OpSpec:
    return OpSpec(kind=kind, in_channels=channels, height=6, width=8, out_channels=channels, out_height=6, out_width=8, kernel=3)


def table(*channels: int, device: str = "box") -> LatencyTable:
    return LatencyTable(
        device=DeviceInfo(name=device, power_mode="performance", clocks="400-3600 MHz"),
        runtime=RuntimeInfo.of(RUNTIME, version="2.13.0"),
        protocol=ProtocolInfo(warmup=1, rounds=10, calls="one", statistic="median", threads=1),
        measured_at="2026-01-02T03:04:05+00:00",
        entries={conv(c).key: Entry(0.5 * c, 0.4 * c, 0.7 * c, 10, stable=c != 16) for c in channels},
        reference=Reference(conv(5).key, 2.5),
        clocks_before="2000 MHz",
        calibrations=(calibration("lgcnet"), calibration("cas", channels=16)),
    )


def calibration(space: str, *, channels: int = 40, **changes: Any) -> Calibration:
    quality = Quality(bias=-0.01, mape=0.03, rmse_ms=1.5, within_5=0.8, within_10=1.0, spearman=0.97, kendall=0.9, inside_bar=0.92)
    fields: dict[str, Any] = {
        "space": space,
        "input": (360, 480),
        "init_channels": channels,
        "overhead_ms": 0.5,
        "gap_ms": 0.01,
        "compute_scale": 1.02,
        "memory_scale": 0.9,
        "bar": 0.08,
        "coverage": 0.9,
        "fitted": 25,
        "judged": 25,
        "held_out": quality,
        "noise_floor": 0.02,
        "measured_at": "2026-01-03T03:04:05+00:00",
    }
    return Calibration(**{**fields, **changes})


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
    assert old.calibration("lgcnet", (360, 480), 40) == calibration("lgcnet")
    assert old.calibration("cas", (360, 480), 16) == calibration("cas", channels=16)
    for key in [("lgcnet", (360, 480), 16), ("lgcnet", (480, 360), 40), ("gas", (360, 480), 40)]:
        assert old.calibration(*key) is None
    again = old.with_calibration(calibration("lgcnet", gap_ms=0.5))
    found = again.calibration("lgcnet", (360, 480), 40)
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
    entries = {**table(8).entries, conv(16).key: Entry(1.0, 1.0, 1.0, 1, energy_mj=2.5)}
    full = replace(
        table(8),
        entries=entries,
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
    assert "energy_mj" not in raw["entries"][conv(8).key]
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


def entries_of(raw: dict[str, Any]) -> dict[str, Any]:
    return raw["entries"]  # type: ignore[no-any-return]


def rename(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    def mutate(raw: dict[str, Any]) -> None:
        raw["entries"] = {key.replace(old, new): value for key, value in entries_of(raw).items()}

    return mutate


def put(*path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Set the field at `path`; `*` is the first entry."""

    def mutate(raw: dict[str, Any]) -> None:
        target: Any = raw
        for name in path[:-1]:
            target = target[next(iter(target)) if name == "*" else name]
        target[next(iter(target)) if path[-1] == "*" else path[-1]] = value

    return mutate


def drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def mutate(raw: dict[str, Any]) -> None:
        target: Any = raw
        for name in path[:-1]:
            target = target[next(iter(target)) if name == "*" else name]
        del target[path[-1]]

    return mutate


FIELDS = {
    (): ("format_version", "device", "runtime", "protocol", "measured_at", "clocks_before", "clocks_after", "reference")
    + ("calibrations", "entries"),
    ("device",): ("name", "power_mode", "clocks"),
    ("runtime",): ("name", "backend", "version", "precision", "batch", "threads"),
    ("protocol",): ("warmup", "rounds", "max_rounds", "ci", "calls", "statistic", "reference", "threads"),
    ("reference",): ("key", "median_ms"),
    ("entries", "*"): ("median_ms", "p10_ms", "p90_ms", "n", "stable"),
}
NULLABLE = {("device", "power_mode"), ("device", "clocks"), ("clocks_before",), ("clocks_after",), ("reference",)}


def is_valid(at: tuple[str, ...], value: object) -> bool:
    """Whether a field may have a value that is none of most others."""
    return (value is None and at in NULLABLE) or (value is True and at[-1] == "stable") or (value == [] and at == ("calibrations",))


DEFECTS: dict[str, Callable[[dict[str, Any]], None]] = {
    **{f"without {'.'.join((*at, f))}": drop(*at, f) for at, fields in FIELDS.items() for f in fields},
    **{f"unknown field in {'.'.join(at) or 'table'}": put(*at, "extra", value=1) for at in FIELDS},
    **{
        f"{'.'.join((*at, f))} = {value!r}": put(*at, f, value=value)
        for at, fields in FIELDS.items()
        for f in fields
        for value in (None, True, [], {"a": 1}, "", -1)
        if not is_valid((*at, f), value)
    },
    **{
        f"{f} = {value}": put("entries", "*", f, value=value)
        for f in ("median_ms", "p10_ms", "p90_ms")
        for value in (float("nan"), float("inf"), float("-inf"), 0, 0.0, -0.001, "4.0", 10**400)
    },
    "p10 above median": put("entries", "*", "p10_ms", value=8.001),
    "p90 below median": put("entries", "*", "p90_ms", value=7.999),
    "no sample": put("entries", "*", "n", value=0),
    "half a sample": put("entries", "*", "n", value=1.5),
    "entry is a number": put("entries", "*", value=4.0),
    "later format": put("format_version", value=3),
    "earlier format": put("format_version", value=1),
    "format as text": put("format_version", value="2"),
    "format as fraction": put("format_version", value=2.0),
    "more rounds than the most": put("protocol", "rounds", value=31),
    "interval of zero": put("protocol", "ci", value=0.0),
    "interval as wide as the median": put("protocol", "ci", value=1.0),
    "stable as a number": put("entries", "*", "stable", value=1),
    "reference takes no time": put("reference", "median_ms", value=0.0),
    "reference takes forever": put("reference", "median_ms", value=float("inf")),
    "reference is no key": put("reference", "key", value="conv"),
    "reference is free": put("reference", "key", value=conv(8, kind="identity").key),
    "calibrations as an object": put("calibrations", value={}),
    "calibration twice": lambda raw: raw["calibrations"].append(raw["calibrations"][0]),
    "half a calibration": lambda raw: raw["calibrations"][0].pop("bar"),
    "negative scale": lambda raw: raw["calibrations"][0].update(compute_scale=-1.0),
    "name of another runtime": put("runtime", "name", value="torch-eager-fp32-b2-t1"),
    "batch of another runtime": put("runtime", "batch", value=2),
    "threads of another protocol": put("protocol", "threads", value=4),
    "unknown precision": put("runtime", "precision", value="fp8"),
    "device with a slash": put("device", "name", value="a/b"),
    "device going up": put("device", "name", value=".."),
    "no date": put("measured_at", value="yesterday"),
    "date without offset": put("measured_at", value="2026-01-02T03:04:05"),
    "leading zero": rename("in=8x", "in=08x"),
    "other digits": rename("in=8x", "in=\u0668x"),
    "no kind": rename("relu_conv_bn ", ""),
    "cut key": rename(" g=1", ""),
    "trailing blank": rename("g=1", "g=1 "),
    "negative size": rename("in=8x6", "in=8x-6"),
    "size zero": rename("in=8x6", "in=8x0"),
    "fraction": rename("k=3", "k=3.0"),
    "upper case": rename("relu_conv_bn", "Conv"),
    "free operation": rename("relu_conv_bn", "identity"),
}


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    path = tmp_path / "table.json"
    save_table(table(8, 16), path)
    return path


def refused(path: Path) -> str:
    with pytest.raises(TableError) as caught:
        load_table(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


def test_there_are_more_than_a_hundred_defects() -> None:
    assert len(DEFECTS) > 100


@pytest.mark.parametrize("defect", DEFECTS)
def test_defective_table_is_refused_in_one_line_with_its_file(defect: str, table_file: Path) -> None:
    raw = json.loads(table_file.read_text())
    DEFECTS[defect](raw)
    table_file.write_text(json.dumps(raw))
    refused(table_file)


def test_refusal_names_the_key_of_the_entry(table_file: Path) -> None:
    raw = json.loads(table_file.read_text())
    raw["entries"][conv(16).key]["n"] = 0
    table_file.write_text(json.dumps(raw))
    assert conv(16).key in refused(table_file)


@pytest.mark.parametrize("words", [" e=6", " sw=20", " e=6 sw=20"])
def test_an_entry_may_state_expansion_and_a_second_stride(words: str, table_file: Path) -> None:
    raw = json.loads(table_file.read_text())
    raw["entries"][conv(16).key + words] = raw["entries"][conv(16).key]
    table_file.write_text(json.dumps(raw))
    table = load_table(table_file)
    save_table(table, table_file)
    assert load_table(table_file) == table
    assert table.cost(OpSpec.from_key(conv(16).key + words)) == table.cost(conv(16))


@pytest.mark.parametrize("words", [" e=1", " sw=0", " e=0", " sw=20 e=6", " e=06"])
def test_a_key_that_states_what_goes_without_saying_is_refused(words: str, table_file: Path) -> None:
    raw = json.loads(table_file.read_text())
    raw["entries"][conv(16).key + words] = raw["entries"].pop(conv(16).key)
    table_file.write_text(json.dumps(raw))
    assert words.strip() in refused(table_file)


@pytest.mark.parametrize("name", ["median_ms", conv(8).key, "device", "batch"])
def test_duplicate_names_are_refused(name: str, table_file: Path) -> None:
    line = next(line for line in table_file.read_text().splitlines() if f'"{name}"' in line)
    start = line.index(f'"{name}"')
    once = {"device": '"device": {}, '}.get(name, f'"{name}": 1, ')
    table_file.write_text(table_file.read_text().replace(line, line[:start] + once + line[start:], 1))
    assert "twice" in refused(table_file)


def test_every_truncation_is_refused(table_file: Path) -> None:
    text = table_file.read_text().rstrip()
    draw = random.Random(0)
    for length in [0, 1, len(text) - 1, *(draw.randrange(len(text)) for _ in range(40))]:
        table_file.write_text(text[:length])
        refused(table_file)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe{}", b"[]", b"null", b"[" * 100_000, b"PK\x03\x04", b'{"format_version": 1e999}']
)
def test_what_is_no_table_at_all_is_refused(content: bytes, table_file: Path) -> None:
    table_file.write_bytes(content)
    refused(table_file)
