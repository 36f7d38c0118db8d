"""What nvidia-smi tells."""

from __future__ import annotations

import pytest

from nas.worker.interface import WorkerError
from nas.worker.nvidia_smi import (
    UNKNOWN_MIG_PROFILE,
    bad_clock_reasons,
    check_one_gpu_model,
    clock_reasons_in_words,
    mig_profile,
    parse_mig_slices,
    parse_nvidia_smi,
    query_gpu,
)
from tests.worker.fake_device import nvidia_smi, sample, tools


@pytest.fixture(autouse=True)
def _no_choice_of_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)


def test_values_lose_their_units_and_the_header_is_no_gpu() -> None:
    fields = [
        "index",
        "temperature.gpu",
        "utilization.gpu",
        "utilization.memory",
        "fan.speed",
        "pstate",
        "power.draw",
        "clocks.sm",
        "clocks.mem",
        "clocks.gr",
    ]
    first, second = parse_nvidia_smi(sample("nvidia_smi_units.csv"), fields)[-2:]
    assert first == {
        "index": "0",
        "temperature.gpu": "56",
        "utilization.gpu": "26",
        "utilization.memory": "4",
        "fan.speed": "34",
        "pstate": "P3",
        "power.draw": "83.92",
        "clocks.sm": "1320",
        "clocks.mem": "5001",
        "clocks.gr": "1320",
    }
    assert (second["power.draw"], second["clocks.sm"]) == ("78.22", "1470")


@pytest.mark.parametrize("file", ["nvidia_smi_units.csv", "nvidia_smi_timestamped.csv"])
def test_header_is_no_gpu_whichever_names_were_asked_for(file: str) -> None:
    header = [cell.split(" [")[0] for cell in sample(file).splitlines()[0].split(", ")]
    assert len(parse_nvidia_smi(sample(file), header)) == 2
    short = [name.replace(".current", "").replace(".memory", ".mem").replace(".graphics", ".gr") for name in header]
    assert len(parse_nvidia_smi(sample(file), short)) == 2


def test_missing_values_are_left_out() -> None:
    fields = ["index", "name", "temperature.gpu", "memory.used", "memory.total", "utilization.gpu", "power.draw"]
    laptop, server = parse_nvidia_smi(sample("nvidia_smi_noheader_nounits.csv"), fields)
    assert laptop["name"] == "NVIDIA GeForce RTX 3050 Ti Laptop GPU"
    assert laptop["utilization.gpu"] == "26.3"
    assert "utilization.gpu" not in server
    assert server["power.draw"] == "36.79"
    for missing in ("[N/A]", "N/A", "[Not Supported]", "[Unknown Error]", "[GPU is lost]", ""):
        assert parse_nvidia_smi(f"0, {missing}\n", ["index", "power.draw"]) == [{"index": "0"}]


@pytest.mark.parametrize("text", ["", "No devices were found\n", "Failed to initialize NVML: Driver/library version mismatch\n"])
def test_text_of_no_gpu_has_none(text: str) -> None:
    assert parse_nvidia_smi(text, ["index", "name"]) == []
    assert query_gpu(["name"], run=tools({"nvidia-smi": text})) == {}


def test_the_gpu_that_cuda_may_use_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(arguments):
        asked.append(arguments[1])
        return "3, Tesla T4\n"

    for visible in (None, "3,1", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"):
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert query_gpu(["name"], run=run) == {"name": "Tesla T4"}
    assert asked == ["--id=0", "--id=3", "--id=GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"]
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert query_gpu(["name"], run=run) == {}
    assert len(asked) == 3


def listed(*profiles: str, index: int = 0) -> str:
    """What `nvidia-smi -L` prints of a GPU with these slices."""
    lines = [f"GPU {index}: NVIDIA A100-SXM4-80GB (UUID: GPU-aaaa000{index}-1111-2222-3333-444444444444)"]
    lines += [
        f"  MIG {profile:12}Device  {number}: (UUID: MIG-{index}{number}000000-5555-6666-7777-888888888888)"
        for number, profile in enumerate(profiles)
    ]
    return "".join(f"{line}\n" for line in lines)


def test_slices_are_listed_below_their_gpu() -> None:
    slices = parse_mig_slices(
        "MIG 9g.1gb Device 0: (UUID: MIG-x)\n" + listed("1g.10gb", "1c.3g.40gb") + listed(index=1) + "GPU debug\n"
    )
    assert [one.profile for one in slices] == ["1g.10gb", "1c.3g.40gb"]
    assert {one.number for one in slices} == {"0"}
    assert slices[0].gpu == "GPU-aaaa0000-1111-2222-3333-444444444444"
    assert slices[1].uuid == "MIG-01000000-5555-6666-7777-888888888888"
    for text in ("", "No devices were found", "  MIG 1g.10gb     Device  0: (UUID: MIG-a)"):
        assert parse_mig_slices(text) == []


@pytest.mark.parametrize(
    ("visible", "profile"),
    [
        (None, "1g.10gb"),
        ("0", "1g.10gb"),
        ("GPU-aaaa0000-1111-2222-3333-444444444444", "1g.10gb"),
        ("1", None),
        ("MIG-20000000-5555-6666-7777-888888888888", "3g.40gb"),
        ("MIG-2100", "2g.20gb"),
        ("MIG-ffff", UNKNOWN_MIG_PROFILE),
    ],
)
def test_the_slice_that_cuda_uses_is_known(visible: str | None, profile: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    text = listed("1g.10gb", "1g.10gb") + listed(index=1) + listed("3g.40gb", "2g.20gb", index=2)
    assert mig_profile(run=tools({"nvidia-smi": nvidia_smi({"mig.mode.current": "Disabled"}, listed=text)})) == profile


def test_a_gpu_that_is_sliced_in_several_ways_needs_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    run = tools({"nvidia-smi": nvidia_smi({}, listed=listed("3g.40gb", "1g.10gb"))})
    with pytest.raises(WorkerError, match=r"got a GPU with MIG slices 1g.10gb, 3g.40gb, .* set CUDA_VISIBLE_DEVICES to the UUID"):
        mig_profile(run=run)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-01")
    assert mig_profile(run=run) == "1g.10gb"


@pytest.mark.parametrize(("mode", "profile"), [("Enabled", UNKNOWN_MIG_PROFILE), ("Disabled", None), ("[N/A]", None)])
def test_a_sliced_gpu_that_lists_no_slices_says_so_by_its_mode(mode: str, profile: str | None) -> None:
    assert mig_profile(run=tools({"nvidia-smi": nvidia_smi({"mig.mode.current": mode})})) == profile
    assert mig_profile(run=tools()) is None


def test_state_of_a_slice_is_that_of_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(arguments):
        asked.append(arguments[1])
        return listed("1g.10gb") if arguments[1] == "-L" else "0, 1410\n"

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-00")
    assert query_gpu(["clocks.sm"], run=run) == {"clocks.sm": "1410"}
    assert asked == ["-L", "--id=GPU-aaaa0000-1111-2222-3333-444444444444"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-")
    assert query_gpu(["clocks.sm"], run=run) == {}


def test_gpus_of_several_models_need_a_known_order(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = tools({"nvidia-smi": "0, Quadro P400\n1, NVIDIA GeForce RTX 3090\n"})
    with pytest.raises(WorkerError, match="got models NVIDIA GeForce RTX 3090, Quadro P400, .*set CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        check_one_gpu_model(run=mixed)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    check_one_gpu_model(run=mixed)
    monkeypatch.delenv("CUDA_DEVICE_ORDER")
    for chosen in ("GPU-8932f937", "MIG-7f1fd7e9"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        check_one_gpu_model(run=mixed)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    check_one_gpu_model(run=tools({"nvidia-smi": "0, Tesla T4\n1, Tesla T4\n"}))
    check_one_gpu_model(run=tools())


@pytest.mark.parametrize("field", ["clocks_throttle_reasons.active", "clocks_event_reasons.active"])
def test_reasons_are_read_under_either_name(field: str) -> None:
    run = tools({"nvidia-smi": nvidia_smi({field: "0x0000000000000048"})})
    assert bad_clock_reasons(run=run) == [
        "GPU: hardware slowdown (nvidia-smi, 0x8)",
        "GPU: hardware thermal slowdown (nvidia-smi, 0x40)",
    ]


def test_exactly_the_reasons_that_spoil_a_timing_are_bad() -> None:
    bad = [bit for bit in range(64) if clock_reasons_in_words(hex(1 << bit))]
    assert [1 << bit for bit in bad] == [0x4, 0x8, 0x20, 0x40, 0x80]
    assert clock_reasons_in_words("0x0000000000000113") == []
    assert clock_reasons_in_words("Active") == []
