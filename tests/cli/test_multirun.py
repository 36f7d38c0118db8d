"""Sweeps: folders of the jobs, what goes on after a failure, and the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.cli import verbs
from nas.config.jobs import ShowJob
from nas.errors import UserError


def test_multirun_gives_each_job_a_folder_and_goes_on_after_a_failure(run_nas, stage):
    recorder = stage(UserError("first\nline"), None, ValueError("a bug"))
    outcome = run_nas("search", "--multirun", "seed=0,1,2", "latency.table=macs", "out=sweep")
    assert [job.seed for job in recorder.jobs] == [0, 1, 2]
    assert [Path(job.out) for job in recorder.jobs] == [Path(f"sweep/{number}") for number in range(3)]
    assert all(Path(job.out).is_dir() for job in recorder.jobs)
    assert outcome.status == 2
    failures = [line for line in outcome.err_lines if line.startswith("nas search: job")]
    assert failures == [
        "nas search: job 0 (seed=0 latency.table=macs out=sweep): first line",
        "nas search: job 2 (seed=2 latency.table=macs out=sweep): ValueError",
    ]
    assert "seed 1" in outcome.out


def test_multirun_without_out_shares_one_folder_under_runs(run_nas, stage):
    recorder = stage()
    assert run_nas("search", "-m", "seed=0,1", "latency.table=macs").status == 0
    folders = [Path(job.out) for job in recorder.jobs]
    assert folders[0].parent == folders[1].parent
    assert folders[0].parent.parent == Path("runs")
    assert folders[0].parent.name.startswith("multirun-")
    assert [folder.name for folder in folders] == ["0", "1"]


def test_multirun_with_swept_out_keeps_the_jobs_apart(run_nas, stage):
    recorder = stage()
    assert run_nas("search", "-m", "out=a,b", "latency.table=macs").status == 0
    assert [Path(job.out) for job in recorder.jobs] == [Path("a/0"), Path("b/1")]


def test_multirun_with_a_setting_refused_while_composing_runs_nothing(run_nas, stage):
    recorder = stage()
    outcome = run_nas("search", "-m", "search.epochs=1,many", "latency.table=macs")
    assert (outcome.status, len(outcome.err_lines), recorder.jobs) == (2, 1, [])


def test_multirun_status_is_the_first_that_is_not_0(run_nas, stage):
    stage(None, RuntimeError("a bug"), UserError("wrong"))
    assert run_nas("search", "-m", "seed=0,1,2", "latency.table=macs").status == 1


@pytest.mark.parametrize(("given", "expected"), [((), None), (("out=pictures",), "pictures/{}")])
def test_multirun_of_show_makes_folders_only_for_pictures_that_are_wanted(run_nas, monkeypatch, given, expected):
    jobs = []
    verb = verbs.Verb("show", ShowJob, lambda job: jobs.append(job) or [], sweep_out=verbs.VERBS["show"].sweep_out)
    monkeypatch.setitem(verbs.VERBS, "show", verb)
    assert run_nas("show", "-m", "list=spaces,tables", *given).status == 0
    assert [job.out for job in jobs] == [expected and expected.format(number) for number in range(2)]


def test_multirun_of_profile_does_not_turn_its_table_into_a_folder(run_nas, monkeypatch):
    jobs = []
    verb = verbs.VERBS["profile"]
    monkeypatch.setitem(
        verbs.VERBS, "profile", verbs.Verb("", verb.job, lambda job: jobs.append(job) or [], sweep_out=verb.sweep_out)
    )
    assert run_nas("profile", "-m", "num_classes=11,19", "out=table.json").status == 0
    assert [job.out for job in jobs] == ["table.json", "table.json"]
    assert not Path("table.json").exists()
