"""A line of `tegrastats`: clocks, temperatures and power of a Jetson.

The line differs by board and release: units and numbers of figures of zones and rails, a load before a clock or none, brackets
around the GPU's clocks, a date before it, blanks, upper and lower case. `tests/worker/samples/tegrastats_all.txt` has those up to
JetPack 6; from JetPack 7.2 on a zone is `cpu@51.9C/52.1C` (now, highest) and a rail `VDD_IN 4925mW/4900mW/4950mW` (now, mean,
highest).
"""

import re
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from nas.worker.probing import first_line_of_tool

FirstLine = Callable[[Sequence[str]], Optional[str]]
"""Runs a program until it has printed a line; returns the line, or None where none comes."""

INPUT_RAILS = ("POM_5V_IN", "VDD_IN")
"""Rails that feed the whole module: Nano; TX1, TX2, Xavier NX, Orin Nano and Orin NX."""

SUMMED_RAILS = (
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
)
"""Rails whose sum stands for the module where no rail feeds it all (AGX Xavier; AGX Orin; AGX Thor): a lower bound of its power."""

KIT_RAIL = "VIN"
"""The rail that feeds a Thor's carrier board and fan, too; it stands for the module only where the others are not stated."""

_LOWEST_C = -100.0


class Tegrastats(NamedTuple):
    """One line of `tegrastats`.

    Fields:
        ram_mb: Memory in use and in all, in MB; None where the line does not state it.
        cpu_loads: Load of each CPU in percent; None for one that is off.
        clocks: In MHz, of `cpu` (mean of the CPUs that are on), `gpu` (mean of its clusters that are on) and `memory`.
        temperatures: By zone in lower case, in degrees C, without zones that are off (-256) and the constant of the PMIC.
        rails_mw: Power by rail at this moment, in mW, without rails that are not connected (`NC`); a sensor of a rail that is off
            may state a value below 0.
    """

    ram_mb: Optional[List[int]]
    cpu_loads: List[Optional[int]]
    clocks: Dict[str, float]
    temperatures: Dict[str, float]
    rails_mw: Dict[str, float]


def read_tegrastats(first_line: FirstLine = first_line_of_tool) -> Optional[Tegrastats]:
    """The state of a Jetson; None where there is no `tegrastats` or it prints no line of its kind."""
    line = first_line(["tegrastats", "--interval", "100"])
    return None if line is None else parse_tegrastats(line)


def parse_tegrastats(line: str) -> Optional[Tegrastats]:
    """Content of a line of `tegrastats`; None if it is none (each begins with the memory, some with a date before it)."""
    ram = re.search(r"\bRAM (\d+)/(\d+)MB", line)
    cpu = re.search(r"\bCPU \[([^\]]*)\](?:@(\d+))?", line, re.IGNORECASE)
    if ram is None and cpu is None:
        return None
    clocks: Dict[str, float] = {}
    loads: List[Optional[int]] = []
    if cpu is not None:
        entries = re.findall(r"(\d+)%(?:@(\d+))?|off", cpu.group(1))
        loads = [int(load) if load else None for load, _ in entries]
        _add_mean_clock(clocks, "cpu", [cpu.group(2)] if cpu.group(2) else [mhz for _, mhz in entries])
    gpu = re.search(r"\bGR3D(?:_FREQ)?\s+(?:\d+%)?@\[?([\d,]+)", line)
    _add_mean_clock(clocks, "gpu", gpu.group(1).split(",") if gpu else [])
    memory = re.search(r"\bEMC(?:_FREQ)?\s+(?:\d+%)?@(\d+)", line)
    _add_mean_clock(clocks, "memory", [memory.group(1)] if memory else [])
    return Tegrastats(
        ram_mb=[int(ram.group(1)), int(ram.group(2))] if ram else None,
        cpu_loads=loads,
        clocks=clocks,
        temperatures=_zone_temperatures(line),
        rails_mw=_rail_powers(line),
    )


def module_rails(rails_mw: Mapping[str, float]) -> Tuple[str, ...]:
    """The rails that stand for the whole module: the one that feeds it, else those that are added; none of an unknown board.

    Args:
        rails_mw: Power by rail in mW.
    """
    choices = [(name,) for name in INPUT_RAILS] + list(SUMMED_RAILS) + [(KIT_RAIL,)]
    return next((names for names in choices if all(name in rails_mw for name in names)), ())


def module_rails_in_words(names: Sequence[str]) -> str:
    """What the power that `module_rails` stand for holds, and what not; empty where it is just the module's."""
    if len(names) > 1:
        return f": {' + '.join(names)}, a lower bound"
    return f": {KIT_RAIL}, carrier board and fan included" if KIT_RAIL in names else ""


def rails_power_w(rails_mw: Mapping[str, float], names: Sequence[str]) -> Optional[float]:
    """The power of rails together in W; None where one of them is not stated, or none is above 0.

    No rail feeds back, so one that reads below 0 is off and counts as 0: it must not make the others look smaller.

    Args:
        rails_mw: Power by rail in mW.
        names: The rails.
    """
    if not all(name in rails_mw for name in names):
        return None
    power_mw = sum(max(0.0, rails_mw[name]) for name in names)
    return power_mw / 1000 if power_mw > 0 else None


def module_power_w(rails_mw: Mapping[str, float]) -> Optional[float]:
    """The power of the whole module in W; None where its rails are not those of a known board, or state none.

    Args:
        rails_mw: Power by rail in mW.
    """
    return rails_power_w(rails_mw, module_rails(rails_mw))


def is_real_temperature(zone: str, celsius: float) -> bool:
    """Whether a zone measures: one that is off says -256 (-256000 in sysfs), and the PMIC's says the same at all times."""
    return celsius > _LOWEST_C and not zone.lower().startswith("pmic")


def _zone_temperatures(line: str) -> Dict[str, float]:
    found = re.findall(r"(?<!\S)([A-Za-z]\w*)@(-?\d+(?:\.\d+)?)C(?:/-?\d+(?:\.\d+)?C)?(?!\S)", line)
    return {zone.lower(): float(celsius) for zone, celsius in found if is_real_temperature(zone, float(celsius))}


def _rail_powers(line: str) -> Dict[str, float]:
    """The first figure of each rail, which is that of this moment; one without a unit is a rail's only before a mean."""
    found = re.findall(r"(?<!\S)([A-Z]\w*)\s+(?:(-?\d+)(?:mW)?(?:/-?\d+(?:mW)?){1,2}|(-?\d+)mW)(?!\S)", line)
    return {name: float(now or alone) for name, now, alone in found if name != "NC"}


def _add_mean_clock(clocks: Dict[str, float], unit: str, texts: Sequence[str]) -> None:
    """Adds the mean of the clocks above 0: a part of a unit that is off has none."""
    running = [float(mhz) for mhz in texts if mhz and float(mhz) > 0]
    if running:
        clocks[unit] = sum(running) / len(running)
