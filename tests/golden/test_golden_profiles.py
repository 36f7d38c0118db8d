"""Latency tables: what would be measured, what a worker measured elsewhere, what published tables hold, what there is."""

from __future__ import annotations

import json
import shutil
from zipfile import ZipFile

import nas
from tests.golden.records import run_in, stable
from tests.golden.small import SPACES
from tests.golden.stored import FOLDER

BEFORE = FOLDER / "before"
SMALL = tuple(word for word in SPACES["lgcnet"] if word.startswith(("space", "deploy")))
PUBLISHED = """\
op,H_in,W_in,C_in,C_out,kernel,stride,dilation,latency_ms
BasicResidual1x,128,256,32,48,,1,1,0.125
BasicResidual_downup_2x,128,256,32,48,,1,1,0.25
FactorizedReduce,128,256,32,48,,1,,0.02
head,128,256,128,19,,,,7.5
ConvNorm,1000,2000,3,32,3,2,,0.5
"""
"""In the columns of FasterSeg's table."""


def test_plan_names_the_same_operations(golden, tmp_path):
    printed = run_in(tmp_path, "profile", "plan", *SMALL, "deploy.input=[32,48]", "device=some-board")
    golden("plan", [line for line in printed.splitlines() if not line.startswith("forecast")])


def test_bundle_holds_the_same_job(golden, tmp_path):
    bundled = ("runner=bundle", "runtime=onnxruntime", "rounds=2", "out=bundle.zip")
    run_in(tmp_path, "profile", *SMALL, "deploy.input=[32,48]", *bundled)
    with ZipFile(tmp_path / "bundle.zip") as bundle:
        golden("bundle files", sorted(bundle.namelist()))
        job = json.loads(bundle.read("job.json"))
    for operation in job["operations"]:  # digest and size of a graph, which a version of PyTorch may write otherwise
        assert {len(operation.pop("sha256")), operation.pop("size") > 0} == {64, True}
    golden("bundle job", {key: value for key, value in job.items() if key != "id"})


def test_result_of_an_earlier_worker_gives_the_same_table(golden, tmp_path):
    shutil.copy(BEFORE / "result.json", tmp_path / "result.json")
    printed = run_in(tmp_path, "profile", "import", "file=result.json", "out=table.json")
    golden("imported", json.loads((tmp_path / "table.json").read_text(encoding="utf-8")))
    golden("imported lines", printed.splitlines())


def test_published_table_gives_the_same_table(golden, tmp_path):
    (tmp_path / "published.csv").write_text(PUBLISHED, encoding="utf-8")
    printed = run_in(tmp_path, "profile", "import", "file=published.csv", "out=table.json")
    golden("published", json.loads((tmp_path / "table.json").read_text(encoding="utf-8")))
    golden("published lines", printed.splitlines())


def test_tables_at_hand_are_listed_alike(golden, tmp_path):
    target = tmp_path / "latency_tables" / "some-board" / "torch-eager-fp32-b1-t1.json"
    target.parent.mkdir(parents=True)
    shutil.copy(BEFORE / "table.json", target)
    golden("devices", stable(run_in(tmp_path, "profile", "devices", "device=some-board")).splitlines())
    listed = run_in(tmp_path, "show", "list=tables").splitlines()
    golden("tables", [" ".join(line.split()) for line in listed if line.startswith(("table", "some-board"))])


def test_table_function_reads_the_same_entries(golden):
    table = nas.load_table(BEFORE / "table.json")
    golden("entries", [table.identifier, table.unit, {key: entry.median_ms for key, entry in table.entries.items()}])
