"""The state of a device at a moment: clocks, temperatures, power, and what slows it."""

import re
from typing import Dict, List, NamedTuple, Optional, Tuple

from nas.worker.device_facts import gpu_clock_folders
from nas.worker.nvidia_smi import bad_clock_reasons, query_gpu
from nas.worker.probing import RunTool, first_line_of_tool, probe_paths, read_probe, read_probe_number, run_tool
from nas.worker.tegrastats import FirstLine, is_real_temperature, module_power_w, read_tegrastats

_CPU_SENSORS = ("coretemp", "k10temp", "zenpower")
_UNIT_NAMES = (("gpu", "GPU"), ("cpu", "CPU"), ("memory", "memory"))
_THROTTLING_DEVICE = re.compile(r"cpu|gpu|processor|devfreq|emc|throttl|powerclamp", re.IGNORECASE)
_THROTTLE_COUNTERS = (
    "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count",
    "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/package_throttle_count",
    "sys/devices/platform/*-throttle-alert/thermal_trip_event",
)


class Reading(NamedTuple):
    """The state of a device at a moment; what cannot be read is left out.

    Fields:
        clocks: In MHz, of `cpu` (mean of the CPUs online), `gpu` and `memory`.
        temperatures: By zone in lower case, in degrees C.
        power_w: Power of a Jetson's module or of the GPU that is measured, in W; None where it cannot be read at a moment.
        throttling: What slows the device at this moment, in words.
        counters: Events since the device was started that slowed it, by the path of the kernel's file: see `throttling_between`.
    """

    clocks: Dict[str, float]
    temperatures: Dict[str, float]
    power_w: Optional[float]
    throttling: List[str]
    counters: Dict[str, int]


def read_state(
    accelerator: str, *, root: str = "/", run: RunTool = run_tool, first_line: FirstLine = first_line_of_tool
) -> Reading:
    """The state of the device now, from sysfs first, then `tegrastats` (Jetson), then `nvidia-smi` (other GPUs).

    Args:
        accelerator: `cpu` or `cuda`: what operations run on.
        root: Prefix of the paths of the kernel's files.
        run: Runs a program.
        first_line: Runs a program until its first line.
    """
    clocks = _kernel_clocks(root)
    temperatures = _kernel_temperatures(root)
    throttling = _active_cooling(root)
    power_w = None
    jetson = read_tegrastats(first_line)
    if jetson is not None:
        clocks = dict(jetson.clocks, **clocks)
        temperatures = temperatures or jetson.temperatures
        power_w = module_power_w(jetson.rails_mw)
    elif accelerator == "cuda":
        state = _gpu_state(run)
        _add_number(clocks, "gpu", state.get("clocks.sm"))
        _add_number(clocks, "memory", state.get("clocks.mem"))
        _add_number(temperatures, "gpu", state.get("temperature.gpu"))
        power_w = _number_in(state.get("power.draw"))
        throttling += bad_clock_reasons(run=run)
    return Reading(clocks, temperatures, power_w, throttling, _throttle_counters(root))


def throttling_between(before: Reading, after: Reading) -> List[str]:
    """Everything that slowed the device at either reading, or in between by the counters of the kernel that rose."""
    found = before.throttling + [text for text in after.throttling if text not in before.throttling]
    rises: Dict[Tuple[str, str], int] = {}
    for path, count in after.counters.items():
        rise = count - before.counters.get(path, count)
        if rise > 0:
            counter = _throttled_unit(path), path.split("/")[-1]
            rises[counter] = rises.get(counter, 0) + rise
    return found + [f"{unit}: throttled ({name} rose by {rise})" for (unit, name), rise in sorted(rises.items())]


def clocks_text(reading: Reading) -> Optional[str]:
    """The clocks in one short line, e.g. `GPU 921 MHz, CPU 1479 MHz, memory 1600 MHz`; None if none was read."""
    parts = [f"{name} {reading.clocks[unit]:.0f} MHz" for unit, name in _UNIT_NAMES if unit in reading.clocks]
    return ", ".join(parts) or None


def temperatures_text(reading: Reading) -> Optional[str]:
    """The hottest zone of each unit in one line, e.g. `GPU 42.5 C, CPU 44.0 C`, else the hottest of all; None if none was read."""
    parts = []
    for unit, name in _UNIT_NAMES:
        zones = [celsius for zone, celsius in reading.temperatures.items() if _is_zone_of(unit, zone)]
        if zones:
            parts.append(f"{name} {max(zones):.1f} C")
    if not parts and reading.temperatures:
        zone = max(reading.temperatures, key=lambda name: reading.temperatures[name])
        parts.append(f"{zone} {reading.temperatures[zone]:.1f} C")
    return ", ".join(parts) or None


def _is_zone_of(unit: str, zone: str) -> bool:
    """Whether a zone is that of a unit; the TX2 has two kinds of CPU: `mcpu` and `bcpu`."""
    return re.match(r"[bm]?" + unit + r"(?![a-z])", zone) is not None


def _kernel_clocks(root: str) -> Dict[str, float]:
    """Clocks in MHz: of the CPUs from cpufreq (kHz), else as `/proc/cpuinfo` states them; of a Jetson's GPU from devfreq (Hz).

    Of several CPUs or clusters of the GPU it is the mean of those that are on.
    """
    clocks = {}
    khz = _numbers_below(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    cpu = [number / 1e3 for number in khz] or _stated_cpu_clocks(root)
    if cpu:
        clocks["cpu"] = sum(cpu) / len(cpu)
    hz = [read_probe_number(root, folder + "/cur_freq") for folder in gpu_clock_folders(root)]
    running = [number / 1e6 for number in hz if number is not None and number > 0]
    if running:
        clocks["gpu"] = sum(running) / len(running)
    return clocks


def _stated_cpu_clocks(root: str) -> List[float]:
    text = read_probe(root, "proc/cpuinfo") or ""
    return [float(mhz) for mhz in re.findall(r"^cpu MHz[ \t]*:[ \t]*(\d+(?:\.\d+)?)[ \t]*$", text, re.MULTILINE)]


def _kernel_temperatures(root: str) -> Dict[str, float]:
    """Degrees C by thermal zone, and of the CPU from its own sensor where no zone is the CPU's; zones that are off are left out."""
    temperatures: Dict[str, float] = {}
    for folder in probe_paths(root, "sys/class/thermal/thermal_zone[0-9]*"):
        _add_temperature(temperatures, _zone_name(read_probe(root, folder + "/type")), read_probe_number(root, folder + "/temp"))
    if not any(zone.startswith("cpu") for zone in temperatures):
        for folder in probe_paths(root, "sys/class/hwmon/hwmon[0-9]*"):
            if read_probe(root, folder + "/name") in _CPU_SENSORS:
                _add_temperature(temperatures, "cpu", read_probe_number(root, folder + "/temp1_input"))
    return temperatures


def _zone_name(kind: Optional[str]) -> str:
    """A zone's name from its type: `GPU-therm` (JetPack 4 and 5) and `gpu-thermal` (JetPack 6) are `gpu`."""
    name = re.sub(r"[-_]therm(al)?$", "", (kind or "zone").lower())
    return "cpu" if name == "x86_pkg_temp" else name


def _add_temperature(temperatures: Dict[str, float], zone: str, milli_celsius: Optional[int]) -> None:
    """Adds a temperature; a second zone of one name is called `NAME 2`."""
    if milli_celsius is None or not is_real_temperature(zone, milli_celsius / 1000):
        return
    same = sum(1 for name in temperatures if name == zone or re.match(re.escape(zone) + r" \d+$", name))
    temperatures[f"{zone} {same + 1}" if same else zone] = milli_celsius / 1000


def _active_cooling(root: str) -> List[str]:
    """Cooling devices that slow a processor at this moment, in words; fans and alike cool without slowing."""
    states: Dict[str, int] = {}
    for folder in probe_paths(root, "sys/class/thermal/cooling_device[0-9]*"):
        kind, state = read_probe(root, folder + "/type"), read_probe_number(root, folder + "/cur_state")
        slows = kind is not None and _THROTTLING_DEVICE.search(kind) and "fan" not in kind.lower()
        if kind is not None and slows and state is not None and state > 0:
            states[kind] = max(state, states.get(kind, 0))
    return [f"cooling device {kind} at state {state}" for kind, state in states.items()]


def _throttle_counters(root: str) -> Dict[str, int]:
    counters = {}
    for pattern in _THROTTLE_COUNTERS:
        for path in probe_paths(root, pattern):
            count = read_probe_number(root, path)
            if count is not None:
                counters[path] = count
    return counters


def _throttled_unit(path: str) -> str:
    """The unit of a counter: all CPUs together, though each has a counter of its own, or a unit with an alert."""
    folder = path.split("/")[-2]
    return "CPU" if folder == "thermal_throttle" else re.sub(r"-throttle-alert$", "", folder)


def _gpu_state(run: RunTool) -> Dict[str, str]:
    """Fields of the GPU, asked for in groups, so that one unknown to the driver does not lose the rest."""
    state = query_gpu(["clocks.sm", "clocks.mem", "temperature.gpu"], run=run)
    state.update(query_gpu(["power.draw"], run=run))
    return state


def _numbers_below(root: str, pattern: str) -> List[int]:
    found = [read_probe_number(root, path) for path in probe_paths(root, pattern)]
    return [number for number in found if number is not None]


def _add_number(numbers: Dict[str, float], name: str, text: Optional[str]) -> None:
    number = _number_in(text)
    if number is not None:
        numbers[name] = number


def _number_in(text: Optional[str]) -> Optional[float]:
    return float(text) if text is not None and re.match(r"-?\d+(\.\d+)?$", text) else None
