"""The power of a device while operations run, and the energy of one call."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from nas.worker.interface import WorkerError
from nas.worker.power import (
    CountedPower,
    EnergyCounter,
    PowerClock,
    PowerSource,
    PowerWindow,
    SampledPower,
    call_for,
    energy_between_uj,
    energy_per_call,
    find_power_source,
    mean_power_w,
)
from tests.worker.fake_device import NANO, THOR_HWMON, THOR_RAILS, nvidia_smi, plant, tools

RAPL = "sys/class/powercap/intel-rapl:"


class Machine:
    """A clock that only moves where something waits, and energy counters that follow it."""

    def __init__(self, root: Path, *, watts: dict[str, float], range_uj: int = 262143328850, start_uj: int = 0) -> None:
        self.now_s = 0.0
        self._root = root
        self._watts = watts
        self._range_uj = range_uj
        self._uj = dict.fromkeys(watts, float(start_uj))
        for folder in watts:
            plant(root, {folder + "/max_energy_range_uj": range_uj})
        self.pass_time(0.0)

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        for folder, power in self._watts.items():
            self._uj[folder] = (self._uj[folder] + power * seconds * 1e6) % (self._range_uj + 1)
            plant(self._root, {folder + "/energy_uj": int(self._uj[folder])})

    @property
    def clock(self) -> PowerClock:
        return PowerClock(lambda: self.now_s, self.pass_time)


class Recorded(PowerSource):
    """Calls the work a given number of times in each window and tells given powers."""

    name = "recorded"

    def __init__(self, *windows: PowerWindow) -> None:
        self._windows = list(windows)

    def measure(self, seconds, work):
        window = self._windows.pop(0)
        for _ in range(window.calls):
            work()
        return window


def test_energy_of_a_call_is_mean_power_times_its_time_idle_power_included() -> None:
    slept = []
    ran = []

    def run(calls: int) -> float:
        ran.append(calls)
        return 2.5  # ms

    source = Recorded(PowerWindow(mean_w=3.0, calls=2, seconds=1.0), PowerWindow(mean_w=8.0, calls=100, seconds=1.0))
    energy = energy_per_call(source, run, clock=PowerClock(lambda: 0.0, slept.append))
    assert ran == [1] + [4] * 100  # batches of at least 10 ms
    assert len(slept) == 2
    assert energy.calls == 400
    assert energy.mj_per_call == pytest.approx(8.0 * 2.5)  # W * ms = mJ
    assert (energy.idle_w, energy.mean_w) == (3.0, 8.0)


def test_long_call_is_a_batch_of_its_own() -> None:
    ran = []
    source = Recorded(PowerWindow(1.0, 1, 1.0), PowerWindow(5.0, 2, 3.0))
    energy = energy_per_call(source, lambda calls: ran.append(calls) or 1500.0)
    assert ran == [1, 1, 1]
    assert energy.mj_per_call == pytest.approx(5.0 * 1500)


def test_mean_power_is_the_integral_over_time() -> None:
    times = [0.0, 0.02, 0.05, 0.3, 1.0]
    assert mean_power_w([(t, 7.0 + 2.0 * t) for t in times]) == pytest.approx(8.0)  # exact for a straight line
    steps = [(k / 1000, math.sin(k / 1000) ** 2) for k in range(1001)]
    assert mean_power_w(steps) == pytest.approx(0.5 - math.sin(2) / 4, rel=1e-5)
    assert mean_power_w([(3.0, 4.5)]) == 4.5


def test_work_is_called_until_the_time_is_over_and_at_least_once() -> None:
    now = [0.0]

    def work() -> None:
        now[0] += 0.3

    clock = PowerClock(lambda: now[0], lambda _: None)
    assert call_for(1.0, work, clock=clock) == (4, pytest.approx(1.2))
    assert call_for(0.0, work, clock=clock) == (1, pytest.approx(0.3))


def test_sampled_power_is_that_of_the_window_in_which_the_work_runs() -> None:
    power_w = [1.5]
    source = SampledPower("fake", lambda: power_w[0], interval_s=0.001)
    idle = source.measure(0.05, lambda: None)
    power_w[0] = 6.0
    busy = source.measure(0.05, lambda: None)
    assert (idle.mean_w, busy.mean_w) == (pytest.approx(1.5), pytest.approx(6.0))
    assert busy.calls >= 1
    assert busy.seconds >= 0.05


def test_samples_before_the_source_has_settled_do_not_count() -> None:
    settled = []
    source = SampledPower("slow", lambda: 9.0 if len(settled) >= 5 else 1.0, interval_s=0.001, settle_s=5.0, clock=_steps(1.0))
    assert source.measure(1.0, lambda: settled.append(1)).mean_w == 9.0
    assert len(settled) >= 6


def _steps(seconds: float) -> PowerClock:
    """A clock that moves by the same step whenever it is read."""
    now = [0.0]

    def read() -> float:
        now[0] += seconds
        return now[0]

    return PowerClock(read, lambda _: None)


def test_moments_that_cannot_be_read_are_no_samples_and_none_at_all_is_an_error() -> None:
    values = iter([None, 4.0])
    source = SampledPower("flaky", lambda: next(values, 4.0), interval_s=0.001)
    assert source.measure(0.1, lambda: None).mean_w == pytest.approx(4.0)
    with pytest.raises(WorkerError, match="power: got no sample from gone in .* s, expected one; measure without energy"):
        SampledPower("gone", lambda: None, interval_s=0.001).measure(0.0, lambda: None)


def test_sampling_ends_with_work_that_fails() -> None:
    def fail() -> None:
        raise RuntimeError("work failed")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="work failed"):
        SampledPower("fake", lambda: 1.0, interval_s=0.001).measure(10.0, fail)
    assert threading.active_count() == before


def test_energy_of_a_thor_says_which_rails_it_is_the_sum_of_and_a_rail_that_fails_is_no_smaller_sum(tmp_path: Path) -> None:
    root = plant(tmp_path, THOR_RAILS)
    source = find_power_source("cuda", root=root, run=tools({"nvidia-smi": nvidia_smi({"power.draw": "9"})}))
    assert source is not None
    assert source.name == "INA3221 of the module: VDD_GPU + VDD_CPU_SOC_MSS + VIN_SYS_5V0, a lower bound"
    assert source.measure(0.05, lambda: None).mean_w == pytest.approx(10.0 + 6.0 + 5.0)
    (tmp_path / THOR_HWMON / "curr2_input").unlink()
    with pytest.raises(WorkerError, match="power: got no sample from INA3221 of the module"):
        source.measure(0.0, lambda: None)


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
def test_jetson_is_measured_at_its_module(accelerator: str, tmp_path: Path) -> None:
    plant(tmp_path, {RAPL + "0/name": "package-0"})
    Machine(tmp_path, watts={RAPL + "0": 50.0})
    source = find_power_source(accelerator, root=plant(tmp_path, NANO), run=tools({"nvidia-smi": nvidia_smi({"power.draw": "9"})}))
    assert source is not None
    assert source.name == "INA3221 of the module"
    assert source.measure(0.05, lambda: None).mean_w == pytest.approx(2.875)


def test_cpu_is_measured_by_its_packages_without_their_parts(tmp_path: Path) -> None:
    names = {"0": "package-0", "0:0": "core", "0:1": "dram", "1": "package-1"}
    plant(tmp_path, {f"{RAPL}{zone}/name": name for zone, name in names.items()})
    machine = Machine(tmp_path, watts={RAPL + "0": 50.0, RAPL + "0:0": 30.0, RAPL + "0:1": 5.0, RAPL + "1": 40.0})
    source = find_power_source("cpu", root=str(tmp_path), run=tools(), clock=machine.clock)
    assert source is not None
    assert source.name == "RAPL of 2 packages"
    window = source.measure(2.0, lambda: machine.pass_time(0.1))
    assert window.mean_w == pytest.approx(90.0, rel=1e-5)
    assert window.calls in {20, 21}  # 20 steps of 0.1 add up to a little less or more than 2


@pytest.mark.parametrize(("machine_w", "name", "watts"), [(70.0, "RAPL psys", 70.0), (0.0, "RAPL of 1 package", 50.0)])
def test_counter_of_the_whole_machine_is_used_where_it_moves(machine_w: float, name: str, watts: float, tmp_path: Path) -> None:
    plant(tmp_path, {RAPL + "0/name": "package-0", RAPL + "1/name": "psys"})
    machine = Machine(tmp_path, watts={RAPL + "0": 50.0, RAPL + "1": machine_w})
    source = find_power_source("cpu", root=str(tmp_path), run=tools(), clock=machine.clock)
    assert source is not None
    assert source.name == name
    assert source.measure(1.0, lambda: machine.pass_time(0.25)).mean_w == pytest.approx(watts)


def test_counter_that_wraps_around_within_a_window_is_followed(tmp_path: Path) -> None:
    plant(tmp_path, {RAPL + "0/name": "package-0"})
    machine = Machine(tmp_path, watts={RAPL + "0": 50.0}, range_uj=65532610987, start_uj=65532610987 - 20_000_000)
    source = find_power_source("cpu", root=str(tmp_path), run=tools(), clock=machine.clock)
    assert source is not None
    assert source.measure(1.0, lambda: machine.pass_time(0.25)).mean_w == pytest.approx(50.0, rel=1e-5)
    assert read_uj(tmp_path) < 65532610987 - 20_000_000
    assert energy_between_uj(99, 0, range_uj=99) == 1


def read_uj(root: Path) -> int:
    return int((root / f"{RAPL}0/energy_uj").read_text())


def test_one_package_that_cannot_be_read_leaves_no_source(tmp_path: Path) -> None:
    plant(tmp_path, {RAPL + "0/name": "package-0", RAPL + "1/name": "package-1", RAPL + "1/max_energy_range_uj": 1})
    machine = Machine(tmp_path, watts={RAPL + "0": 50.0})
    assert find_power_source("cpu", root=str(tmp_path), run=tools(), clock=machine.clock) is None


def test_counter_that_stops_being_readable_or_stands_still_is_an_error(tmp_path: Path) -> None:
    root = plant(tmp_path, {"energy_uj": 100})
    source = CountedPower("RAPL", [EnergyCounter(root, "energy_uj", 1000)], clock=_steps(0.5))
    with pytest.raises(WorkerError, match="power: got no rise of RAPL in .* s, expected one; measure without energy"):
        source.measure(1.0, lambda: None)
    with pytest.raises(WorkerError, match="power: got no number from energy_uj, expected micro-joules"):
        source.measure(1.0, lambda: (tmp_path / "energy_uj").unlink(missing_ok=True))


def test_gpu_is_measured_by_nvidia_smi_and_not_by_the_package_of_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    plant(tmp_path, {RAPL + "0/name": "package-0"})
    machine = Machine(tmp_path, watts={RAPL + "0": 50.0})
    source = find_power_source(
        "cuda", root=str(tmp_path), run=tools({"nvidia-smi": nvidia_smi({"power.draw": "912.10"})}), clock=_steps(0.3)
    )
    assert source is not None
    assert source.name == "nvidia-smi power.draw"
    assert source.measure(0.5, lambda: None).mean_w == pytest.approx(912.1)
    for absent in (tools(), tools({"nvidia-smi": nvidia_smi({"power.draw": "[N/A]"})})):
        assert find_power_source("cuda", root=str(tmp_path), run=absent, clock=machine.clock) is None


def test_power_of_a_whole_gpu_is_not_taken_for_that_of_its_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    listed = "GPU 0: NVIDIA H100 (UUID: GPU-aaaa0000)\n  MIG 1g.10gb     Device  0: (UUID: MIG-55550000)\n"
    run = tools({"nvidia-smi": nvidia_smi({"power.draw": "300.0"}, listed=listed)})
    with pytest.raises(WorkerError, match=r"energy: got a MIG slice \(1g.10gb\), .*; leave energy out"):
        find_power_source("cuda", root=str(tmp_path), run=run)


NANO_LINE = "RAM 1923/3964MB CPU [5%@1224,4%@1224] GR3D_FREQ 0%@76 POM_5V_IN 1750/1628 POM_5V_GPU 0/0 POM_5V_CPU 366/406"


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
def test_jetson_whose_sensors_are_for_root_alone_is_measured_by_tegrastats(accelerator: str, tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []

    def first_line(arguments: Sequence[str]) -> str:
        asked.append(tuple(arguments))
        return NANO_LINE

    source = find_power_source(accelerator, root=str(tmp_path), run=tools(), first_line=first_line, clock=_steps(0.3))
    assert source is not None
    assert source.name == "tegrastats, rails of the module"
    assert source.measure(0.5, lambda: None).mean_w == pytest.approx(1.750)
    assert set(asked) == {("tegrastats", "--interval", "100")}


def test_machine_without_any_sensor_has_no_source(tmp_path: Path) -> None:
    assert find_power_source("cpu", root=str(tmp_path), run=tools()) is None
