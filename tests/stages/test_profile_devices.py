"""`nas profile devices`: tables at hand, their age and quality, and what they hold."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nas.config.measuring_jobs import DevicesJob
from nas.config.settings import DeploySettings
from nas.cost import Entry, LatencyTable, Origin, save_table
from nas.cost.calibration import Calibration, Quality
from nas.devices.this_machine import local_names
from nas.errors import ConfigError
from nas.ops import OpSpec
from nas.space.deployment import Deployment
from nas.stages.profile_devices import MOST_INPUTS, DevicesReport, age, devices
from search_spaces import SEARCH_SPACES
from tests.cost.simulated_table import table_of

NAME = "torch-eager-fp32-b1-t1"
TIMES = "calls by wall (cuda-events on a GPU)"
"""What a table of PyTorch says of its times that does not state its clock."""
NOW = datetime(2026, 1, 4, 12, tzinfo=UTC)
SMALL = Deployment((256, 512), 16, 19)
QUALITY = Quality(bias=0.0, mape=0.01, rmse_ms=1.0, within_5=1.0, within_10=1.0, spearman=1.0, kendall=1.0, inside_bar=0.9)


def plan(space: str, shape: Deployment) -> tuple[OpSpec, ...]:
    entry = SEARCH_SPACES[space]
    return entry.build(entry.config()).plan(shape)


def measured(*plans: tuple[str, Deployment], device: str = "board", **changes: Any) -> LatencyTable:
    """A table of all operations that the networks of spaces need at shapes."""
    return table_of({spec: 1.0 for space, shape in plans for spec in plan(space, shape)}, device=device, **changes)


def calibration(space: str, shape: Deployment) -> Calibration:
    return Calibration(
        space=space,
        input=shape.input,
        init_channels=shape.init_channels,
        overhead_ms=0.0,
        gap_ms=0.0,
        compute_scale=1.0,
        memory_scale=1.0,
        bar=0.1,
        coverage=0.9,
        fitted=25,
        judged=25,
        held_out=QUALITY,
        noise_floor=0.01,
        measured_at="2026-01-01T00:00:00+00:00",
    )


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the only tables that names reach."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("nas.files.shipped.tables_dir", lambda: tmp_path / "shipped")
    return Path("latency_tables")


def put(shelf: Path, table: LatencyTable) -> None:
    save_table(table, shelf / f"{table.identifier}.json")


def report(now: datetime = NOW, **job: Any) -> DevicesReport:
    return devices(DevicesJob(**job), SEARCH_SPACES, now=now)


def row_of(lines: list[str], name: str) -> list[str]:
    """Cells of a table's row: columns are two blanks or more apart."""
    return next([cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines if line.startswith(f"{name} "))


def covered(lines: list[str], name: str) -> list[str]:
    """The lines on what a table holds."""
    start = next(i for i, line in enumerate(lines) if line == name)
    return [line.strip() for line in lines[start + 1 : next(j for j in range(start + 1, len(lines)) if lines[j][0] != " ")]]


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(seconds=59), "less than a minute"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(minutes=59, seconds=59), "59 minutes"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(hours=23, minutes=59), "23 hours"),
        (timedelta(days=1), "1 day"),
        (timedelta(days=3, hours=12), "3 days"),
        (timedelta(days=31), "1 month"),
        (timedelta(days=364), "11 months"),
        (timedelta(days=366), "1 year"),
        (timedelta(days=2200), "6 years"),
        (timedelta(minutes=-4), "less than a minute"),
        (timedelta(minutes=-6), "clock of the device was wrong"),
        (timedelta(days=365 * 56), "clock of the device was wrong"),
    ],
)
def test_age_is_in_words(ago: timedelta, words: str) -> None:
    assert age((NOW - ago).isoformat(), NOW) == words


def test_age_minds_offsets_from_utc() -> None:
    assert age("2026-01-04T13:30:00+02:00", NOW) == "30 minutes"


def test_a_table_is_listed_with_what_is_known_of_it(shelf: Path) -> None:
    table = measured(
        ("squeezenas_small", SMALL), calibrations=(calibration("squeezenas_small", SMALL),), throttled=("sw_power_cap",)
    )
    entries = {key: replace(entry, stable=i >= 36) for i, (key, entry) in enumerate(table.entries.items())}
    put(shelf, replace(table, entries=entries))
    origin = Origin(kind="estimated", source="a model")
    put(
        shelf,
        replace(measured(("squeezenas_small", SMALL), device="phone"), measured_at="2031-01-01T00:00:00+00:00", origin=origin),
    )
    lines = report().summary()
    count = str(len(plan("squeezenas_small", SMALL)))
    of_board = ["3 days", "measured", TIMES, "squeezenas_small 256x512", f"{36 / int(count):.0%}", "sw_power_cap"]
    assert row_of(lines, f"board/{NAME}") == [f"board/{NAME}", count, *of_board]
    of_phone = ["clock of the device was wrong", "estimated", "estimated", "no", "-", "no"]
    assert row_of(lines, f"phone/{NAME}") == [f"phone/{NAME}", count, *of_phone]


def test_coverage_counts_the_operations_that_networks_need(shelf: Path) -> None:
    table = measured(("squeezenas_small", SMALL))
    dropped = sorted(table.entries)[::7]
    put(shelf, replace(table, entries={key: entry for key, entry in table.entries.items() if key not in dropped}))
    needed = len(plan("squeezenas_small", SMALL))
    lines = covered(report().summary(), f"board/{NAME}")
    assert lines[0] == f"squeezenas_small 256x512: {needed - len(dropped)} of {needed}"
    assert lines[-1].startswith("less than 25% of: ")
    for line in lines[:-1]:  # counted once more, by names
        words, counts = line.split(": ")
        space, size = words.split()[:2]
        assert size == "256x512"
        keys = {
            spec.key
            for spec in plan(
                space, Deployment((256, 512), SEARCH_SPACES[space].build(SEARCH_SPACES[space].config()).deploy_channels, 19)
            )
        }
        assert counts == f"{len(keys & set(table.entries) - set(dropped))} of {len(keys)}"
        assert int(counts.split()[0]) >= 0.25 * len(keys)


def test_initial_channels_of_calibrations_and_classes_of_argmax_are_tried(shelf: Path) -> None:
    shape = Deployment((96, 160), 24, 7)
    put(shelf, measured(("lgcnet", shape), calibrations=(calibration("lgcnet", shape),)))
    needed = len(plan("lgcnet", shape))
    lines = covered(report().summary(), f"board/{NAME}")
    assert lines[0] == f"lgcnet 96x160: {needed} of {needed}"
    assert not any(line.startswith("lgcnet") for line in lines[1:])


def test_a_given_shape_takes_the_place_of_those_in_the_table(shelf: Path) -> None:
    put(shelf, measured(("squeezenas_small", SMALL), ("squeezenas_small", Deployment((64, 128), 16, 5))))
    needed = len(plan("squeezenas_small", SMALL))
    both = covered(report().summary(), f"board/{NAME}")
    assert both[:2] == [f"squeezenas_small {size}: {needed} of {needed}" for size in ("64x128", "256x512")]
    assert both[2].startswith("less than 25% of: ")
    one = covered(report(deploy=DeploySettings(input=[64, 128])).summary(), f"board/{NAME}")
    assert one[0] == f"squeezenas_small 64x128: {needed} of {needed}"
    assert not any("256x512" in line for line in one)
    wrong_classes = covered(report(deploy=DeploySettings(input=[64, 128]), num_classes=19).summary(), f"board/{NAME}")
    assert not any(f"{needed} of {needed}" in line for line in wrong_classes)
    elsewhere = covered(report(deploy=DeploySettings(input=[67, 131])).summary(), f"board/{NAME}")
    assert all("67x131" in line for line in elsewhere)
    assert not any(f"{needed} of {needed}" in line for line in elsewhere)


def test_a_space_that_refuses_a_shape_is_left_out(shelf: Path) -> None:
    put(shelf, measured(("lgcnet", Deployment((96, 160), 3, 7))))
    lines = covered(report(deploy=DeploySettings(init_channels=3)).summary(), f"board/{NAME}")
    assert any(line.startswith("lgcnet 96x160: ") for line in lines)
    assert not any(line.startswith("squeezenas") for line in lines)


def test_only_the_most_frequent_sizes_of_images_are_looked_up(shelf: Path) -> None:
    stems = [
        OpSpec(
            kind="conv_bn_relu",
            in_channels=3,
            height=32 * i,
            width=64,
            out_channels=8,
            out_height=16 * i,
            out_width=32,
            kernel=3,
            stride=2,
        )
        for i in range(1, MOST_INPUTS + 4)
    ]
    put(shelf, table_of(dict.fromkeys(stems, 1.0)))
    assert "and 3 more sizes of images; choose one with deploy.input=[HEIGHT,WIDTH]" in covered(report().summary(), f"board/{NAME}")


def test_maps_of_three_channels_that_are_no_images_do_not_count(shelf: Path) -> None:
    small = Deployment((64, 96), 16, 3)  # three classes: argmax and resizing have three channels, too
    put(shelf, measured(("squeezenas_small", small)))
    lines = covered(report().summary(), f"board/{NAME}")
    assert {line.split()[1].rstrip(":") for line in lines if not line.startswith("less than")} == {"64x96"}


@pytest.mark.parametrize(
    ("defect", "reason"),
    [
        (lambda path: path.write_text("{"), "not valid JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "codec can't decode"),
        (lambda path: path.write_text(path.read_text().replace('"board"', '"other"')), "got a table for other/"),
        (lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "origin": None})), "origin"),
    ],
)
def test_a_malformed_table_is_a_line_beside_the_others(shelf: Path, defect: Any, reason: str) -> None:
    put(shelf, measured(("squeezenas_small", SMALL)))
    put(shelf, measured(("squeezenas_small", SMALL), device="phone"))
    defect(shelf / "board" / f"{NAME}.json")
    lines = report().summary()
    (line,) = [line for line in lines if line.startswith("cannot be read: ")]
    assert reason in line
    assert str(shelf / "board" / f"{NAME}.json") in line
    assert row_of(lines, f"phone/{NAME}")
    assert not any(line.startswith("board/") for line in lines)


def test_without_tables_it_says_how_to_measure_one(shelf: Path) -> None:
    lines = report().summary()
    assert lines == [
        "no latency tables that can be read",
        "next: nas profile space=SPACE deploy.input=[HEIGHT,WIDTH], which measures this machine",
    ]


def test_tables_are_filtered_by_device(shelf: Path) -> None:
    put(shelf, measured(("squeezenas_small", SMALL)))
    put(shelf, measured(("squeezenas_small", SMALL), device="phone"))
    put(shelf, measured(("squeezenas_small", SMALL), device=local_names()[0]))
    assert [known.table.device.name for known in report(device="phone").tables] == ["phone"]
    assert [known.table.device.name for known in report(device="auto").tables] == [local_names()[0]]
    with pytest.raises(ConfigError, match=f"device: got watch, and there is no table of watch; .*tables at hand: .*phone/{NAME}"):
        report(device="watch")


def test_the_next_command_validates_searches_or_measures(shelf: Path) -> None:
    put(shelf, measured(("squeezenas_small", SMALL), device="aaa"))
    settings = "space=squeezenas_small 'deploy.input=[256,512]' deploy.init_channels=16"
    assert report().next_command == f"nas search latency.table=aaa/{NAME} {settings}"
    local = measured(("squeezenas_small", SMALL), device=local_names()[0])
    put(shelf, local)
    assert report().next_command == f"nas profile validate latency.table={local.identifier} {settings} num_classes=19"
    put(shelf, local.with_calibration(calibration("squeezenas_small", SMALL)))
    assert report().next_command == f"nas search latency.table={local.identifier} {settings}"
    for path in shelf.glob("*/*.json"):
        path.unlink()
    put(shelf, table_of({plan("squeezenas_small", SMALL)[0]: 1.0}))
    assert report().next_command.startswith("nas profile space=SPACE")


def test_an_empty_table_is_listed(shelf: Path) -> None:
    put(shelf, table_of({}))
    lines = report().summary()
    assert row_of(lines, f"board/{NAME}")[1:] == ["0", "3 days", "measured", TIMES, "no", "-", "no"]
    assert covered(lines, f"board/{NAME}") == ["none"]


def test_operations_of_kinds_unknown_here_do_no_harm(shelf: Path) -> None:
    table = measured(("squeezenas_small", SMALL))
    other = "exotic in=3x7x9 out=3x7x9 k=1 s=1 d=1 g=1"
    put(shelf, replace(table, entries={**table.entries, other: Entry(1.0, 1.0, 1.0, 1)}))
    assert not any("7x9" in line for line in covered(report().summary(), f"board/{NAME}"))


def test_the_command_lists_the_shipped_tables_quickly(run_nas, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    started = time.process_time()
    outcome = run_nas("profile", "devices")
    assert time.process_time() - started < 5
    assert (outcome.status, outcome.err) == (0, "")
    assert "squeezenas_small 256x512: 143 of 143" in outcome.out
    assert outcome.out.splitlines()[-1].startswith("next: nas ")
    assert list(tmp_path.iterdir()) == []
    refused = run_nas("profile", "devices", "device=watch")
    assert (refused.status, len(refused.err_lines)) == (2, 1)
