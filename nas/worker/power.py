"""The power of a device while operations run, and the energy of one call."""

import math
import re
import threading
import time
from abc import ABC, abstractmethod
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from nas.worker.interface import Run, WorkerError
from nas.worker.nvidia_smi import mig_profile, query_gpu
from nas.worker.probing import RunTool, first_line_of_tool, probe_paths, read_probe, read_probe_number, run_tool
from nas.worker.rails import read_rails_mw
from nas.worker.tegrastats import (
    KIT_RAIL,
    FirstLine,
    module_power_w,
    module_rails,
    module_rails_in_words,
    rails_power_w,
    read_tegrastats,
)

SENSOR_SECONDS = 0.02
"""Time between two samples of a sensor of the present power, in s."""

SMI_SECONDS = 0.1
"""The same for `nvidia-smi` and `tegrastats`: each sample starts the program."""

SMI_SETTLE_SECONDS = 1.0
"""Time for which work runs before samples of these count: most drivers state the mean of the last second."""

_BATCH_SECONDS = 0.01
_RAPL_PACKAGE = re.compile(r"package-\d+")


class PowerClock(NamedTuple):
    """The clock that windows are measured with.

    Fields:
        now: The time in s; only differences count.
        sleep: Waits for the given time in s.
    """

    now: Callable[[], float]
    sleep: Callable[[float], None]


SYSTEM_CLOCK = PowerClock(time.perf_counter, time.sleep)
"""The clock of this machine."""


class PowerWindow(NamedTuple):
    """Readings taken while work ran.

    Fields:
        mean_w: Mean power in W.
        calls: How often the work was called.
        seconds: How long the calls took together, in s.
    """

    mean_w: float
    calls: int
    seconds: float


class Energy(NamedTuple):
    """The energy of one call of an operation.

    Fields:
        mj_per_call: Energy of a call in mJ, the idle power included.
        idle_w: Mean power in W before, with nothing to do.
        mean_w: Mean power in W while the operation ran.
        calls: How often it ran.
    """

    mj_per_call: float
    idle_w: float
    mean_w: float
    calls: int


class PowerSource(ABC):
    """Source from which the power of the device can be read."""

    name = ""
    """Name of the source, for the record."""

    @abstractmethod
    def measure(self, seconds: float, work: Callable[[], object]) -> PowerWindow:
        """The mean power while work is called again and again.

        Args:
            seconds: How long, in s; the call under way is finished.
            work: What to call.

        Raises:
            WorkerError: If the source does not state its power any more.
        """


class SampledPower(PowerSource):
    """A source of the present power: a thread samples it while the work runs."""

    def __init__(
        self,
        name: str,
        read_w: Callable[[], Optional[float]],
        *,
        interval_s: float = SENSOR_SECONDS,
        settle_s: float = 0.0,
        clock: PowerClock = SYSTEM_CLOCK,
    ) -> None:
        """A source from a function.

        Args:
            name: What is read, for the record.
            read_w: The power now in W; None where it cannot be read.
            interval_s: Time between two samples in s.
            settle_s: How long the work runs before samples count, in s.
            clock: The clock of the windows.
        """
        self.name = name
        self._read_w = read_w
        self._interval_s = interval_s
        self._settle_s = settle_s
        self._clock = clock

    def measure(self, seconds: float, work: Callable[[], object]) -> PowerWindow:
        """See `PowerSource.measure`."""
        if self._settle_s > 0:
            call_for(self._settle_s, work, clock=self._clock)
        samples: List[Tuple[float, float]] = []
        stop = threading.Event()
        sampler = threading.Thread(target=self._sample, args=(samples, stop), daemon=True)
        sampler.start()
        try:
            calls, elapsed = call_for(seconds, work, clock=self._clock)
        finally:
            stop.set()
            sampler.join()
        if not samples:
            raise WorkerError(f"power: got no sample from {self.name} in {elapsed:.1f} s, expected one; measure without energy")
        return PowerWindow(mean_power_w(samples), calls, elapsed)

    def _sample(self, samples: List[Tuple[float, float]], stop: threading.Event) -> None:
        """Take samples until asked to stop, at least once; what cannot be read at a moment is no sample."""
        while True:
            power_w = self._read_w()
            if power_w is not None:
                samples.append((self._clock.now(), power_w))
            if stop.wait(self._interval_s):
                return


class CountedPower(PowerSource):
    """A source that counts energy: the power is what its counters rose by over the time."""

    def __init__(self, name: str, counters: List["EnergyCounter"], *, clock: PowerClock = SYSTEM_CLOCK) -> None:
        """A source from counters whose energies are added.

        Args:
            name: What is read, for the record.
            counters: The counters, none a part of another.
            clock: The clock of the windows.
        """
        self.name = name
        self._counters = counters
        self._clock = clock

    def measure(self, seconds: float, work: Callable[[], object]) -> PowerWindow:
        """See `PowerSource.measure`; a counter must not wrap around twice within a window, which takes minutes at full power."""
        before = [counter.read_uj() for counter in self._counters]
        calls, elapsed = call_for(seconds, work, clock=self._clock)
        after = [counter.read_uj() for counter in self._counters]
        joules = 0.0
        for counter, first, last in zip(self._counters, before, after):  # noqa: B905  Python 3.6 has no strict
            if first is None or last is None:
                raise WorkerError(f"power: got no number from {counter.path}, expected micro-joules; measure without energy")
            joules += energy_between_uj(first, last, range_uj=counter.range_uj) / 1e6
        if joules <= 0:
            raise WorkerError(f"power: got no rise of {self.name} in {elapsed:.2f} s, expected one; measure without energy")
        return PowerWindow(joules / elapsed, calls, elapsed)


class EnergyCounter(NamedTuple):
    """A counter of energy in powercap.

    Fields:
        root: Prefix of the path.
        path: The file of the counter, in micro-joules.
        range_uj: Its largest value, after which it begins again at 0.
    """

    root: str
    path: str
    range_uj: int

    def read_uj(self) -> Optional[int]:
        """Its value in micro-joules; None where it cannot be read."""
        return read_probe_number(self.root, self.path)


def find_power_source(
    accelerator: str,
    *,
    root: str = "/",
    run: RunTool = run_tool,
    first_line: FirstLine = first_line_of_tool,
    clock: PowerClock = SYSTEM_CLOCK,
) -> Optional[PowerSource]:
    """The first source that can be read: a Jetson's sensors, tegrastats; else `nvidia-smi` for a GPU, RAPL for a CPU.

    A GPU's energy is not in the counters of the CPU's package, nor the other way round.

    Args:
        accelerator: `cpu` or `cuda`: what operations run on.
        root: Prefix of the paths of the kernel's files.
        run: Runs a program.
        first_line: Runs a program until it has printed a line.
        clock: The clock of the windows.

    Returns:
        None if there is none.

    Raises:
        WorkerError: If a slice of a GPU is measured.
    """
    rails = read_rails_mw(root)
    names = module_rails(rails)  # once: a rail that fails for a moment must not make a sum of others
    if module_power_w(rails) is not None:
        words = ("INA238" if KIT_RAIL in names else "INA3221") + " of the module" + module_rails_in_words(names)
        return SampledPower(words, lambda: rails_power_w(read_rails_mw(root), names), clock=clock)
    rails = _tegrastats_rails_mw(first_line)
    stated = module_rails(rails)
    if module_power_w(rails) is not None:
        return SampledPower(
            "tegrastats, rails of the module" + module_rails_in_words(stated),
            lambda: rails_power_w(_tegrastats_rails_mw(first_line), stated),
            interval_s=SMI_SECONDS,
            settle_s=SMI_SETTLE_SECONDS,
            clock=clock,
        )
    if accelerator == "cpu":
        return _rapl_source(root, clock)
    profile = mig_profile(run=run)
    if profile is not None:
        raise WorkerError(
            f"energy: got a MIG slice ({profile}), whose power nvidia-smi states only with that of the rest of its GPU, expected a "
            "whole GPU; leave energy out"
        )
    if _gpu_power_w(run) is None:
        return None
    return SampledPower(
        "nvidia-smi power.draw",
        lambda: _gpu_power_w(run),
        interval_s=SMI_SECONDS,
        settle_s=SMI_SETTLE_SECONDS,
        clock=clock,
    )


def energy_per_call(source: PowerSource, run: Run, *, seconds: float = 1.0, clock: PowerClock = SYSTEM_CLOCK) -> Energy:
    """The energy of one call: mean power times the time of a call; the idle power, measured first, is part of it.

    Args:
        source: Where power is read.
        run: Executes the operation; not one that starts a program for each sample, whose start would be counted.
        seconds: How long each of the two windows is, in s.
        clock: Waits while the device is idle.

    Raises:
        WorkerError: If the source does not state its power any more.
    """
    idle = source.measure(seconds, lambda: clock.sleep(_BATCH_SECONDS))
    calls = max(1, math.ceil(_BATCH_SECONDS * 1000 / max(run(1), 1e-6)))
    busy = source.measure(seconds, lambda: run(calls))
    total = busy.calls * calls
    return Energy(busy.mean_w * busy.seconds / total * 1000, idle.mean_w, busy.mean_w, total)


def call_for(seconds: float, work: Callable[[], object], *, clock: PowerClock = SYSTEM_CLOCK) -> Tuple[int, float]:
    """Calls work until the time is over, at least once; returns how often, and how long that took in s."""
    start = clock.now()
    calls = 0
    while True:
        work()
        calls += 1
        elapsed = clock.now() - start
        if elapsed >= seconds:
            return calls, elapsed


def mean_power_w(samples: List[Tuple[float, float]]) -> float:
    """The mean of samples over time, by the trapezoid rule: integral of P dt over the time between first and last.

    >>> mean_power_w([(0.0, 2.0), (1.0, 4.0), (3.0, 4.0)])
    3.6666666666666665

    Args:
        samples: Time in s and power in W, in order of time.
    """
    seconds = samples[-1][0] - samples[0][0]
    if seconds <= 0:
        return sum(power for _, power in samples) / len(samples)
    pairs = zip(samples, samples[1:])  # noqa: B905  as above
    return sum((last[0] - first[0]) * (first[1] + last[1]) / 2 for first, last in pairs) / seconds


def energy_between_uj(first: int, last: int, *, range_uj: int) -> int:
    """Rise of a counter, in micro-joules, which begins again at 0 after `range_uj`.

    >>> energy_between_uj(90, 20, range_uj=99)
    30
    """
    return last - first if last >= first else last + range_uj + 1 - first


def _rapl_source(root: str, clock: PowerClock) -> Optional[PowerSource]:
    """The whole machine (`psys`) where its counter moves, else all packages without their parts; None if one is not readable."""
    zones = {folder: read_probe(root, folder + "/name") or "" for folder in probe_paths(root, "sys/class/powercap/intel-rapl:*")}
    machine = _energy_counters(root, [folder for folder, name in zones.items() if name == "psys"])
    if machine and _energy_rises(machine[0], clock):
        return CountedPower("RAPL psys", machine, clock=clock)
    packages = [folder for folder, name in zones.items() if _RAPL_PACKAGE.match(name)]
    counters = _energy_counters(root, packages)
    if not counters or not _energy_rises(counters[0], clock):
        return None
    return CountedPower(f"RAPL of {len(counters)} package" + ("s" if len(counters) > 1 else ""), counters, clock=clock)


def _energy_counters(root: str, folders: List[str]) -> List[EnergyCounter]:
    """The counters of the folders; none of them if one cannot be read, as they are for root alone on most systems."""
    counters = []
    for folder in folders:
        limit = read_probe_number(root, folder + "/max_energy_range_uj")
        if limit is None or read_probe_number(root, folder + "/energy_uj") is None:
            return []
        counters.append(EnergyCounter(root, folder + "/energy_uj", limit))
    return counters


def _energy_rises(counter: EnergyCounter, clock: PowerClock) -> bool:
    """Whether a counter moves within 50 ms; RAPL is updated every ms, and some boards have a counter that stands still."""
    first = counter.read_uj()
    clock.sleep(0.05)
    return counter.read_uj() != first


def _tegrastats_rails_mw(first_line: FirstLine) -> Dict[str, float]:
    """Rails of a Jetson by `tegrastats`, which needs no root; none if it states none."""
    line = read_tegrastats(first_line)
    return {} if line is None else line.rails_mw


def _gpu_power_w(run: RunTool) -> Optional[float]:
    text = query_gpu(["power.draw"], run=run).get("power.draw", "")
    return float(text) if re.match(r"\d+(\.\d+)?$", text) else None
