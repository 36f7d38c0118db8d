"""`nas profile import`: what it writes, and what it refuses before it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nas.config.measuring_jobs import ImportJob
from nas.cost import load_table
from nas.errors import ConfigError, TableError, UserError
from nas.space.deployment import Deployment
from nas.stages.profile_import import MAX_BYTES, import_table
from search_spaces import PUBLISHED_TABLES, SEARCH_SPACES
from tests.fasterseg_reference import FOLDER, needs_reference

NAME = "tensorrt-fp32-b1-t1"
TARGET = Path("latency_tables") / "gtx-1080ti" / f"{NAME}.json"
HEAD = "op,H_in,W_in,C_in,C_out,kernel,stride,dilation,latency_ms"
ROWS = [
    "BasicResidual1x,128,256,32,48,,1,1,0.125",
    "BasicResidual_downup_2x,128,256,32,48,,1,1,0.25",
    "FactorizedReduce,128,256,32,48,,1,,0.02",
    "head,128,256,128,19,,,,7.5",
    "ConvNorm,1000,2000,3,32,3,2,,0.5",
]
"""Two operations of FasterSeg's space, two entries that are none, and one of another size of images."""


@pytest.fixture
def lut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "lut.csv"
    path.write_text("\n".join([HEAD, *ROWS]) + "\n")
    return path


def test_a_published_table_is_written_where_its_name_is_looked_up(lut: Path) -> None:
    result = import_table(ImportJob(file=str(lut)), SEARCH_SPACES, PUBLISHED_TABLES)
    assert result.path == TARGET
    table = load_table(f"gtx-1080ti/{NAME}")
    assert table == result.table
    assert sorted(entry.median_ms for entry in table.entries.values()) == [0.125, 0.25, 0.5]
    assert json.loads(TARGET.read_text())["origin"]["kind"] == "published"


def test_the_summary_counts_what_was_left_out_and_what_the_space_can_use(lut: Path) -> None:
    lines = import_table(ImportJob(file=str(lut)), SEARCH_SPACES, PUBLISHED_TABLES).summary()
    space = SEARCH_SPACES["fasterseg"].build(SEARCH_SPACES["fasterseg"].config())
    needed = len(space.plan(Deployment((1024, 2048), 12, 19)))
    assert lines[0] == f"{TARGET}: 3 operations of gtx-1080ti/{NAME}, published"
    assert "left out: 1 skips of stride 1" in lines[1]
    assert "1 heads" in lines[1]
    assert f"fasterseg at 1024x2048, 19 classes: holds 2 of the {needed} operations of its networks" in lines
    assert any(line.startswith("mind: ") for line in lines)
    assert lines[-1] == "next: nas profile devices device=gtx-1080ti"


def test_a_file_of_numpy_gives_the_same_table(lut: Path) -> None:
    entries = {
        "BasicResidual1x_H128_W256_Cin32_Cout48_stride1_dilation1": np.float64(0.125),
        "BasicResidual_downup_2x_H128_W256_Cin32_Cout48_stride1_dilation1": 0.25,
        "FactorizedReduce_H128_W256_Cin32_Cout48_stride1": 0.02,
        "head_H128_W256_Cin128_Cout19": 7.5,
        "ConvNorm_H1000_W2000_Cin3_Cout32_kernel3_stride2": 0.5,
    }
    np.save("LUT.NPY.npy", entries)  # type: ignore[arg-type]
    Path("LUT.NPY.npy").rename("LUT.NPY")
    one = import_table(ImportJob(file=str(lut), out="a.json"), SEARCH_SPACES, PUBLISHED_TABLES)
    other = import_table(ImportJob(file="LUT.NPY", out="deep/b.json"), SEARCH_SPACES, PUBLISHED_TABLES)
    assert one.table == other.table
    assert Path("a.json").read_bytes() == Path("deep/b.json").read_bytes()


def test_the_device_may_have_another_name(lut: Path) -> None:
    import_table(ImportJob(file=str(lut), device="my-1080ti"), SEARCH_SPACES, PUBLISHED_TABLES)
    assert load_table(f"my-1080ti/{NAME}").device.name == "my-1080ti"


@pytest.mark.parametrize("out", [None, "table.json"])
def test_a_table_that_is_there_is_never_overwritten(lut: Path, out: str | None) -> None:
    path = TARGET if out is None else Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    with pytest.raises(ConfigError, match="is there already and is not overwritten; delete it, or give another file"):
        import_table(ImportJob(file=str(lut), out=out), SEARCH_SPACES, PUBLISHED_TABLES)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "nowhere.csv"}, "file: nowhere.csv is not there"),
        ({"file": "."}, "file: . is a folder"),
        ({"file": "empty.npy"}, "file: empty.npy has 0 bytes"),
        ({"file": "huge.csv"}, f"has {MAX_BYTES + 1} bytes, expected 1 to {MAX_BYTES}"),
        ({"file": "result.json"}, "result.json: result: "),
        ({"file": "pickled.pkl"}, "got pickled.pkl, expected result.json of the worker"),
        ({"file": "text.npy"}, "not that of an .npy file"),
        ({"file": "text.csv"}, "got the columns"),
        ({"device": "My Board"}, "device: got 'My Board', expected lower-case letters"),
        ({"out": "folder"}, "out: folder is a folder"),
        ({"out": "lut.csv/table.json"}, "out: lut.csv/table.json cannot be written"),
    ],
)
def test_what_cannot_be_imported_is_refused_in_one_line(lut: Path, changes: dict[str, str], message: str) -> None:
    for name, content in [
        ("empty.npy", ""),
        ("result.json", "{}"),
        ("pickled.pkl", "x"),
        ("text.npy", "x" * 50),
        ("text.csv", "x"),
    ]:
        Path(name).write_text(content)
    with Path("huge.csv").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    Path("folder").mkdir()
    before = sorted(Path().iterdir())
    with pytest.raises(UserError) as caught:
        import_table(ImportJob(**{"file": str(lut), **changes}), SEARCH_SPACES, PUBLISHED_TABLES)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(Path().iterdir()) == before


def test_a_file_above_the_limit_is_not_opened(lut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lut.open("ab") as file:
        file.truncate(MAX_BYTES + 1)
    monkeypatch.setattr(Path, "open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(TableError, match="bytes, expected"):
        import_table(ImportJob(file=str(lut)), SEARCH_SPACES, PUBLISHED_TABLES)


def test_the_command_imports_once_and_then_says_what_to_do(lut, run_nas) -> None:
    outcome = run_nas("profile", "import", f"file={lut}")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{TARGET}: 3 operations")
    again = run_nas("profile", "import", f"file={lut}")
    assert (again.status, len(again.err_lines)) == (2, 1)
    assert again.err.startswith("nas profile import: out: ")
    missing = run_nas("profile", "import")
    assert (missing.status, missing.err) == (2, "nas profile import: file is missing; give file=FILE, the table to import\n")


@needs_reference
def test_the_whole_official_table_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = import_table(ImportJob(file=str(FOLDER / "latency_lut_1080ti.csv")), SEARCH_SPACES, PUBLISHED_TABLES)
    space = SEARCH_SPACES["fasterseg"].build(SEARCH_SPACES["fasterseg"].config())
    plan = space.plan(Deployment((1024, 2048), 12, 19))
    held = sum(spec.key in result.table.entries for spec in plan)
    assert held > 500
    assert f"holds {held} of the {len(plan)} operations" in " ".join(result.summary())
