"""A thousand mutated table files: each is refused with a reason in one line, or says exactly what was written."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.cost import Entry, LatencyTable, Origin, ProtocolInfo, Reference, RuntimeInfo, load_table, save_table
from nas.cost.calibration import Calibration, Quality
from nas.cost.latency_table import dump_table
from nas.devices.runtime_name import RuntimeName
from nas.devices.this_machine import DeviceInfo
from nas.errors import TableError
from nas.ops import OpSpec

NAME = "torch-eager-fp32-b1-t1"
QUALITY = Quality(bias=-0.01, mape=0.03, rmse_ms=1.5, within_5=0.8, within_10=1.0, spearman=0.97, kendall=0.9, inside_bar=0.92)
CALIBRATION = Calibration(
    space="lgcnet",
    input=(360, 480),
    init_channels=40,
    overhead_ms=0.5,
    gap_ms=0.01,
    compute_scale=1.02,
    memory_scale=0.9,
    bar=0.08,
    coverage=0.9,
    fitted=25,
    judged=25,
    held_out=QUALITY,
    noise_floor=0.02,
    measured_at="2026-01-03T03:04:05+00:00",
)
SPECS = [
    OpSpec(kind=kind, in_channels=c, height=6, width=8, out_channels=c, out_height=6, out_width=8, kernel=3)
    for kind, c in [("relu_conv_bn", 8), ("max_pool", 8), ("relu_conv_bn", 16)]
]
TABLE = LatencyTable(
    device=DeviceInfo(name="box", power_mode="performance", clocks="400-3600 MHz"),
    runtime=RuntimeInfo.of(RuntimeName(backend="torch-eager"), version="2.13.0"),
    protocol=ProtocolInfo(warmup=1, rounds=10, calls="one", statistic="median", threads=1),
    measured_at="2026-01-02T03:04:05+00:00",
    entries={
        spec.key: Entry(4.0 + i, 3.0 + i, 9.0 + i, 10, stable=i > 0, energy_mj=0.5 if i == 1 else None)
        for i, spec in enumerate(SPECS)
    },
    reference=Reference(SPECS[0].key, 4.25),
    clocks_before="2000 MHz",
    calibrations=(CALIBRATION,),
    origin=Origin(kind="estimated", source="a model of the device", caveats=("not measured",)),
    system={"os": "Ubuntu 18.04", "jetpack": "4.6.1"},
    temperature_before="GPU 41.5 C",
    temperature_after="GPU 62 C",
    throttled=("sw_thermal_slowdown",),
)
OPTIONAL = ("origin", "system", "temperature_before", "temperature_after", "throttled", "energy_mj")
"""Fields that may be missing: as a whole, the facts of `system` and the texts of lists each."""
TEXT = dump_table(TABLE)
RAW: dict[str, Any] = json.loads(TEXT)
WRONG = [None, True, False, 0, -1, -0.5, 1.5, 10**400, "", " ", "x", [], {}, [1], {"a": 1}]
CONSTANTS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"]

Path_ = tuple[Any, ...]


def at(raw: Any, path: Path_) -> Any:
    for name in path:
        raw = raw[name]
    return raw


def places(raw: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The path of every value, the outermost first."""
    yield path
    children = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    for name, child in children:
        yield from places(child, (*path, name))


def changed(path: Path_, value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(RAW)
    at(raw, path[:-1])[path[-1]] = value
    return raw


def structural() -> Iterator[tuple[str, str]]:
    """Every field missing, with each wrong value, with an unknown neighbour, and stated twice."""
    for path in [place for place in places(RAW) if place]:
        where = ".".join(map(str, path))
        removed = copy.deepcopy(RAW)
        del at(removed, path[:-1])[path[-1]]
        yield f"{where} missing", json.dumps(removed)
        for value in WRONG:
            yield f"{where} = {value!r:.20}", json.dumps(changed(path, value))
        for constant in CONSTANTS:
            yield f"{where} = {constant}", json.dumps(changed(path, "@")).replace('"@"', constant)
        if isinstance(at(RAW, path), dict):
            yield f"{where} with more", json.dumps(changed((*path, "extra"), 1))
        if isinstance(path[-1], str):
            twin = json.dumps({path[-1]: at(RAW, path)})[1:-1]
            yield f"{where} twice", json.dumps(changed(path, "@")).replace('"@"', json.dumps(at(RAW, path)) + ", " + twin)


def rewritten() -> Iterator[tuple[str, str]]:
    """Values that are well-formed, but of another thing."""
    entry = RAW["entries"][SPECS[0].key]
    for name, value in [("name", "phone"), ("name", "../box"), ("name", "Box"), ("power_mode", "eco")]:
        yield f"device.{name} {value}", json.dumps(changed(("device", name), value))
    for name, value in [
        ("version", "1"),
        ("batch", 2),
        ("threads", 4),
        ("precision", "int8"),
        ("backend", "tensorrt"),
        ("name", "x"),
    ]:
        yield f"runtime.{name} {value}", json.dumps(changed(("runtime", name), value))
    for version in [1, 3, "2", 2.0, True]:
        yield f"version {version!r}", json.dumps({**RAW, "format_version": version})
    for bounds in [(5.0, 4.0, 9.0), (3.0, 10.0, 9.0), (3.0, 3.0, 2.0), (3.0, 4.0, 3.5), (-3.0, 4.0, 9.0)]:
        names = dict(zip(("p10_ms", "median_ms", "p90_ms"), bounds, strict=True))
        yield f"order {bounds}", json.dumps(changed(("entries", SPECS[0].key), {**entry, **names}))
    for old, new in [
        ("in=8x", "in=08x"),
        ("k=3", "k=3.0"),
        (" g=1", ""),
        ("relu_conv_bn", "identity"),
        ("=8x6", "=8x0"),
        (" ", "  "),
    ]:
        entries = {key.replace(old, new): value for key, value in RAW["entries"].items()}
        yield f"key {old!r} -> {new!r}", json.dumps({**RAW, "entries": entries})
    yield "calibration twice", json.dumps({**RAW, "calibrations": RAW["calibrations"] * 2})


def torn(draw: random.Random, count: int) -> Iterator[tuple[str, str]]:
    for _ in range(count):
        length = draw.randrange(len(TEXT.rstrip()))
        yield f"first {length} characters", TEXT[:length]


def garbled(draw: random.Random, count: int) -> Iterator[tuple[str, str]]:
    """A few characters overwritten, dropped, doubled or swapped at random."""
    for number in range(count):
        text = TEXT
        for _ in range(draw.randrange(1, 4)):
            place, length = draw.randrange(len(text)), draw.randrange(1, 6)
            piece = text[place : place + length]
            new = draw.choice(["", piece * 2, piece[::-1], draw.choice('0123456789-.,:{}[]"eE tn\\\u0661\x00')])
            text = text[:place] + new + text[place + length :]
        yield f"garbled {number}", text


def combined(draw: random.Random, count: int) -> Iterator[tuple[str, str]]:
    """Two values swapped."""
    everywhere = [place for place in places(RAW) if place]
    for _ in range(count):
        one, other = draw.sample(everywhere, 2)
        if one == other[: len(one)] or other == one[: len(other)]:
            continue
        raw = changed(one, copy.deepcopy(at(RAW, other)))
        at(raw, other[:-1])[other[-1]] = copy.deepcopy(at(RAW, one))
        yield f"{one} and {other} swapped", json.dumps(raw)


def all_mutations() -> list[tuple[str, str]]:
    draw = random.Random(5)
    made = [*structural(), *rewritten(), *torn(draw, 200), *garbled(draw, 400), *combined(draw, 200)]
    return [(name, text) for name, text in made if text != TEXT]


def says(text: str) -> Any:
    """What a text says to a reader that knows nothing of tables."""
    return json.loads(text, parse_constant=lambda constant: pytest.fail(f"a table with {constant} was accepted"))


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_every_mutation_is_refused_in_one_line_or_loaded_exactly_as_written(tmp_path: Path, every: int) -> None:
    path = tmp_path / "latency_tables" / "box" / f"{NAME}.json"
    path.parent.mkdir(parents=True)
    mutations = all_mutations()[::every]
    accepted = []
    for name, text in mutations:
        path.write_text(text, encoding="utf-8")
        try:
            table = load_table(path)
        except TableError as error:
            message = str(error)
            assert message.startswith(f"{path}: "), name
            assert "\n" not in message, name
            assert len(message) > len(f"{path}: ") + 10, name
        else:
            accepted.append(name)
            assert says(dump_table(table)) == says(text), name
            assert text.count("{") >= 3, name
    assert len(mutations) >= 1000 // every
    assert len(accepted) < 0.2 * len(mutations)


def test_no_field_may_be_missing_twice_or_not_a_number(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    certain = [
        (name, text)
        for name, text in structural()
        if name.endswith((" missing", " twice", "with more", *(f"= {c}" for c in CONSTANTS)))
        and not (name.startswith(("entries.", "calibrations.0 ")) and name.endswith("g=1 missing"))
        and name not in {"calibrations.0 missing", "origin.caveats.0 missing"}
        and not (name.endswith(" missing") and (name.split()[-2].rpartition(".")[2] in OPTIONAL or name.startswith("system.")))
    ]
    assert len(certain) > 400
    for name, text in certain:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(TableError):
            pytest.fail(f"accepted: {name}, {load_table(path)}")


def test_a_table_of_another_device_or_runtime_is_refused_under_the_name_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("latency_tables") / "box" / f"{NAME}.json"
    save_table(TABLE, path)
    assert load_table(f"box/{NAME}") == TABLE
    for device, runtime in [("phone", NAME), ("box", NAME.replace("b1", "b2")), ("box", NAME.replace("torch-eager", "tensorrt"))]:
        raw = changed(("device", "name"), device)
        parts = RuntimeName.from_full(runtime)
        assert parts is not None
        raw["runtime"].update(name=runtime, batch=parts.batch, backend=parts.backend)
        path.write_text(json.dumps(raw))
        with pytest.raises(TableError, match=f"got a table for {device}/{runtime}, expected one for box/{NAME}"):
            load_table(f"box/{NAME}")


def test_the_table_that_is_mutated_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(RAW))
    assert load_table(path) == TABLE
