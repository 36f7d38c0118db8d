"""Where a command writes is tried before it works, and fails in one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nas.cli import verbs
from nas.cli.command_line import main
from nas.cli.disk_errors import in_one_line
from nas.cli.file_faults import BY_ITSELF, try_out
from nas.config.jobs import DeriveJob, EvalJob, PredictJob, SearchJob
from nas.config.measuring_jobs import ProfileJob
from nas.cost.lookup import WORK_FOLDER
from nas.errors import UnusablePathError
from nas.runs.rundir import RUNS

SEARCH = ("search", "latency.table=macs")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Places that cannot be written to."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    return tmp_path


OUTS = {
    "/proc/x": "/proc/x: no such file or folder, and none can be made there",
    "file/x": "a part of the path is a file",
    "file": "is a file, expected a folder",
    "dangling": "leads to nothing",
    "dangling/x": "leads to nothing",
    "one/x": "in a circle",
    "n" * 300: "the name is too long",
}
OTHERS = ("search", "train", "derive", "eval", "export", "report", "profile validate")


@pytest.mark.parametrize(("verb", "out"), [*(("predict", out) for out in OUTS), *((verb, "/proc/x") for verb in OTHERS)])
def test_out_is_tried_before_the_verb_works(
    verb: str, out: str, places: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _, sub = verb.partition(" ")
    group = verbs.SUB_VERBS[first] if sub else verbs.VERBS

    def never(job: object) -> list[str]:
        raise AssertionError("worked")

    name, real = sub or first, verbs.verb_of(verb)
    monkeypatch.setitem(group, name, verbs.Verb(real.line, real.job, never, writes=real.writes))
    given = {"search": ["latency.table=macs"], "train": ["genotype=g"], "predict": ["latency.table=macs", "genotype=g"]}
    given["profile validate"] = ["latency.table=macs"]
    run = ["run=r"] if verb in ("derive", "eval", "export", "report") else []
    before = sorted(places.iterdir())
    assert main([*verb.split(), *given.get(verb, []), *run, f"out={out}"]) == 2
    said = capsys.readouterr().err
    assert OUTS[out] in said
    assert said.count("\n") == 1
    assert sorted(places.iterdir()) == before


def test_a_file_of_results_is_tried_under_its_name(places: Path) -> None:
    with pytest.raises(IsADirectoryError):
        try_out(ProfileJob(out=str(places)), "file")
    with pytest.raises(OSError, match="too long"):
        try_out(ProfileJob(out="n" * 300), "file")
    try_out(ProfileJob(out="file"), "file")
    assert (places / "file").read_text() == "kept"


def test_a_folder_that_is_not_empty_is_refused_at_once(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SEARCH, f"out={places}"]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_a_run_is_tried_where_it_will_be_written_to(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Path] = []
    monkeypatch.setattr("nas.cli.file_faults.try_folder", tried.append)
    (places / "run").mkdir()
    try_out(DeriveJob(run="run"), "folder")
    try_out(SearchJob(space=None, data=None, resume="run"), "folder")
    try_out(SearchJob(space=None, data=None, resume="auto"), "folder")
    try_out(PredictJob(run="run"), "named folder")
    assert tried == [Path("run"), Path("run")]


def test_where_a_run_goes_by_itself_is_tried_too(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Path] = []
    monkeypatch.setattr("nas.cli.file_faults.try_folder", tried.append)
    try_out(SearchJob(space=None, data=None), "folder", "search")
    assert tried == [RUNS]
    try_out(SearchJob(space=None, data=None, plan=True), "folder", "search")
    try_out(EvalJob(genotype="g", weights="w"), "folder", "eval")  # may write nothing
    assert tried == [RUNS]


def test_a_working_folder_that_has_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["show", "list=spaces"]) == 2
    assert capsys.readouterr().err == (
        "nas show: the working folder cannot be used (No such file or directory); change to one that is there\n"
    )


def test_an_error_is_said_also_where_the_working_folder_has_gone_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UnusablePathError, match="^run/config.yaml: no such file"), in_one_line(["run"]):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "run/config.yaml")


def test_the_folders_of_results_without_a_name_are_known() -> None:
    assert tuple(map(Path, BY_ITSELF)) == (RUNS, WORK_FOLDER)
