"""What Jetsons tell of themselves."""

from __future__ import annotations

import pytest

from nas.worker.jetson import (
    clocks_are_locked,
    jetpack_of,
    jetson_slug,
    l4t_version,
    parse_core_package,
    parse_jetson_clocks,
    parse_nvpmodel,
    parse_tegra_release,
)
from tests.worker.fake_device import plant, sample, tools


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
        ("Raspberry Pi 4 Model B Rev 1.4", None),
        ("NVIDIA A100-PCIE-40GB", None),
    ],
)
def test_boards_have_short_and_stable_names(board: str, name: str | None) -> None:
    assert jetson_slug(board) == name
