"""Which device this is."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.devices.this_machine import DeviceInfo, cpu_name, current_clocks, identify, is_device_name, local_names
from nas.errors import ConfigError
from nas.worker.device_facts import model_slug
from tests.worker.fake_device import NANO, plant


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("AMD EPYC 7B13", "amd-epyc-7b13"),
        ("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", "intel-core-i7-8700k-cpu-3.70ghz"),
        ("NVIDIA GeForce GTX 1080 Ti", "nvidia-geforce-gtx-1080-ti"),
        ("  ../../etc  ", "etc"),
    ],
)
def test_name_of_a_model_is_a_device_name(model: str, name: str) -> None:
    assert model_slug(model) == name
    assert is_device_name(model_slug(model))


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: AMD EPYC\n", "amd-epyc"),
        (
            "processor : 0\nBogoMIPS : 1\n\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
            "raspberry-pi-4-model-b-rev-1.4",
        ),
        ("processor : 0\nmodel\t\t: 17\n", "unknown-x86-64-cpu"),
        ("model name\t:\nflags\t: fpu\n", "unknown-x86-64-cpu"),
        (None, "unknown-x86-64-cpu"),
    ],
)
def test_cpu_is_named_by_its_model_and_says_when_the_model_is_unknown(
    cpuinfo: str | None, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    root = plant(tmp_path, {} if cpuinfo is None else {"proc/cpuinfo": cpuinfo})
    assert cpu_name(root) == name


def test_clock_of_this_moment_is_the_mean_of_the_cpus_or_that_of_the_first(tmp_path: Path) -> None:
    first = "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"

    def clock(**files: str) -> str | None:
        names = {"cpuinfo": "proc/cpuinfo", "first": first}
        return current_clocks(root=plant(tmp_path, {names[name]: text for name, text in files.items()}))

    assert clock() is None
    assert clock(cpuinfo="processor : 0\nBogoMIPS : 1\n") is None
    assert clock(first="<unknown>\n") is None
    assert clock(first="1800000\n") == "1800 MHz"
    assert clock(cpuinfo="cpu MHz\t\t: 2000.000\ncache size : 1\ncpu MHz\t\t: 3001.000\n") == "2500 MHz"


def test_clock_of_a_gpu_is_read_where_the_driver_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise ModuleNotFoundError("nvidia-ml-py does not seem to be installed")

    monkeypatch.setattr("torch.cuda.clock_rate", lambda: 1980)
    assert current_clocks("cuda") == "1980 MHz"
    monkeypatch.setattr("torch.cuda.clock_rate", refuse)
    assert current_clocks("cuda") is None


def test_this_machine_has_a_name_and_takes_a_given_one() -> None:
    assert identify().name == cpu_name()
    assert cpu_name() in local_names()
    assert identify(name="bench-2").name == "bench-2"


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "Jetson", "a b"])
def test_wrong_device_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="device: got"):
        identify(name=name)
    with pytest.raises(ValueError, match="device name: got"):
        DeviceInfo(name=name)


def test_absent_and_unknown_accelerators_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA GPU here; use accelerator=cpu"):
        identify("cuda")
    with pytest.raises(ConfigError, match="got 'tpu', expected one of cpu, cuda"):
        identify("tpu")


def test_gpu_is_named_by_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "NVIDIA TITAN Xp")
    assert identify("cuda") == DeviceInfo(name="nvidia-titan-xp")
    assert local_names() == [cpu_name(), "nvidia-titan-xp"]


def test_a_jetson_has_the_name_and_the_limits_that_the_worker_gives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "NVIDIA Tegra X1")
    root = plant(tmp_path, NANO)
    gpu, cpu = identify("cuda", root=root), identify("cpu", root=root)
    assert (gpu.name, gpu.clocks) == ("jetson-nano", "GPU 76-921 MHz, CPU 102-1479 MHz")
    assert (cpu.name, cpu.clocks) == ("jetson-nano-cpu", "102-1479 MHz")
    assert identify("cuda", name="bench", root=root).name == "bench"


def test_gpu_without_a_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "")
    with pytest.raises(ConfigError, match="device: got no model"):
        identify("cuda")
