"""Which table a name or a path means."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from nas.cost import LatencyTable, hidden_by, known_tables, load_table, lookup, resolve_table, save_table
from nas.errors import ConfigError, TableError
from nas.ops import OpSpec
from tests.cost.simulated_table import table_of
from tests.cost.small_tables import calibration

NAME = "torch-eager-fp32-b1-t1"


def conv(channels: int) -> OpSpec:
    return OpSpec(
        kind="relu_conv_bn", in_channels=channels, height=6, width=8, out_channels=channels, out_height=6, out_width=8, kernel=3
    )


def table(*channels: int, device: str = "box") -> LatencyTable:
    return table_of({conv(c): 0.5 * c for c in channels}, device=device)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    work, data, shipped = tmp_path / "work", tmp_path / "data", tmp_path / "shipped"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_DATA_HOME", str(data))
    monkeypatch.setattr("nas.files.shipped.tables_dir", lambda: shipped)
    return {"work": Path("latency_tables"), "data": data / "segnas" / "latency_tables", "shipped": shipped}


def test_tables_are_looked_up_in_work_folder_then_data_folder_then_shipped(folders: dict[str, Path]) -> None:
    for channels, where in [(1, "shipped"), (2, "data"), (3, "work")]:
        save_table(table(channels), folders[where] / "box" / f"{NAME}.json")
        assert list(load_table(f"box/{NAME}").entries) == [conv(channels).key]
        assert load_table("box/torch-eager") == load_table(f"box/{NAME}")
    assert known_tables() == {f"box/{NAME}": folders["work"] / "box" / f"{NAME}.json"}


def test_a_path_goes_before_a_name(folders: dict[str, Path]) -> None:
    save_table(table(1), folders["work"] / "box" / f"{NAME}.json")
    save_table(table(2), Path("box") / NAME)
    assert list(load_table(f"box/{NAME}").entries) == [conv(2).key]


def test_home_is_the_base_of_the_data_folder_without_xdg(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert lookup.table_folders()[1] == tmp_path / ".local" / "share" / "segnas" / "latency_tables"
    assert lookup.table_folders()[2] == folders["shipped"]


def test_auto_is_this_machine_and_refused_when_it_can_mean_two(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "local_names", lambda: ["this-cpu", "this-gpu"])
    save_table(table(4, device="this-gpu"), folders["data"] / "this-gpu" / f"{NAME}.json")
    assert load_table("auto/torch-eager").device.name == "this-gpu"
    save_table(table(4, device="this-cpu"), folders["data"] / "this-cpu" / f"{NAME}.json")
    with pytest.raises(TableError, match="this-cpu or this-gpu"):
        load_table("auto/torch-eager")


def test_unknown_table_is_refused_with_the_command_and_the_tables_at_hand(folders: dict[str, Path]) -> None:
    save_table(table(1), folders["shipped"] / "box" / f"{NAME}.json")
    with pytest.raises(TableError, match=f"nas profile device=phone runtime={NAME}.*at hand: box/{NAME}"):
        load_table("phone/torch-eager")


@pytest.mark.usefixtures("folders")
@pytest.mark.parametrize("name", ["missing.json", "box", "/nowhere/table.json", "a/b/c", "", "../x", "./x", "box/"])
def test_what_is_neither_file_nor_name_is_refused(name: str) -> None:
    with pytest.raises(TableError, match="there is no such file"):
        load_table(name)


@pytest.mark.usefixtures("folders")
@pytest.mark.parametrize("runtime", ["tensorflow", "torch-eager-fp32", "torch-eager-fp32-b0-t1"])
def test_table_of_a_wrong_runtime_name_is_refused_with_the_pattern(runtime: str) -> None:
    with pytest.raises(ConfigError, match="BACKEND-PRECISION-bN-tN with BACKEND one of torch-eager"):
        load_table(f"box/{runtime}")


def test_table_of_another_device_under_a_name_is_refused(folders: dict[str, Path]) -> None:
    path = folders["work"] / "phone" / f"{NAME}.json"
    save_table(table(1, device="box"), path)
    with pytest.raises(TableError, match=f"table for box/{NAME}, expected one for phone/{NAME}"):
        load_table(f"phone/{NAME}")
    assert load_table(path).device.name == "box"


def test_resolve_table_knows_none_macs_and_files(tmp_path: Path) -> None:
    save_table(table(8, 16), tmp_path / "table.json")
    assert resolve_table("none") is None
    macs = resolve_table("macs")
    assert macs is not None
    assert macs.identifier == "macs"
    assert resolve_table(str(tmp_path / "table.json")) == table(8, 16)


def shipped_and_local(folders: dict[str, Path], local: LatencyTable) -> tuple[Path, Path]:
    """A calibrated table that ships, and one of its name in the working folder."""
    paths = folders["work"] / "box" / f"{NAME}.json", folders["shipped"] / "box" / f"{NAME}.json"
    save_table(table(1, 2).with_calibration(calibration("lgcnet")), paths[1])
    save_table(local, paths[0])
    return paths


def test_a_table_that_hides_a_calibrated_one_is_told(folders: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    local, shipped = shipped_and_local(folders, table(1, 2))
    with caplog.at_level(logging.INFO, logger="nas"):
        resolve_table("box/torch-eager")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"{local} (2 operations, not calibrated) hides {shipped} (2 operations, calibrated for lgcnet at 360x480), "
        f"which is looked up after it; latency.table={shipped} names that one"
    )
    caplog.clear()
    load_table(str(shipped))
    assert not caplog.records


def test_a_hidden_table_that_knows_no_more_is_no_warning(folders: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    shipped_and_local(folders, table(1, 2, 3).with_calibration(calibration("lgcnet")))
    with caplog.at_level(logging.INFO, logger="nas"):
        load_table("box/torch-eager")
    assert [record.levelno for record in caplog.records] == [logging.INFO]


def test_more_operations_and_broken_files_are_a_warning(folders: dict[str, Path]) -> None:
    local, shipped = shipped_and_local(folders, table(1).with_calibration(calibration("lgcnet")))
    assert [one.knows_more for one in hidden_by(local)] == [True]
    shipped.write_text("{")
    assert [(one.knows_more, one.words[1]) for one in hidden_by(local)] == [(True, "cannot be read")]
    assert hidden_by(shipped) == []
    assert hidden_by(Path("elsewhere.json")) == []


def test_the_same_file_in_two_folders_hides_nothing(folders: dict[str, Path]) -> None:
    local, shipped = shipped_and_local(folders, table(1))
    local.unlink()
    local.symlink_to(shipped)
    assert hidden_by(local) == []


def test_lists_say_which_table_hides_which(folders: dict[str, Path], run_nas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders["data"].parents[2] / "work")
    local, shipped = shipped_and_local(folders, table(1))
    for words in (("show", "list=tables"), ("profile", "devices")):
        told = run_nas(*words)
        assert told.status == 0, told.err
        assert f"{local} (1 operations, not calibrated) hides {shipped} (2 operations, calibrated for lgcnet" in told.out
