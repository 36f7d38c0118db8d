"""What Jetsons tell of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.devices.this_machine import cpu_name, gpu_name
from nas.worker.device_facts import device_identity, device_slug
from nas.worker.engines import check_tensorrt_setup, jetson_board
from nas.worker.interface import Setup, WorkerError
from nas.worker.jetson import (
    clocks_are_locked,
    is_held,
    is_jetson,
    jetpack_of,
    jetson_slug,
    l4t_version,
    parse_core_package,
    parse_jetson_clocks,
    parse_nvpmodel,
    parse_tegra_release,
)
from tests.worker.fake_device import plant, sample, tools


@pytest.fixture(autouse=True)
def _gpu_of_every_jetson(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Orin")


@pytest.mark.parametrize(
    ("file", "l4t", "jetpack"),
    [
        ("nv_tegra_release_r32.5_odd_nominor.txt", "32.5", "4.5"),
        ("nv_tegra_release_r32.6.1_t186.txt", "32.6.1", "4.6"),
        ("nv_tegra_release_r32.7.4_nano.txt", "32.7.4", "4.6.4"),
        ("nv_tegra_release_r32.7.6_nano.txt", "32.7.6", "4.6.6"),
        ("nv_tegra_release_r36.4.3_orin.txt", "36.4.3", "6.2"),
    ],
)
def test_release_and_its_jetpack_are_read_from_recorded_files(file: str, l4t: str, jetpack: str) -> None:
    assert parse_tegra_release(sample(file)) == l4t
    assert jetpack_of(l4t) == jetpack


@pytest.mark.parametrize("text", ["", "# release", "# R (release), REVISION: 1", "# R32 (release), REVISION: x"])
def test_text_without_a_release_has_none(text: str) -> None:
    assert parse_tegra_release(text) is None


def test_jetpack_of_an_unknown_release_is_unknown_and_a_final_zero_does_not_count() -> None:
    assert jetpack_of("35.1.0") == jetpack_of("35.1") == "5.0.2"
    assert jetpack_of("39.2.0") == "7.2"
    assert jetpack_of("36.9.9") is None


@pytest.mark.parametrize(
    ("l4t", "jetpack"),
    [
        ("32.4.4", "4.4.1"),
        ("34.1.1", "5.0.1 DP"),
        ("36.2.0", "6.0 DP"),
        ("36.5.2", "6.2.3"),
        ("38.2.0", "7.0"),
        ("38.2.1", "7.0"),
        ("38.2.2", "7.0"),
        ("38.2.9", None),
        ("36.5.1", None),
    ],
)
def test_releases_in_the_field_are_known_and_their_neighbours_are_not_guessed(l4t: str, jetpack: str | None) -> None:
    assert jetpack_of(l4t) == jetpack


def test_release_is_that_of_the_package_where_the_file_is_absent(tmp_path) -> None:
    package = tools({"dpkg-query": "36.4.3-20250107174145"})
    assert l4t_version(str(tmp_path), package) == "36.4.3"
    assert l4t_version(str(tmp_path), tools()) is None
    root = plant(tmp_path, {"etc/nv_tegra_release": sample("nv_tegra_release_r32.7.4_nano.txt")})
    assert l4t_version(root, package) == "32.7.4"
    assert parse_core_package("no packages found") is None


@pytest.mark.parametrize(
    ("file", "mode"),
    [
        ("nvpmodel_q_nano_maxn.txt", "MAXN (0)"),
        ("nvpmodel_q_nano_5w.txt", "5W (1)"),
        ("nvpmodel_q_agx_xavier_jp43.txt", "MAXN (0)"),
        ("nvpmodel_q_fan_warn.txt", "MAXN (0)"),
        ("nvpmodel_q_orin_nano_15w.txt", "15W (0)"),
        ("nvpmodel_q_verbose_orin_nano_25w.txt", "25W (1)"),
        ("jetson_clocks_show_tx2.txt", "MAXP_CORE_ARM"),
    ],
)
def test_power_mode_is_found_whatever_stands_before_it(file: str, mode: str) -> None:
    assert parse_nvpmodel(sample(file)) == mode


@pytest.mark.parametrize("text", ["", "NV Fan Mode:quiet\n0\n", "NVPM ERROR: cannot open config file\n"])
def test_text_without_a_power_mode_has_none(text: str) -> None:
    assert parse_nvpmodel(text) is None


def test_clocks_of_a_jetson_are_in_mhz_whatever_unit_the_line_has() -> None:
    nano = parse_jetson_clocks(sample("jetson_clocks_show_nano_maxn.txt"))
    assert sorted(nano) == ["cpu0", "cpu1", "cpu2", "cpu3", "emc", "gpu"]
    assert nano["cpu0"] == {"online": 1, "min": 102.0, "max": 1428.0, "current": 1036.8}
    assert nano["gpu"] == {"min": 76.8, "max": 921.6, "current": 230.4}
    assert nano["emc"] == {"min": 204.0, "max": 1600.0, "current": 1600.0, "override": 0}
    orin = parse_jetson_clocks(sample("jetson_clocks_show_orin_nano_25w.txt"))
    assert orin["gpu"] == {"min": 306.0, "max": 918.0, "current": 306.0, "tpcs": 4}
    assert orin["cpu5"]["current"] == 1190.4
    tx2 = parse_jetson_clocks(sample("jetson_clocks_show_tx2.txt"))
    assert [tx2[f"cpu{index}"]["online"] for index in range(6)] == [1, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("file", "locked"),
    [
        ("jetson_clocks_show_nano_maxn_locked.txt", True),
        ("jetson_clocks_show_nano_maxn.txt", False),
        ("jetson_clocks_show_nano_5w.txt", False),
        ("jetson_clocks_show_orin_nano_25w.txt", False),
        ("jetson_clocks_show_tx2.txt", False),
        ("nvpmodel_q_nano_maxn.txt", None),
    ],
)
def test_clocks_are_locked_only_where_gpu_and_memory_are_held(file: str, locked: bool | None) -> None:
    assert clocks_are_locked(parse_jetson_clocks(sample(file))) is locked


ORIN_OF_39 = """\
cpu3:  Governor=schedutil MinFreq=2201600 MaxFreq=2201600 CurrentFreq=2201600 IdleStates: WFI=0 c7=0
GPU MinFreq=1300500000 MaxFreq=1300500000 CurrentFreq=1300500000
Active GPU TPCs: 8
EMC MinFreq=3199000000 MaxFreq=3199000000 CurrentFreq=3199000000
"""
THOR = """\
gpu-gpc-0 MinFreq=1575000000 MaxFreq=1575000000 CurrentFreq=1575000000
gpu-nvd-0 MinFreq=315000000 MaxFreq=1692000000 CurrentFreq=1692000000
EMC MinFreq=665600000 MaxFreq=4266000000 CurrentFreq=4266000000 FreqOverride=1
"""


@pytest.mark.parametrize(
    ("text", "locked"),
    [
        (ORIN_OF_39, True),
        (ORIN_OF_39.replace("GPU MinFreq=1300500000", "GPU MinFreq=306000000"), False),
        (ORIN_OF_39.replace("EMC MinFreq=3199000000", "EMC MinFreq=204000000"), False),
        (ORIN_OF_39.replace("EMC MinFreq=3199000000 ", "EMC "), None),
        (ORIN_OF_39.replace("GPU MinFreq=1300500000", "GPU MinFreq=306000000").replace("EMC", "emc: unreadable"), False),
        (THOR, True),
        (THOR.replace("gpu-gpc-0 MinFreq=1575000000", "gpu-gpc-0 MinFreq=315000000"), False),
        (THOR.replace("FreqOverride=1", "FreqOverride=0"), False),
        (THOR + "gpu-gpc-1 MinFreq=315000000 MaxFreq=1575000000 CurrentFreq=1575000000\n", False),
        (THOR.replace("gpu-gpc-0", "gpu-nvd-1"), None),
    ],
)
def test_clocks_without_a_flag_are_locked_where_their_limits_are_what_they_are(text: str, locked: bool | None) -> None:
    assert clocks_are_locked(parse_jetson_clocks(text)) is locked


def test_clock_of_a_unit_that_is_off_tells_nothing() -> None:
    assert is_held({"min": 5, "max": 5, "current": 0}) is None
    assert is_held({"min": 5, "max": 5, "current": 5}) is True
    assert is_held({"min": 4, "max": 5, "current": 5}) is is_held({"min": 5, "max": 5, "current": 4}) is False
    assert is_held({"min": 5, "max": 5}) is None


def test_memory_that_may_slow_down_is_not_locked() -> None:
    text = sample("jetson_clocks_show_nano_maxn_locked.txt").replace("FreqOverride=1", "FreqOverride=0")
    assert clocks_are_locked(parse_jetson_clocks(text)) is False


def test_error_lines_among_the_clocks_are_left_out() -> None:
    errors = "cat: /sys/kernel/debug/bpmp/emc/rate: Permission denied\nError: GPU unreadable\n"
    assert parse_jetson_clocks(errors + "EMC MinFreq=204000000 MaxFreq= FreqOverride=1\n") == {"emc": {"min": 204.0, "override": 1}}
    assert parse_jetson_clocks("cpu0: Gov=interactive MinFreq=345600\n") == {"cpu0": {"min": 345.6}}


@pytest.mark.parametrize(
    ("board", "name"),
    [
        ("NVIDIA Jetson Nano Developer Kit", "jetson-nano"),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "jetson-orin-nano"),
        ("NVIDIA Orin Nano Developer Kit", "jetson-orin-nano"),
        ("NVIDIA Orin NX Developer Kit", "jetson-orin-nx"),
        ("NVIDIA Jetson Xavier NX Developer Kit", "jetson-xavier-nx"),
        ("Jetson-AGX", "jetson-agx-xavier"),
        ("NVIDIA Jetson AGX Xavier Developer Kit", "jetson-agx-xavier"),
        ("NVIDIA Jetson AGX Orin Developer Kit", "jetson-agx-orin"),
        ("NVIDIA Jetson TX2 NX Developer Kit", "jetson-tx2"),
        ("quill", "jetson-tx2"),
        ("jetson_tx1", "jetson-tx1"),
        ("NVIDIA Orin Jetson-Small Developer Kit", "jetson-orin-small"),
        ("NVIDIA Jetson T4000 Developer Kit", "jetson-t4000"),
        ("jetson", "jetson"),
        ("jetson " + "x" * 500, "jetson-" + "x" * 53),
        ("Raspberry Pi 4 Model B Rev 1.4", None),
        ("NVIDIA A100-PCIE-40GB", None),
    ],
)
def test_boards_have_short_and_stable_names(board: str, name: str | None) -> None:
    assert jetson_slug(board) == name


@pytest.mark.parametrize("board", ["quill", "NVIDIA Orin NX Developer Kit", "NVIDIA Orin Jetson-Small Developer Kit", "Jetson-AGX"])
def test_every_part_of_the_worker_takes_the_same_boards_for_jetsons(board: str, tmp_path: Path) -> None:
    root = plant(tmp_path, {"proc/device-tree/model": board + "\0"})
    assert jetson_board(root) == board
    assert is_jetson(root, l4t=None)
    facts = device_identity("cuda", root=root, run=tools())
    assert device_slug(facts, "cuda") == jetson_slug(board) == gpu_name(root)
    assert device_slug(device_identity("cpu", root=root, run=tools()), "cpu") == f"{jetson_slug(board)}-cpu" == cpu_name(root)


def test_other_boards_are_none_and_a_container_is_one_by_its_release(tmp_path: Path) -> None:
    root = plant(tmp_path, {"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4"})
    assert jetson_board(root) is None
    assert not is_jetson(root, l4t=None)
    assert is_jetson(root, l4t="36.4.3")
    assert jetson_board(str(tmp_path / "nothing")) is None


@pytest.mark.parametrize("board", ["quill", "jetson_tx1", "NVIDIA Jetson Nano Developer Kit", "NVIDIA Jetson TX2 NX Developer Kit"])
def test_int8_is_refused_on_boards_without_it_whatever_they_call_themselves(board: str) -> None:
    setup = Setup(accelerator="cuda", precision="int8", threads=1, folder=".")
    with pytest.raises(WorkerError, match="has no int8; expected fp32 or fp16"):
        check_tensorrt_setup(setup, board=board)
    check_tensorrt_setup(setup, board="NVIDIA Orin Nano Developer Kit")
