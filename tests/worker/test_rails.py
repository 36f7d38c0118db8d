"""The power rails of a Jetson."""

from __future__ import annotations

from pathlib import Path

from nas.worker.rails import read_rails_mw
from nas.worker.tegrastats import module_power_w
from tests.worker.fake_device import NANO, THOR_HWMON, THOR_RAILS, plant


def test_rails_of_both_layouts_are_read_in_milliwatts(tmp_path: Path) -> None:
    root = plant(tmp_path / "nano", NANO)
    assert read_rails_mw(root) == {"POM_5V_IN": 2875, "POM_5V_GPU": 500}
    hwmon = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/"
    root = plant(
        tmp_path / "orin",
        {
            hwmon + "in1_label": "VDD_IN",
            hwmon + "in1_input": 5000,
            hwmon + "curr1_input": 1500,
            hwmon + "in2_label": "NC",
            hwmon + "in2_input": 5000,
            hwmon + "curr2_input": 8,
            hwmon + "in3_label": "VDD_SOC",
            hwmon + "in3_input": 5000,
            hwmon + "in7_label": "sum of shunt voltages",
            hwmon + "in7_input": 12,
        },
    )
    assert read_rails_mw(root) == {"VDD_IN": 7500}


def test_sensors_of_a_thor_are_read_its_input_in_microwatts(tmp_path: Path) -> None:
    rails = read_rails_mw(plant(tmp_path, THOR_RAILS))
    assert rails == {"VDD_GPU": 10000, "VDD_CPU_SOC_MSS": 6000, "VIN_SYS_5V0": 5000, "VIN": 24500}
    assert module_power_w(rails) == 21.0


def test_rail_that_is_off_may_read_below_zero(tmp_path: Path) -> None:
    rails = read_rails_mw(plant(tmp_path, {**THOR_RAILS, THOR_HWMON + "curr1_input": -20}))
    assert rails["VDD_GPU"] == -400
    assert module_power_w(rails) == 11.0
