"""Devices that are only files: a tree of the kernel's files, and programs that print recorded texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SAMPLES = Path(__file__).with_name("samples")

Answers = Mapping[str, str | Callable[[Sequence[str]], str | None]]


def sample(name: str) -> str:
    return (SAMPLES / name).read_text()


def tegrastats_lines() -> dict[str, str]:
    """The recorded lines by the name of their board and release."""
    lines = sample("tegrastats_all.txt").splitlines()[1:]
    names = [line.removeprefix("# ").split(":")[0].split(" (")[0] for line in lines[::2]]
    return dict(zip(names, lines[1::2], strict=True))


def plant(root: Path, files: Mapping[str, str | int]) -> str:
    """Writes files below a root; returns the root as the worker takes it."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{text}\n")
    return str(root)


def tools(answers: Answers | None = None) -> Callable[[Sequence[str]], str | None]:
    """Runs programs that print what is given here by their name; any other is absent."""

    def run(arguments: Sequence[str]) -> str | None:
        answer = (answers or {}).get(arguments[0])
        return answer(arguments) if callable(answer) else answer

    return run


def nvidia_smi(known: Mapping[str, str], *, listed: str = "") -> Callable[[Sequence[str]], str | None]:
    """An `nvidia-smi` of one GPU that knows these fields, and lists it so; it fails as a whole where it is asked for another."""

    def run(arguments: Sequence[str]) -> str | None:
        if arguments[1] == "-L":
            return listed
        asked = next(word for word in arguments if word.startswith("--query-gpu=")).removeprefix("--query-gpu=").split(",")
        values = {"index": "0", **known}
        return ", ".join(values[field] for field in asked) + "\n" if set(asked) <= set(values) else None

    return run


NANO = {
    "proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\0",
    "proc/device-tree/serial-number": "1421320012345\0",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\nprocessor\t: 1\nSerial\t\t: 1421320012345\n",
    "etc/hostname": "secret-lab",
    "etc/machine-id": "b08dfa6083e7567a1921a715000001fb",
    "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 18.04.6 LTS"\nID=ubuntu',
    "etc/nv_tegra_release": sample("nv_tegra_release_r32.7.4_nano.txt"),
    "sys/devices/system/cpu/online": "0-3",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": 102000,
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": 1479000,
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": 1479000,
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": 1224000,
    "sys/class/devfreq/57000000.gpu/min_freq": 76800000,
    "sys/class/devfreq/57000000.gpu/max_freq": 921600000,
    "sys/class/devfreq/57000000.gpu/cur_freq": 614400000,
    "sys/class/thermal/thermal_zone0/type": "AO-therm",
    "sys/class/thermal/thermal_zone0/temp": 45000,
    "sys/class/thermal/thermal_zone1/type": "CPU-therm",
    "sys/class/thermal/thermal_zone1/temp": 40000,
    "sys/class/thermal/thermal_zone2/type": "GPU-therm",
    "sys/class/thermal/thermal_zone2/temp": 40500,
    "sys/class/thermal/thermal_zone4/type": "PMIC-Die",
    "sys/class/thermal/thermal_zone4/temp": 100000,
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0": "POM_5V_IN",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input": 2875,
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_1": "POM_5V_GPU",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power1_input": 500,
}
"""A Jetson Nano with JetPack 4.6.4; serial numbers and names are there to be left out."""

THOR_HWMON = "sys/bus/i2c/drivers/ina3221/2-0040/hwmon/hwmon3/"
_INA238 = "sys/bus/i2c/drivers/ina238/2-0044/hwmon/hwmon4/"
THOR_RAILS = {
    THOR_HWMON + "in1_label": "VDD_GPU",
    THOR_HWMON + "in1_input": 20000,
    THOR_HWMON + "curr1_input": 500,
    THOR_HWMON + "in2_label": "VDD_CPU_SOC_MSS",
    THOR_HWMON + "in2_input": 20000,
    THOR_HWMON + "curr2_input": 300,
    THOR_HWMON + "in3_label": "VIN_SYS_5V0",
    THOR_HWMON + "in3_input": 5000,
    THOR_HWMON + "curr3_input": 1000,
    THOR_HWMON + "in7_label": "sum of shunt voltages",
    THOR_HWMON + "in7_input": 680,
    _INA238 + "label": "VIN",
    _INA238 + "power1_input": 24500000,
}
"""Sensors of an AGX Thor: an INA3221 of three rails of the module, and an INA238 of what the whole kit takes."""
