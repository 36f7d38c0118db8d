"""What a line of tegrastats tells: every recorded form."""

from __future__ import annotations

import random

import pytest

from nas.worker.tegrastats import module_power_w, parse_tegrastats, read_tegrastats
from tests.worker.fake_device import tegrastats_lines

LINES = tegrastats_lines()

# Read off the recorded lines by eye: RAM, clocks (CPU mean of those on, GPU, memory), hottest zone, module power in W.
SEEN = {
    "tx1_l4t28_old": ([3468, 3983], {"cpu": 408, "gpu": 76, "memory": 408}, None, None),
    "tx1": ([1179, 3983], {"cpu": 102, "gpu": 76, "memory": 408}, ("tdiode", 42.75), 2.532),
    "tx2": ([2344, 7852], {"cpu": 345, "gpu": 624, "memory": 1600}, ("pll", 37.5), 3.056),
    "nano": ([534, 3964], {"cpu": 204, "gpu": 76, "memory": 204}, ("ao", 39.5), 1.022),
    "nano_jp461": ([1923, 3964], {"cpu": 1224, "gpu": 76, "memory": 1600}, ("ao", 45), 1.75),
    "agx_xavier_jp4": ([721, 31927], {"cpu": 1190, "gpu": 318, "memory": 665}, ("tdiode", 40), 3.346),
    "xavier_nx_jp4": ([4412, 7772], {"cpu": (5 * 1190 + 1267) / 6, "gpu": 306, "memory": 1600}, ("cpu", 43.5), 4.067),
    "xavier_nx_jp512": ([3168, 6851], {"cpu": (1397 + 1192 + 4 * 1190) / 6, "gpu": 114, "memory": 204}, ("cpu", 46.5), 2.763),
    "orin_nx_jp5": ([6334, 15388], {"cpu": 729, "gpu": 611, "memory": 2133}, ("tj", 48.875), 5.299),
    "agx_orin_jp5_offline_sensors": ([4321, 62801], {"cpu": 729, "memory": 2133}, ("cpu", 44.562), 6.755),
    "agx_orin_r36": ([29114, 30697], {"cpu": (4 * 729 + 8 * 2201) / 12, "gpu": 305, "memory": 2133}, ("cpu", 53.062), 12.377),
    "orin_nano_jp6_nosudo": ([3452, 7620], {"cpu": (4 * 1420 + 2 * 729) / 6}, ("tj", 50.25), 4.824),
    "orin_nano_jp6_busy": ([6982, 7620], {"cpu": (5 * 1984 + 247) / 6, "gpu": 713, "memory": 3199}, ("cpu", 65.562), 17.946),
}


def test_every_recorded_form_is_tested() -> None:
    assert set(SEEN) == set(LINES)


@pytest.mark.parametrize("name", SEEN)
def test_recorded_lines_give_what_the_eye_reads(name: str) -> None:
    ram, clocks, hottest, power_w = SEEN[name]
    stats = parse_tegrastats(LINES[name])
    assert stats is not None
    assert stats.ram_mb == ram
    assert stats.clocks == pytest.approx(clocks)
    zone = max(stats.temperatures, key=lambda key: stats.temperatures[key], default=None)
    assert (zone and (zone, stats.temperatures[zone])) == hottest
    assert module_power_w(stats.rails_mw) == (None if power_w is None else pytest.approx(power_w))


def test_loads_of_cpus_that_are_off_are_none() -> None:
    assert parse_tegrastats(LINES["tx2"]).cpu_loads == [1, None, None, 1, 0, 2]
    assert parse_tegrastats(LINES["tx1_l4t28_old"]).cpu_loads == [17, 13, 29, 5]
    assert parse_tegrastats(LINES["agx_orin_r36"]).cpu_loads == [3, 4, 0, 1, 0, 100, 1, 0, 100, 0, 0, 0]


def test_zones_that_do_not_measure_and_rails_without_a_name_are_left_out() -> None:
    stats = parse_tegrastats(LINES["agx_orin_jp5_offline_sensors"])
    assert sorted(stats.temperatures) == ["cpu", "soc0", "soc1", "soc2", "tboard", "tdiode", "tj"]
    assert sorted(stats.rails_mw) == ["VDDQ_VDD2_1V8AO", "VDD_CPU_CV", "VDD_GPU_SOC", "VIN_SYS_5V0"]
    assert all("pmic" not in parse_tegrastats(line).temperatures for line in LINES.values())


def test_rail_and_zone_of_one_name_are_kept_apart() -> None:
    stats = parse_tegrastats(LINES["agx_xavier_jp4"])
    assert stats.temperatures["gpu"] == 37.5
    assert stats.rails_mw == {"GPU": 0, "CPU": 311, "SOC": 932, "CV": 0, "VDDRQ": 621, "SYS5V": 1482}


def test_power_is_that_of_this_moment_not_the_average() -> None:
    assert parse_tegrastats(LINES["orin_nano_jp6_busy"]).rails_mw == {"VDD_IN": 17946, "VDD_CPU_GPU_CV": 8896, "VDD_SOC": 3923}


def test_module_power_of_unknown_rails_is_unknown() -> None:
    assert module_power_w({"VDD_GPU_SOC": 1.0, "VDD_CPU_CV": 1.0}) is None
    assert module_power_w({}) is None


def test_other_texts_are_no_line() -> None:
    for text in ("", "tegrastats: not found", "usage: tegrastats [--interval MS]"):
        assert parse_tegrastats(text) is None
        assert read_tegrastats(lambda _, text=text: text) is None
    assert read_tegrastats(lambda _: None) is None


def test_damaged_lines_never_raise_and_give_numbers_only() -> None:
    drawn = random.Random(7)
    for line in list(LINES.values()) * 20:
        text = list(line)
        for _ in range(4):
            text[drawn.randrange(len(text))] = drawn.choice("0@,[]%/ CmWx-.")
        stats = parse_tegrastats("".join(text)[: drawn.randrange(len(text))])
        if stats is not None:
            assert all(value > 0 for value in stats.clocks.values())
            assert all(value >= 0 for value in stats.rails_mw.values())
