"""What a line of tegrastats tells: every recorded form."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from nas.worker.tegrastats import (
    module_power_w,
    module_rails,
    module_rails_in_words,
    parse_tegrastats,
    rails_power_w,
    read_tegrastats,
)
from tests.worker.fake_device import tegrastats_lines

# Written for these tests in the form of L4T 39.2 and 38.4: a zone states its highest value, too, a rail three figures.
WRITTEN = {
    "agx_orin_r392_nosudo": (
        "01-02-2026 03:04:05 RAM 7000/62817MB (lfb 1x4MB) CPU [30%@800,off,20%@1000] GR3D_FREQ 12% cpu@48.5C/50.25C "
        "gpu@45C/45.5C tj@48.5C/50.25C cv0@-256C/-256C VDD_GPU_SOC 4000mW/3000mW/5000mW VDD_CPU_CV 1000mW/900mW/1200mW "
        "VIN_SYS_5V0 5500mW/5200mW/5600mW NC 0mW/0mW/0mW"
    ),
    "agx_thor_r392": (
        "01-02-2026 03:04:05 RAM 9000/125811MB (lfb 9x4MB) SWAP 0/2048MB (cached 0MB) CPU [9%@972,off] EMC_FREQ @3200 "
        "GR3D_FREQ @[314,0,318] NVENC0_FREQ @1556 VIC 59%@423 PVA0_FREQ off APE 300 cpu@34.5C/34.75C gpu@36C/36C "
        "VDD_GPU 5000mW/4000mW/6000mW VDD_CPU_SOC_MSS 8000mW/8300mW/8700mW VIN_SYS_5V0 6500mW/6700mW/6800mW "
        "VIN 30000mW/29000mW/31000mW"
    ),
    "agx_thor_r384_gated": (
        "RAM 4000/125773MB CPU [1%@972] EMC_FREQ 0%@665 GR3D_FREQ @[0,0,0] cpu@34.5C "
        "VDD_GPU -392mW/-392mW VDD_CPU_SOC_MSS  4100mW/4000mW VIN_SYS_5V0 4200mW/4300mW"
    ),
    "agx_thor_one_clock_of_all_cpus": (
        "RAM 3000/125749MB CPU [0%,5%,off]@2601 EMC_FREQ @4266 GR3D_FREQ 87%@[1574,1574,1574] tj@51C/52C "
        "VDD_GPU 6000mW VIN 28000mW/14000mW/28000mW"
    ),
}
LINES = {**tegrastats_lines(), **WRITTEN}
LOGS = Path(__file__).resolve().parents[3] / "shared" / "cases" / "devicelogs"

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
    "agx_orin_r392_nosudo": ([7000, 62817], {"cpu": 900}, ("cpu", 48.5), 10.5),
    "agx_thor_r392": ([9000, 125811], {"cpu": 972, "gpu": 316, "memory": 3200}, ("gpu", 36), 19.5),
    "agx_thor_r384_gated": ([4000, 125773], {"cpu": 972, "memory": 665}, ("cpu", 34.5), 8.3),
    "agx_thor_one_clock_of_all_cpus": ([3000, 125749], {"cpu": 2601, "gpu": 1574, "memory": 4266}, ("tj", 51), 28.0),
}


def test_every_recorded_form_is_tested() -> None:
    assert set(SEEN) == set(LINES)


def test_logs_of_boards_are_read_as_their_readers_did() -> None:
    if not LOGS.is_dir():
        pytest.skip("logs of boards are not at ../shared/cases/devicelogs")
    power_w = {
        "tegrastats_r384_agx_thor_sudo": 8.291,
        "tegrastats_r392_agx_orin_nosudo": 11.133,
        "tegrastats_r392_agx_thor_sudo": 19.545,
        "tegrastats_r39_agx_thor_loaded": 83.484,
    }
    gpu_mhz = {
        "tegrastats_r392_agx_orin_sudo": 1300,
        "tegrastats_r392_agx_thor_sudo": 314,
        "tegrastats_r39_agx_thor_idle": 1574,
        "tegrastats_r39_agx_thor_loaded": 1574,
    }
    lines = {path.stem: parse_tegrastats(path.read_text()) for path in LOGS.glob("tegrastats_*.txt")}
    assert {name: module_power_w(lines[name].rails_mw) for name in power_w} == pytest.approx(power_w)
    assert {name: lines[name].clocks["gpu"] for name in gpu_mhz} == gpu_mhz
    assert all(line.temperatures for line in lines.values())


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


def test_figures_of_a_zone_or_rail_beside_that_of_this_moment_are_not_its_value() -> None:
    stats = parse_tegrastats(LINES["agx_orin_r392_nosudo"])
    assert stats.temperatures == {"cpu": 48.5, "gpu": 45, "tj": 48.5}
    assert stats.rails_mw == {"VDD_GPU_SOC": 4000, "VDD_CPU_CV": 1000, "VIN_SYS_5V0": 5500}
    assert stats.cpu_loads == [30, None, 20]


def test_rail_that_reads_below_zero_is_kept_and_makes_no_sum_smaller() -> None:
    rails = parse_tegrastats(LINES["agx_thor_r384_gated"]).rails_mw
    assert rails == {"VDD_GPU": -392, "VDD_CPU_SOC_MSS": 4100, "VIN_SYS_5V0": 4200}
    assert module_power_w(rails) == 8.3
    assert module_power_w({"VDD_IN": -5.0}) is None


def test_module_power_of_unknown_rails_is_unknown() -> None:
    assert module_power_w({"VDD_GPU_SOC": 1.0, "VDD_CPU_CV": 1.0}) is None
    assert module_power_w({}) is None


def test_what_the_power_of_a_module_is_made_of_is_said() -> None:
    assert module_rails_in_words(module_rails({"VDD_IN": 1.0, "VDD_GPU": 1.0})) == ""
    thor = {"VDD_GPU": 1.0, "VDD_CPU_SOC_MSS": 1.0, "VIN_SYS_5V0": 1.0, "VIN": 9.0}
    assert module_rails_in_words(module_rails(thor)) == ": VDD_GPU + VDD_CPU_SOC_MSS + VIN_SYS_5V0, a lower bound"
    assert module_rails_in_words(module_rails({"VDD_GPU": 1.0, "VIN": 9.0})) == ": VIN, carrier board and fan included"


def test_sum_of_rails_needs_all_of_them() -> None:
    names = module_rails({"VDD_GPU": 1.0, "VDD_CPU_SOC_MSS": 1.0, "VIN_SYS_5V0": 1.0})
    assert rails_power_w({"VDD_GPU": 1000.0, "VIN_SYS_5V0": 1000.0, "VIN": 9000.0}, names) is None
    assert rails_power_w({"VDD_GPU": 1000.0, "VIN_SYS_5V0": 1000.0, "VDD_CPU_SOC_MSS": 500.0}, names) == 2.5


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
            assert all(math.isfinite(value) for value in (*stats.rails_mw.values(), *stats.temperatures.values()))
            power_w = module_power_w(stats.rails_mw)
            assert power_w is None or power_w > 0
