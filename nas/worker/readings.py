"""The state of a device at a moment: clocks, temperatures, power, and what slows it."""

import re
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

from nas.worker.device_facts import gpu_clock_folders
from nas.worker.nvidia_smi import bad_clock_reasons, query_gpu
from nas.worker.probing import RunTool, first_line_of_tool, probe_paths, read_probe, read_probe_number, run_tool
from nas.worker.rails import read_rails_mw
from nas.worker.tegrastats import FirstLine, is_real_temperature, module_power_w, read_tegrastats

_CPU_SENSORS = ("coretemp", "k10temp", "zenpower")
_UNIT_NAMES = (("gpu", "GPU"), ("cpu", "CPU"), ("memory", "memory"))
_THROTTLING_DEVICE = re.compile(r"cpu|gpu|processor|devfreq|emc|throttl|powerclamp", re.IGNORECASE)
_HOT_SURFACE = "hot-surface-alert"
_TRIP_EVENTS = "sys/devices/platform/*-throttle-alert/thermal_trip_event"
_CPU_COUNTERS = ("core_throttle_count", "package_throttle_count")
_CURRENT_COUNTERS = "sys/class/hwmon/hwmon[0-9]*/oc[0-9]_event_cnt"


class Reading(NamedTuple):
    """The state of a device at a moment; what cannot be read is left out.

    Fields:
        clocks: In MHz, of `cpu` (mean of the CPUs online), `gpu` and `memory`.
        temperatures: By zone in lower case, in degrees C.
        power_w: Power of a Jetson's module or of the GPU that is measured, in W; None where it cannot be read at a moment.
        throttling: What slows the device at this moment, in words, or warns that it will.
        counters: Events since the device was started that slowed it, by the path of the kernel's file: see `rises_between`.
    """

    clocks: Dict[str, float]
    temperatures: Dict[str, float]
    power_w: Optional[float]
    throttling: List[str]
    counters: Dict[str, int]


def read_state(
    accelerator: str, *, root: str = "/", run: RunTool = run_tool, first_line: FirstLine = first_line_of_tool
) -> Reading:
    """The state of the device now, from sysfs first, then `tegrastats` (Jetson), then `nvidia-smi`.

    Args:
        accelerator: `cpu` or `cuda`: what operations run on.
        root: Prefix of the paths of the kernel's files.
        run: Runs a program.
        first_line: Runs a program until its first line.
    """
    clocks = _kernel_clocks(root)
    temperatures = _kernel_temperatures(root)
    throttling = _active_cooling(root)
    power_w = module_power_w(read_rails_mw(root))
    jetson = read_tegrastats(first_line)
    if jetson is not None:
        clocks = dict(jetson.clocks, **clocks)
        temperatures = temperatures or jetson.temperatures
        power_w = power_w or module_power_w(jetson.rails_mw)
    elif accelerator == "cuda":
        state = _gpu_state(run)
        _add_number(clocks, "gpu", state.get("clocks.sm"))
        _add_number(clocks, "memory", state.get("clocks.mem"))
        _add_number(temperatures, "gpu", state.get("temperature.gpu"))
        power_w = power_w or _number_in(state.get("power.draw"))
    if accelerator == "cuda":
        throttling += bad_clock_reasons(run=run)
    return Reading(clocks, temperatures, power_w, throttling, _throttle_counters(root))


class Slowdowns:
    """What slowed a device over several readings: each state once, and each counter by its rise in all."""

    def __init__(self) -> None:
        self.states: List[str] = []
        """Of `Reading.throttling`, each once."""
        self.rises: Dict[str, int] = {}
        """See `rises_between`."""

    def add(self, states: Sequence[str], rises: Mapping[str, int]) -> None:
        """Add what was seen since the last time."""
        for text in states:
            if text not in self.states:
                self.states.append(text)
        for name, rise in rises.items():
            self.rises[name] = self.rises.get(name, 0) + rise

    def in_words(self) -> List[str]:
        """A text for each."""
        units = [(counter, "CPU" if counter in _CPU_COUNTERS else "over-current or low voltage") for counter in sorted(self.rises)]
        return self.states + [f"{unit}: throttled ({counter} rose by {self.rises[counter]})" for counter, unit in units]


def slowdowns_between(before: Reading, after: Reading) -> Slowdowns:
    """Everything that slowed the device at either reading, or in between by the counters of the kernel that rose."""
    slowdowns = Slowdowns()
    slowdowns.add(before.throttling + after.throttling, rises_between(before, after))
    return slowdowns


def rises_between(before: Reading, after: Reading) -> Dict[str, int]:
    """The counters that rose between two readings -> number of events; a counter that each CPU has is one."""
    rises: Dict[str, int] = {}
    for path, count in after.counters.items():
        counter, rise = path.split("/")[-1], count - before.counters.get(path, count)
        if rise > 0:
            rises[counter] = rises.get(counter, 0) + rise
    return rises


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
    """Cooling devices that slow a processor at this moment, in words; fans and alike cool without slowing.

    An alert of a Jetson is told once, whether as a cooling device, by its `thermal_trip_event`, which is a state, or by both.
    """
    states: Dict[str, int] = {}
    hot = 0
    for folder in probe_paths(root, "sys/class/thermal/cooling_device[0-9]*"):
        kind, state = read_probe(root, folder + "/type"), read_probe_number(root, folder + "/cur_state")
        if kind is None or state is None or state <= 0:
            continue
        if kind == _HOT_SURFACE:
            hot = state
        elif _THROTTLING_DEVICE.search(kind) and "fan" not in kind.lower():
            states[kind] = max(state, states.get(kind, 0))
    for path in probe_paths(root, _TRIP_EVENTS):
        kind, state = path.split("/")[-2], read_probe_number(root, path)
        if state is not None and state > 0:
            states[kind] = max(state, states.get(kind, 0))
    found = [f"cooling device {kind} at state {state}" for kind, state in states.items()]
    return found + ([f"surface of the module too hot ({_HOT_SURFACE} at state {hot})"] if hot else [])


def _throttle_counters(root: str) -> Dict[str, int]:
    """Counters of the CPUs, and those of a Jetson's alarms of current and voltage, where such an alarm slows the module."""
    folder = "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/"
    paths = [path for name in _CPU_COUNTERS for path in probe_paths(root, folder + name)]
    for path in probe_paths(root, _CURRENT_COUNTERS):
        if read_probe_number(root, path.replace("_event_cnt", "_throt_en")) != 0:
            paths.append(path)
    counts = [(path, read_probe_number(root, path)) for path in paths]
    return {path: count for path, count in counts if count is not None}


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
