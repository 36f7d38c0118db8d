"""Files that are no latency table: every defect is refused in one line."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas.cost import (
    load_table,
    save_table,
)
from nas.ops import OpSpec
from tests.cost.small_tables import conv, refused


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


@pytest.mark.parametrize(
    ("field", "value"),
    [("clock", "sundial"), ("clock", None), ("clock", 1), ("cuda_graphs", None), ("cuda_graphs", "yes"), ("cuda_graphs", 1)],
)
def test_a_clock_that_is_none_and_graphs_that_are_neither_used_nor_not_are_refused(
    field: str, value: object, table_file: Path
) -> None:
    raw = json.loads(table_file.read_text())
    raw["protocol"][field] = value
    table_file.write_text(json.dumps(raw))
    assert f"{field}: got " in refused(table_file)


@pytest.mark.parametrize("value", [None, "no", 0])
def test_an_entry_states_a_graph_or_none(value: object, table_file: Path) -> None:
    raw = json.loads(table_file.read_text())
    next(iter(raw["entries"].values()))["cuda_graph"] = value
    table_file.write_text(json.dumps(raw))
    assert "cuda_graph: got " in refused(table_file)


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


def test_a_file_larger_than_any_table_is_not_read_to_its_end(table_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = table_file.stat().st_size
    monkeypatch.setattr("nas.cost.latency_table.MAX_BYTES", size)
    load_table(table_file)
    monkeypatch.setattr("nas.cost.latency_table.MAX_BYTES", size - 1)
    assert f"got more than {size - 1} bytes" in refused(table_file)
