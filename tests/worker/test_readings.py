"""The state of a device at a moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.worker.readings import Reading, Slowdowns, clocks_text, read_state, slowdowns_between, temperatures_text
from tests.worker.fake_device import NANO, THOR_RAILS, nvidia_smi, plant, tegrastats_lines, tools

LINES = tegrastats_lines()


def no_line(_: object) -> None:
    return None


@pytest.fixture(autouse=True)
def _no_choice_of_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_jetson_is_read_from_the_kernel_and_tegrastats_adds_the_rest(tmp_path: Path) -> None:
    asked = []

    def first_line(arguments):
        asked.append(list(arguments))
        return LINES["nano_jp461"]

    reading = read_state("cuda", root=plant(tmp_path, NANO), run=tools(), first_line=first_line)
    assert asked == [["tegrastats", "--interval", "100"]]
    assert reading == Reading(
        clocks={"cpu": (1479 + 1224) / 2, "gpu": 614.4, "memory": 1600.0},
        temperatures={"ao": 45.0, "cpu": 40.0, "gpu": 40.5},
        power_w=2.875,
        throttling=[],
        counters={},
    )
    assert clocks_text(reading) == "GPU 614 MHz, CPU 1352 MHz, memory 1600 MHz"
    assert temperatures_text(reading) == "GPU 40.5 C, CPU 40.0 C"


def test_tegrastats_alone_is_enough_in_a_container(tmp_path: Path) -> None:
    reading = read_state("cuda", root=str(tmp_path), run=tools(), first_line=lambda _: LINES["orin_nano_jp6_busy"])
    assert clocks_text(reading) == "GPU 713 MHz, CPU 1694 MHz, memory 3199 MHz"
    assert temperatures_text(reading) == "GPU 63.5 C, CPU 65.6 C"
    assert reading.power_w == pytest.approx(17.946)


def test_tx2_has_two_kinds_of_cpu(tmp_path: Path) -> None:
    reading = read_state("cpu", root=str(tmp_path), run=tools(), first_line=lambda _: LINES["tx2"])
    assert temperatures_text(reading) == "GPU 35.0 C, CPU 37.5 C"


@pytest.mark.parametrize("node", ["17000000.gp10b", "17000000.gv11b", "17000000.ga10b", "17000000.gpu"])
def test_clock_of_every_jetson_gpu_is_found(node: str, tmp_path: Path) -> None:
    root = plant(tmp_path, {f"sys/class/devfreq/{node}/cur_freq": 1300500000, "sys/class/devfreq/other.vic/cur_freq": 1})
    assert read_state("cuda", root=root, run=tools(), first_line=no_line).clocks == {"gpu": 1300.5}


def test_zones_that_are_off_or_fail_are_left_out_each_by_itself(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone"
    root = plant(
        tmp_path,
        {
            zone + "0/type": "cpu-thermal",
            zone + "0/temp": 50031,
            zone + "1/type": "gpu-thermal",
            zone + "1/temp": -256000,
            zone + "2/type": "cv0-thermal",
            zone + "2/temp/cannot/be/read": 1,
            zone + "3/type": "tj-thermal",
            zone + "3/temp": 51000,
            zone + "10/type": "x86_pkg_temp",
            zone + "10/temp": 52000,
        },
    )
    reading = read_state("cpu", root=root, run=tools(), first_line=no_line)
    assert reading.temperatures == {"cpu": 50.031, "tj": 51.0, "cpu 2": 52.0}
    assert temperatures_text(reading) == "CPU 52.0 C"


def test_temperature_of_a_cpu_without_a_zone_is_that_of_its_sensor(tmp_path: Path) -> None:
    hwmon = "sys/class/hwmon/hwmon"
    files = {hwmon + "0/name": "nvme", hwmon + "0/temp1_input": 33000, hwmon + "1/name": "k10temp", hwmon + "1/temp1_input": 61250}
    assert temperatures_text(read_state("cpu", root=plant(tmp_path, files), run=tools(), first_line=no_line)) == "CPU 61.2 C"


def test_hottest_zone_is_named_where_none_is_the_cpu_s() -> None:
    assert temperatures_text(Reading({}, {"acpitz": 27.8, "pch": 41.0}, None, [], {})) == "pch 41.0 C"
    assert temperatures_text(Reading({}, {}, None, [], {})) is None
    assert clocks_text(Reading({}, {}, None, [], {})) is None


def test_cpu_clock_is_the_mean_of_those_online_else_what_the_kernel_states(tmp_path: Path) -> None:
    root = plant(tmp_path, {"proc/cpuinfo": "cpu MHz\t\t: 2000.000\ncache size : 1\ncpu MHz\t\t: 3001.000\n"})
    assert read_state("cpu", root=root, run=tools(), first_line=no_line).clocks == {"cpu": 2500.5}
    plant(
        tmp_path,
        {f"sys/devices/system/cpu/cpu{index}/cpufreq/scaling_cur_freq": mhz * 1000 for index, mhz in ((0, 800), (10, 1000))},
    )
    plant(tmp_path, {"sys/devices/system/cpu/cpu1/online": 0})
    assert read_state("cpu", root=root, run=tools(), first_line=no_line).clocks == {"cpu": 900.0}


GPU_STATE = {
    "clocks.sm": "1965",
    "clocks.mem": "3996",
    "temperature.gpu": "61",
    "power.draw": "912.10",
    "clocks_event_reasons.active": "0x0000000000000025",
}


def test_server_gpu_is_read_by_nvidia_smi(tmp_path: Path) -> None:
    run = tools({"nvidia-smi": nvidia_smi(GPU_STATE)})
    reading = read_state("cuda", root=str(tmp_path), run=run, first_line=no_line)
    assert reading == Reading(
        clocks={"gpu": 1965.0, "memory": 3996.0},
        temperatures={"gpu": 61.0},
        power_w=912.1,
        throttling=["GPU: software power cap (nvidia-smi, 0x4)", "GPU: software thermal slowdown (nvidia-smi, 0x20)"],
        counters={},
    )
    assert read_state("cpu", root=str(tmp_path), run=run, first_line=no_line).clocks == {}


@pytest.mark.parametrize("unknown", ["power.draw", "temperature.gpu", "clocks_event_reasons.active"])
def test_unknown_field_loses_only_its_group(unknown: str, tmp_path: Path) -> None:
    run = tools({"nvidia-smi": nvidia_smi({name: value for name, value in GPU_STATE.items() if name != unknown})})
    reading = read_state("cuda", root=str(tmp_path), run=run, first_line=no_line)
    assert (reading.power_w is None) == (unknown == "power.draw")
    assert (reading.clocks == {}) == (unknown == "temperature.gpu")
    assert (reading.throttling == []) == (unknown == "clocks_event_reasons.active")


def test_cooling_devices_that_slow_a_processor_are_named_and_fans_are_not(tmp_path: Path) -> None:
    cooling = "sys/class/thermal/cooling_device"
    kinds = [
        ("thermal-gpufreq", 3),
        ("pwm-fan", 2),
        ("cpu-fan", 2),
        ("Processor", 1),
        ("Processor", 4),
        ("TCC Offset", 6),
        ("cpu-throttle-alert", 0),
        ("hot-surface-alert", 1),
        ("intel_powerclamp", -1),
    ]
    files = {
        f"{cooling}{index}/{name}": value
        for index, kind in enumerate(kinds)
        for name, value in zip(("type", "cur_state"), kind, strict=True)
    }
    reading = read_state("cpu", root=plant(tmp_path, files), run=tools(), first_line=no_line)
    assert reading.throttling == [
        "cooling device thermal-gpufreq at state 3",
        "cooling device Processor at state 4",
        "surface of the module too hot (hot-surface-alert at state 1)",
    ]


@pytest.mark.parametrize(("cooling_state", "trip_event"), [(1, None), (None, 1), (1, 1), (0, 1)])
def test_an_alert_of_a_jetson_is_a_state_and_told_once(cooling_state: int | None, trip_event: int | None, tmp_path: Path) -> None:
    files: dict[str, str | int] = {"sys/devices/platform/cpu-throttle-alert/thermal_trip_event": 0}
    if cooling_state is not None:
        cooling = "sys/class/thermal/cooling_device2/"
        files.update({cooling + "type": "gpu-throttle-alert", cooling + "cur_state": cooling_state})
    if trip_event is not None:
        files["sys/devices/platform/gpu-throttle-alert/thermal_trip_event"] = trip_event
    reading = read_state("cuda", root=plant(tmp_path, files), run=tools(), first_line=no_line)
    assert reading.throttling == ["cooling device gpu-throttle-alert at state 1"]
    assert reading.counters == {}
    assert slowdowns_between(reading, reading).in_words() == reading.throttling


def test_throttling_is_what_either_end_shows_and_what_the_counters_rose_by(tmp_path: Path) -> None:
    def count(*counts: int, alarms: int) -> Reading:
        core = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
        files = {core.format(index): number for index, number in enumerate(counts)}
        plant(tmp_path, {**files, "sys/class/hwmon/hwmon5/oc3_event_cnt": alarms})
        return read_state("cpu", root=str(tmp_path), run=tools(), first_line=no_line)

    before, after = count(100, 100, alarms=179), count(107, 105, alarms=813)
    assert before.throttling == []
    assert slowdowns_between(before, before).in_words() == []
    assert slowdowns_between(before, after).in_words() == [
        "CPU: throttled (core_throttle_count rose by 12)",
        "over-current or low voltage: throttled (oc3_event_cnt rose by 634)",
    ]
    hot = before._replace(throttling=["GPU: hardware slowdown (nvidia-smi, 0x8)"])
    assert slowdowns_between(hot, hot).in_words() == hot.throttling
    assert slowdowns_between(before, hot).in_words() == slowdowns_between(hot, before).in_words() == hot.throttling


def test_alarm_of_current_that_slows_nothing_is_no_throttling(tmp_path: Path) -> None:
    alarm = "sys/class/hwmon/hwmon3/oc{}_{}"
    files = {alarm.format(1, "event_cnt"): 5, alarm.format(1, "throt_en"): 1, alarm.format(2, "event_cnt"): 7}
    root = plant(tmp_path, {**files, alarm.format(3, "event_cnt"): 9, alarm.format(3, "throt_en"): 0})
    reading = read_state("cuda", root=root, run=tools(), first_line=no_line)
    assert reading.counters == {alarm.format(1, "event_cnt"): 5, alarm.format(2, "event_cnt"): 7}


def test_rises_of_several_looks_add_up_and_a_state_is_told_once() -> None:
    slowdowns = Slowdowns()
    for rise in (3, 4):
        slowdowns.add(["hot"], {"oc2_event_cnt": rise})
    assert slowdowns.in_words() == ["hot", "over-current or low voltage: throttled (oc2_event_cnt rose by 7)"]


def test_cpus_that_come_or_go_between_readings_and_a_restart_are_no_throttling() -> None:
    path = "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count"
    absent, there = Reading({}, {}, None, [], {}), Reading({}, {}, None, [], {path: 40})
    for pair in ((absent, there), (there, absent), (there, there._replace(counters={path: 2}))):
        assert slowdowns_between(*pair).in_words() == []


def test_jetson_with_a_driver_that_tells_reasons_is_asked_for_them(tmp_path: Path) -> None:
    run = tools({"nvidia-smi": nvidia_smi({**GPU_STATE, "clocks_event_reasons.active": "0x8"})})
    line = "RAM 9000/125811MB CPU [9%@972] EMC_FREQ @3200 GR3D_FREQ @[314,314,314] gpu@36C/36C"
    reading = read_state("cuda", root=plant(tmp_path, THOR_RAILS), run=run, first_line=lambda _: line)
    assert reading == Reading(
        clocks={"cpu": 972, "gpu": 314, "memory": 3200},
        temperatures={"gpu": 36},
        power_w=21.0,
        throttling=["GPU: hardware slowdown (nvidia-smi, 0x8)"],
        counters={},
    )


def test_state_of_this_machine_is_read() -> None:
    reading = read_state("cpu")
    assert all(mhz > 0 for mhz in reading.clocks.values())
    assert all(-100 < celsius < 200 for celsius in reading.temperatures.values())
