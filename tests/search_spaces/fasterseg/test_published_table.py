"""FasterSeg's published latency table as one of ours."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import nas
from nas.cost import load_table, save_table
from nas.errors import TableError
from nas.ops import OpSpec, macs
from nas.space.deployment import Deployment
from nas.space.design import design_of
from search_spaces import SEARCH_SPACES
from search_spaces.fasterseg.config import FasterSegConfig
from search_spaces.fasterseg.latency.deployed_lattice import DeployedLattice
from search_spaces.fasterseg.published_table import COLUMNS, LAYERS, LutLayer, lut_table, read_lut
from tests.fasterseg_reference import FOLDER, NETWORKS, OFFICIAL_NAMES, lattice_row_of, needs_reference, official_table, row_of

CSV = FOLDER / "latency_lut_1080ti.csv"
HEAD = ",".join(COLUMNS)
KEYS = {
    "ConvNorm_H1024_W2048_Cin3_Cout32_kernel3_stride2": "conv_bn_relu in=3x1024x2048 out=32x512x1024 k=3 s=2 d=1 g=1",
    "ConvNorm_H32_W64_Cin256_Cout128_kernel1_stride1": "conv_bn_relu in=256x32x64 out=128x32x64 k=1 s=1 d=1 g=1",
    "BasicResidual1x_H128_W256_Cin32_Cout48_stride1_dilation1": "conv_bn_relu in=32x128x256 out=48x128x256 k=3 s=1 d=1 g=1",
    "BasicResidual2x_H64_W127_Cin64_Cout96_stride2_dilation1": "conv_2x in=64x64x127 out=96x32x64 k=3 s=2 d=1 g=1",
    "BasicResidual_downup_1x_H64_W128_Cin64_Cout96_stride1_dilation2": "conv_downup in=64x64x128 out=96x64x128 k=3 s=1 d=2 g=1",
    "BasicResidual_downup_2x_H64_W128_Cin64_Cout96_stride2_dilation1": "conv_2x_downup in=64x64x128 out=96x32x64 k=3 s=2 d=1 g=1",
    "FactorizedReduce_H64_W128_Cin64_Cout96_stride2": "reduce_bn_relu in=64x64x128 out=96x32x64 k=1 s=2 d=1 g=1",
    "FactorizedReduce_H64_W128_Cin64_Cout96_stride1": None,
    "ff_H128_W256_C128": "conv_bn_relu in=128x128x256 out=128x128x256 k=1 s=1 d=1 g=1",
    "head_H128_W256_Cin128_Cout19": None,
}
"""Official key -> the key of our operation, as the official operators are built."""
ROWS = [
    "ConvNorm,1024,2048,3,32,3,2,,0.5",
    "ConvNorm,32,64,256,128,1,1,,0.25",
    "BasicResidual1x,128,256,32,48,,1,1,0.125",
    "BasicResidual2x,64,127,64,96,,2,1,1.5",
    "BasicResidual_downup_1x,64,128,64,96,,1,2,2.5",
    "BasicResidual_downup_2x,64,128,64,96,,2,1,3.5",
    "FactorizedReduce,64,128,64,96,,2,,4.5",
    "FactorizedReduce,64,128,64,96,,1,,5.5",
    "ff,128,256,128,128,,,,6.5",
    "head,128,256,128,19,,,,7.5",
]
"""The same layers as rows of a CSV file."""


def write_csv(path: Path, rows: list[str], *, head: str = HEAD) -> Path:
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_the_operation_that_it_times(key: str) -> None:
    spec = LutLayer.from_key(key).spec
    assert (None if spec is None else spec.key) == KEYS[key]


def test_there_is_a_key_of_every_layer() -> None:
    assert {key.partition("_H")[0] for key in KEYS} == set(LAYERS)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "conv",
        "ff_H128_W256",
        "ff_H128_W256_C128_x",
        "ff_H0_W256_C128",
        "ff_H0128_W256_C128",
        "ff_H-1_W256_C128",
        "ff_H1.0_W256_C128",
        "ff_H\u0661_W256_C128",
        "ff_W256_H128_C128",
        "FF_H128_W256_C128",
        "ff_H1280000_W256_C128",
        "BasicResidual1x_H128_W256_Cin32_Cout48_stride1",
        "ff_H128_W256_C128\n",
    ],
)
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="expected a layer"):
        LutLayer.from_key(key)


def test_csv_and_npy_of_the_same_entries_are_read_alike(tmp_path: Path) -> None:
    entries = dict(zip(KEYS, [0.5, 0.25, 0.125, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5], strict=True))
    np.save(tmp_path / "lut.npy", entries)  # type: ignore[arg-type]
    assert read_lut(write_csv(tmp_path / "lut.csv", ROWS)) == entries
    assert read_lut(tmp_path / "lut.npy") == entries


def test_the_table_has_the_published_times_and_says_where_they_come_from(tmp_path: Path) -> None:
    lut = lut_table(read_lut(write_csv(tmp_path / "lut.csv", ROWS)))
    table = lut.table
    assert table.identifier == "gtx-1080ti/tensorrt-fp32-b1-t1"
    assert set(table.entries) == {key for key in KEYS.values() if key is not None}
    entry = table.entries["conv_2x in=64x64x127 out=96x32x64 k=3 s=2 d=1 g=1"]
    assert (entry.p10_ms, entry.median_ms, entry.p90_ms, entry.n, entry.stable) == (1.5, 1.5, 1.5, 1, False)
    assert table.protocol.statistic == "published mean, spread not published"
    assert table.origin is not None
    assert table.origin.kind == "published"
    assert "1912.10917" in table.origin.source
    assert any("nearest" in caveat for caveat in table.origin.caveats)
    assert any("1x1" in caveat for caveat in table.origin.caveats)
    assert lut.left_out == {"FactorizedReduce": 1, "head": 1}
    assert lut.doubled == ()
    save_table(table, tmp_path / "table.json")
    assert load_table(tmp_path / "table.json") == table


@pytest.mark.parametrize("turned", [False, True])
def test_an_operation_that_two_layers_time_has_the_time_of_stem_and_decoder(tmp_path: Path, turned: bool) -> None:
    rows = ["ConvNorm,64,128,192,128,3,1,,0.3", "BasicResidual1x,64,128,192,128,,1,1,0.2"]
    rows = rows[::-1] if turned else rows
    lut = lut_table(read_lut(write_csv(tmp_path / "lut.csv", rows)))
    ((key, entry),) = lut.table.entries.items()
    assert key == "conv_bn_relu in=192x64x128 out=128x64x128 k=3 s=1 d=1 g=1"
    assert (entry.p10_ms, entry.median_ms, entry.p90_ms, entry.n) == (0.3, 0.3, 0.3, 1)
    assert lut.doubled == (key,)
    assert lut.largest_difference == pytest.approx(0.5)
    assert any("1 operations are there twice" in line and "50.0%" in line for line in lut.notes())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("ff,128,256,128,128,,,,6.5,1", "got 10 fields"),
        ("ff,128,256,128,128", "got 5 fields"),
        ("", "got 0 fields"),
        ("fff,128,256,128,128,,,,6.5", "got op 'fff', expected one of ConvNorm"),
        ("ff,128,256,128,64,,,,6.5", "C: got ''"),
        ("ff,128,256,128,128,1,,,6.5", "got kernel for ff"),
        ("head,128,256,128,,,,,6.5", "Cout: got ''"),
        ("head,128,256,128,19.0,,,,6.5", "Cout: got '19.0'"),
        ("head,128,256,128,019,,,,6.5", "Cout: got '019'"),
        ("head,128,256,128,19,,,,", "latency_ms: got ''"),
        ("head,128,256,128,19,,,,fast", "latency_ms: got 'fast'"),
        ("head,128,256,128,19,,,,nan", "latency_ms: got 'nan'"),
        ("head,128,256,128,19,,,,0", "latency_ms: got '0'"),
        ("head,128,256,128,19,,,,-1", "latency_ms: got '-1'"),
        ("head,128,256,128,19,,,,1e999", "latency_ms: got '1e999'"),
        ("ConvNorm,1024,2048,3,32,3,2,,0.7", "got ConvNorm_H1024_W2048_Cin3_Cout32_kernel3_stride2 twice"),
        ('"ff,128', "got no CSV"),
    ],
)
def test_a_wrong_row_is_refused_with_its_number(row: str, message: str, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "lut.csv", [ROWS[0], row])
    with pytest.raises(TableError) as caught:
        read_lut(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert "row 3" in str(caught.value) or "no CSV" in message


@pytest.mark.parametrize("content", [b"", b"\n", b"op,ms\nff,1\n", b"\xff\xfe\x00", b"\xef\xbb\xbf" + HEAD.encode(), HEAD.encode()])
def test_what_is_no_table_at_all_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "lut.csv").write_bytes(content)
    with pytest.raises(TableError, match="expected") as caught:
        read_lut(tmp_path / "lut.csv")
    assert "\n" not in str(caught.value)


def test_a_dictionary_of_something_else_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "lut.npy", {"conv3x3": 1.5})  # type: ignore[arg-type]
    with pytest.raises(TableError, match="got the key 'conv3x3', expected a layer"):
        read_lut(tmp_path / "lut.npy")


@needs_reference
def test_the_official_table_becomes_one_entry_for_each_row_of_an_operation() -> None:
    rows = list(csv.DictReader(CSV.open()))
    lut = lut_table(read_lut(CSV))
    skips = sum(row["op"] == "FactorizedReduce" and row["stride"] == "1" for row in rows)
    heads = sum(row["op"] == "head" for row in rows)
    assert lut.left_out == {"FactorizedReduce": skips, "head": heads}
    assert len(lut.table.entries) == len(rows) - skips - heads - len(lut.doubled)
    assert len(lut.doubled) == 2
    assert lut.largest_difference < 0.03


@needs_reference
def test_every_operation_of_the_lattice_has_the_time_of_its_row() -> None:
    table, official = lut_table(read_lut(CSV)), official_table()
    lattice = DeployedLattice(FasterSegConfig(), Deployment((1024, 2048), 12, 19))
    specs = [
        lattice.operator(op, stride, (a, b), down=down)
        for op in ("skip", "conv", "conv_downup", "conv_2x", "conv_2x_downup")
        for stride, down in [(8, False), (16, False), (32, False), (8, True), (16, True)]
        for a in lattice.config.widths
        for b in lattice.config.widths
    ]
    compared = [spec for spec in specs if spec.kind != "identity" and spec.key not in table.doubled]
    assert len(compared) == (5 * 5 - 3) * 25 - len(table.doubled)
    for spec in compared:
        assert table.table.cost(spec) == official[lattice_row_of(spec)], spec.key


def official_parts(name: str, table: Mapping[tuple[str, ...], float]) -> list[tuple[OpSpec, float, bool]]:
    """Operation, official time and whether it is the head, of all that the official code looks up for a network (Q1 repaired)."""
    genotype = nas.load_genotype(f"fasterseg/{name}")
    graph = design_of(genotype, SEARCH_SPACES).graph
    parts = []
    for node in graph.deployed().nodes:
        if node.role == "input" or macs(node.spec) == 0 or node.name == "heads8.classifier":
            continue
        kind = OFFICIAL_NAMES.get(node.spec.kind, "BasicResidual1x" if node.name.startswith("cells") else "ConvNorm")
        row = row_of(node.spec, kind={"ffm.conv": "ff", "heads8.conv": "head"}.get(node.name, kind))
        is_head = node.name == "heads8.conv"
        parts.append((node.spec, table[(*row[:4], "19", *row[5:]) if is_head else row], is_head))
    return parts


@needs_reference
@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_official_latency_follows_from_the_imported_table_but_for_the_head(name: str) -> None:
    lut = lut_table(read_lut(CSV))
    parts = official_parts(name, official_table())
    ours = sum(lut.table.cost(spec) for spec, _, is_head in parts if not is_head)
    head = sum(ms for _, ms, is_head in parts if is_head)
    stated = json.loads((FOLDER / "facts.json").read_text())[f"derived_{name}"]["latency_lut_ms_3x1024x2048"]
    assert ours + head == pytest.approx(stated["with_true_conv_2x_downup_entries"], rel=1e-9)
    assert {is_head for *_, is_head in parts} == {True, False}


@needs_reference
def test_the_6_414_ms_of_the_student_follow_with_the_official_look_up_of_the_zoomed_double_convolution() -> None:
    table = lut_table(read_lut(CSV)).table
    total = 0.0
    for spec, ms, is_head in official_parts("student", official_table()):
        looked_up = spec.key.replace("conv_2x_downup", "conv_2x")  # Q1
        total += ms if is_head else table.cost(OpSpec.from_key(looked_up))
    assert total == pytest.approx(6.414, abs=5e-4)


@needs_reference
def test_what_the_space_needs_and_the_table_lacks_is_not_on_the_published_list_of_layers() -> None:
    table = lut_table(read_lut(CSV)).table
    space = SEARCH_SPACES["fasterseg"].build(SEARCH_SPACES["fasterseg"].config())
    missing = table.missing(space.plan(Deployment((1024, 2048), 12, 19)))
    assert {"argmax", "concat", "classifier", "resize_corners"} <= {spec.kind for spec in missing}
    assert not {"conv_downup", "conv_2x_downup", "reduce_bn_relu"} & {spec.kind for spec in missing}
