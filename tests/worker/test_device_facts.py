"""What the worker records of the machine it runs on."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from nas.devices.this_machine import cpu_name, gpu_name
from nas.worker.device_facts import cpu_clock_limits, cpu_governor, device_identity, device_slug
from nas.worker.interface import WorkerError
from tests.worker.fake_device import NANO, nvidia_smi, plant, sample, tools


@pytest.fixture(autouse=True)
def _no_choice_of_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)


SERVER = {
    "name": "NVIDIA A100-PCIE-40GB",
    "driver_version": "535.104.05",
    "memory.total": "40960",
    "clocks.max.sm": "1410",
    "power.limit": "250.00",
}


def test_jetson_is_known_by_board_release_mode_and_clocks(tmp_path: Path) -> None:
    run = tools({"nvpmodel": sample("nvpmodel_q_fan_warn.txt"), "jetson_clocks": sample("jetson_clocks_show_nano_maxn_locked.txt")})
    facts = device_identity("cuda", root=plant(tmp_path, NANO), run=run)
    assert facts == {
        "model": "NVIDIA Jetson Nano Developer Kit",
        "os": "Ubuntu 18.04.6 LTS",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu": "ARMv8 Processor rev 1 (v8l)",
        "cpu_cores": "4",
        "l4t": "32.7.4",
        "jetpack": "4.6.4",
        "power_mode": "MAXN (0)",
        "clock_limits": "GPU 76-921 MHz, CPU 102-1479 MHz",
        "locked_clocks": "yes",
    }
    assert device_slug(facts, "cuda") == "jetson-nano"


def test_cpu_and_gpu_of_a_jetson_are_two_devices_with_limits_of_their_own(tmp_path: Path) -> None:
    run = tools({"nvpmodel": sample("nvpmodel_q_fan_warn.txt")})
    known = {name: device_identity(name, root=plant(tmp_path, NANO), run=run) for name in ("cpu", "cuda")}
    assert {name: device_slug(facts, name) for name, facts in known.items()} == {"cpu": "jetson-nano-cpu", "cuda": "jetson-nano"}
    assert known["cpu"]["clock_limits"] == "102-1479 MHz"
    assert known["cuda"]["clock_limits"] == "GPU 76-921 MHz, CPU 102-1479 MHz"


def test_a_jetson_that_does_not_tell_its_mode_has_none_and_not_the_governor_of_its_cpu(tmp_path: Path) -> None:
    governor = {"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil"}
    assert "power_mode" not in device_identity("cuda", root=plant(tmp_path / "jetson", {**NANO, **governor}), run=tools({}))
    assert device_identity("cpu", root=plant(tmp_path / "other", governor), run=tools({}))["power_mode"] == "schedutil"


def test_active_clusters_of_an_orin_are_recorded_as_the_mode_sets_them(tmp_path: Path) -> None:
    files = {**NANO, "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0"}
    run = tools(
        {
            "nvpmodel": sample("nvpmodel_q_verbose_orin_nano_25w.txt"),
            "jetson_clocks": sample("jetson_clocks_show_orin_nano_25w.txt"),
        }
    )
    facts = device_identity("cuda", root=plant(tmp_path, files), run=run)
    assert (facts["gpu_tpcs"], facts["locked_clocks"], facts["power_mode"]) == ("4", "no", "25W (1)")
    assert device_slug(facts, "cuda") == "jetson-orin-nano"


@pytest.mark.parametrize(
    ("limits_mhz", "now_mhz", "locked"),
    [((315, 1575), 1575, "no"), ((1575, 1575), 1575, "GPU yes, memory unknown"), ((1575, 1575), 0, None)],
)
def test_clocks_of_a_jetson_without_root_are_those_of_the_kernel(
    limits_mhz: tuple[int, int], now_mhz: int, locked: str | None, tmp_path: Path
) -> None:
    devfreq = "sys/class/devfreq/gpu-gpc-0/"
    files = {
        "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
        devfreq + "min_freq": limits_mhz[0] * 1000000,
        devfreq + "max_freq": limits_mhz[1] * 1000000,
        devfreq + "cur_freq": now_mhz * 1000000,
        "sys/class/devfreq/gpu-nvd-0/min_freq": 1,
        "sys/class/devfreq/gpu-nvd-0/max_freq": 2,
    }
    facts = device_identity("cuda", root=plant(tmp_path, files), run=tools())
    assert device_slug(facts, "cuda") == "jetson-agx-thor"
    assert facts["clock_limits"] == f"GPU {limits_mhz[0]}-{limits_mhz[1]} MHz"
    assert facts.get("locked_clocks") == locked


def test_release_of_a_jetson_that_is_not_known_is_said_and_not_guessed(tmp_path: Path) -> None:
    package = {"dpkg-query": "38.2.2-20251101000000"}
    facts = device_identity("cuda", root=str(tmp_path), run=tools(package))
    assert (facts["l4t"], facts["jetpack"]) == ("38.2.2", "7.0")
    facts = device_identity("cuda", root=str(tmp_path), run=tools({"dpkg-query": "38.9.1-20251101000000"}))
    assert facts["jetpack"] == "unknown for L4T 38.9.1"


def test_gpu_in_a_board_that_is_no_jetson_is_named_by_its_own_model(tmp_path: Path) -> None:
    root = plant(tmp_path, {"proc/device-tree/model": "Some Server Board\0"})
    facts = device_identity("cuda", root=root, run=tools({"nvidia-smi": nvidia_smi(SERVER)}))
    assert device_slug(facts, "cuda") == "nvidia-a100-pcie-40gb"
    assert device_slug(device_identity("cpu", root=root, run=tools()), "cpu") == "some-server-board" == cpu_name(root)


def test_no_fact_tells_who_or_where_it_is(tmp_path: Path) -> None:
    run = tools({"nvidia-smi": nvidia_smi({**SERVER, "uuid": "GPU-8932f937", "serial": "0420318055072"})})
    for accelerator in ("cpu", "cuda"):
        text = " ".join(device_identity(accelerator, root=plant(tmp_path, NANO), run=run).values())
        for private in ("1421320012345", "secret-lab", "b08dfa60", "GPU-8932f937", "0420318055072", platform.node()):
            assert private not in text


def test_server_gpu_is_known_by_its_model_driver_and_limits(tmp_path: Path) -> None:
    root = plant(tmp_path, {"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance"})
    facts = device_identity("cuda", root=root, run=tools({"nvidia-smi": nvidia_smi(SERVER)}))
    expected = {
        "model": "NVIDIA A100-PCIE-40GB",
        "gpu": "NVIDIA A100-PCIE-40GB",
        "gpu_driver": "535.104.05",
        "gpu_memory": "40960 MiB",
        "gpu_power_limit": "250.00 W",
        "clock_limits": "GPU up to 1410 MHz",
        "power_mode": "performance",
    }
    assert {name: facts.get(name) for name in expected} == expected
    assert not {"l4t", "jetpack", "locked_clocks", "gpu_tpcs", "os", "cpu"} & set(facts)
    assert device_slug(facts, "cuda") == "nvidia-a100-pcie-40gb"


LISTED_SLICE = (
    "GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-aaaa0000-1111-2222-3333-444444444444)\n"
    "  MIG 1g.10gb     Device  0: (UUID: MIG-55550000-6666-7777-8888-999999999999)\n"
)


def test_slice_of_a_gpu_is_another_device_than_the_gpu_and_has_the_name_that_cuda_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = {**SERVER, "name": "NVIDIA A100-SXM4-80GB", "memory.total": "[Insufficient Permissions]"}
    whole = device_identity("cuda", root=str(tmp_path), run=tools({"nvidia-smi": nvidia_smi(server)}))
    part = device_identity("cuda", root=str(tmp_path), run=tools({"nvidia-smi": nvidia_smi(SERVER | server, listed=LISTED_SLICE)}))
    assert device_slug(whole, "cuda") == "nvidia-a100-sxm4-80gb"
    assert device_slug(part, "cuda") == "nvidia-a100-sxm4-80gb-mig-1g.10gb"
    assert (part["gpu"], part["gpu_mig"]) == ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "1g.10gb")
    assert "gpu_mig" not in whole
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "NVIDIA A100-SXM4-80GB MIG 1g.10gb")
    assert gpu_name(str(tmp_path)) == device_slug(part, "cuda")
    sliced = tools({"nvidia-smi": nvidia_smi({**SERVER, "mig.mode.current": "Enabled"})})
    facts = device_identity("cuda", root=str(tmp_path), run=sliced)
    assert device_slug(facts, "cuda") == "nvidia-a100-pcie-40gb-mig-of-unknown-profile"
    assert "gpu_memory" not in facts


def test_field_that_a_driver_does_not_know_loses_no_other(tmp_path: Path) -> None:
    old = {name: value for name, value in SERVER.items() if name != "power.limit"}
    facts = device_identity("cuda", root=str(tmp_path), run=tools({"nvidia-smi": nvidia_smi(old)}))
    assert "gpu_power_limit" not in facts
    assert (facts["gpu_driver"], facts["clock_limits"]) == ("535.104.05", "GPU up to 1410 MHz")


def test_gpu_without_a_readable_name_is_not_called_after_the_cpu(tmp_path: Path) -> None:
    facts = device_identity("cuda", root=plant(tmp_path, {"proc/cpuinfo": "model name : AMD EPYC"}), run=tools())
    assert facts["cpu"] == "AMD EPYC"
    with pytest.raises(WorkerError, match=r"device: got no model .*name it: device=NAME"):
        device_slug(facts, "cuda")


@pytest.mark.parametrize(
    "cpuinfo",
    [
        "processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: AMD EPYC\n",
        "processor : 0\nmodel name : Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz\n",
        "processor : 0\nBogoMIPS : 1\n\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
        "processor : 0\nmodel\t\t: 17\n",
        "model name\t:\nflags\t: fpu\n",
    ],
)
def test_cpu_has_the_name_that_the_host_gives_it(cpuinfo: str, tmp_path: Path) -> None:
    root = plant(tmp_path, {"proc/cpuinfo": cpuinfo})
    assert device_slug(device_identity("cpu", root=root, run=tools()), "cpu") == cpu_name(root)


def test_governor_and_clock_limits_of_a_cpu_are_read_in_mhz(tmp_path: Path) -> None:
    cpufreq = "sys/devices/system/cpu/cpu0/cpufreq/"
    root = plant(
        tmp_path,
        {
            cpufreq + "scaling_governor": "powersave",
            cpufreq + "scaling_min_freq": 400000,
            cpufreq + "scaling_max_freq": 3600000,
        },
    )
    facts = device_identity("cpu", root=root, run=tools())
    assert (facts["power_mode"], facts["clock_limits"]) == ("powersave", "400-3600 MHz")
    assert (cpu_governor(root), cpu_clock_limits(root)) == ("powersave", "400-3600 MHz")
    assert (cpu_governor(str(tmp_path / "nothing")), cpu_clock_limits(str(tmp_path / "nothing"))) == (None, None)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"sys/devices/system/cpu/online": "0,3-5"}, "4"),
        ({"sys/devices/system/cpu/online": "0"}, "1"),
        ({"sys/devices/system/cpu/online": "?", "proc/cpuinfo": "processor : 0\nprocessor : 1"}, "2"),
        ({}, None),
    ],
)
def test_cpus_online_are_counted(files: dict[str, str], cores: str | None, tmp_path: Path) -> None:
    assert device_identity("cpu", root=plant(tmp_path, files), run=tools()).get("cpu_cores") == cores


def test_facts_are_single_printable_lines(tmp_path: Path) -> None:
    root = plant(tmp_path, {"proc/device-tree/model": "Board\x1b[31m\tof\n  two lines" + "x" * 500 + "\0"})
    model = device_identity("cpu", root=root, run=tools())["model"]
    assert model.startswith("Board [31m of two lines")
    assert model.isprintable()
    assert len(model) == 200


def test_this_machine_is_recorded() -> None:
    facts = device_identity("cpu")
    assert {"python", "machine", "kernel", "model"} <= set(facts)
    assert all(isinstance(value, str) and value for value in facts.values())
