"""What an earlier version wrote: its runs are derived from, evaluated and resumed, to the end that they would have had."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.golden import records
from tests.golden.records import run_in
from tests.golden.small import BEFORE as RUNS
from tests.golden.small import CPU, DATA
from tests.golden.stored import FOLDER

BEFORE = FOLDER / "before"
RECORDS = {"search": records.search, "train": records.training}
SEARCHES = [name for name, words in RUNS.items() if words[0] == "search"]


@pytest.fixture
def before(tmp_path) -> Path:
    """A copy of everything that the earlier version wrote."""
    return Path(shutil.copytree(BEFORE, tmp_path / "before"))


@pytest.mark.parametrize("name", RUNS)
def test_stopped_run_of_an_earlier_version_goes_on_to_the_same_end(golden, before, name):
    assert not (before / name / "done.json").exists()
    run_in(before, *RUNS[name], f"out={name}", f"resume={name}")
    golden(name, RECORDS[RUNS[name][0]](before / name))


@pytest.mark.parametrize("name", RUNS)
def test_run_that_was_never_stopped_ends_like_the_resumed_one(golden, before, name):
    shutil.rmtree(before / name)
    run_in(before, *RUNS[name], f"out={name}")
    golden(name, RECORDS[RUNS[name][0]](before / name))


@pytest.mark.parametrize("name", SEARCHES)
def test_architecture_of_an_earlier_versions_stopped_search_is_the_same(golden, before, name):
    run_in(before, "derive", f"run={name}", "out=derived")
    run_in(before, "derive", f"run={name}", "sample=1", "out=drawn")
    golden(f"derived from {name}", [records.genotypes(before / out) for out in ("derived", "drawn")])


def test_network_that_an_earlier_version_trained_has_the_same_scores_and_pictures(golden, before):
    run_in(before, "eval", "run=trained", *DATA, *CPU, "out=eval")
    golden("eval", records.evaluation(before / "eval"))


def test_network_that_an_earlier_version_trained_is_exported_and_reported(golden, before):
    run_in(before, "export", "run=trained", "out=export")
    run_in(before, "report", "run=trained", "out=report")
    found = {"files": records.files(before / "export"), "report": records.headings(before / "report" / "report.html")}
    golden("export and report", found)


def test_stored_files_hold_no_path_of_the_machine_that_wrote_them():
    texts = [path for path in BEFORE.rglob("*") if path.suffix in (".yaml", ".json", ".jsonl")]
    assert texts
    assert not [path for path in texts if any(root in path.read_text(encoding="utf-8") for root in ("/tmp", "/home", "/root"))]
