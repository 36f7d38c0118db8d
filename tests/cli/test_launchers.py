"""`--multirun` with launchers that run jobs in other processes: joblib and submitit's local executor, for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from hydra.core.config_store import ConfigStore
from joblib.externals.loky import get_reusable_executor
from submitit.core.utils import UncompletedJobError

import nas
from nas.cli import command_line as cli
from nas.cli.hydra_app import run_app
from nas.cli.sweeps import lost_job
from nas.errors import LostProcessError
from nas.files.atomic import is_running
from nas.runs.checkpoint import load_checkpoint
from nas.runs.tracking import read_metrics
from tests.launched_work import Dying, Faulty, Telling
from tests.small_jobs import CHECKOUT, overrides, random_genotype, rows, search_job

PATIENCE_S = 200
SLURM = {
    "sbatch": """for number in 0 1; do
  SLURM_JOB_ID=8$number SLURM_ARRAY_JOB_ID=77 SLURM_ARRAY_TASK_ID=$number SLURM_JOB_NUM_NODES=1 SLURM_NTASKS=1 SLURM_NODEID=0 \\
    SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_JOB_NODELIST=here sh "$1" > /dev/null 2>&1 &
done
echo Submitted batch job 77""",
    "srun": """while [ "${1#--}" != "$1" ]; do
  if [ "$1" = --unbuffered ]; then shift; else shift 2; fi
done
exec "$@\"""",
    "sacct": "echo 'JobID|State|NodeList'",
}
"""Imitations of Slurm's commands: an array of two jobs, which start at once on this machine."""
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.fixture(scope="module", autouse=True)
def _processes():
    """joblib keeps its processes from sweep to sweep; they go with this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(CHECKOUT))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
        get_reusable_executor().shutdown(wait=True, kill_workers=True)


def sweep(work, *words):
    """The results of `nas show` with some other work."""
    results = []
    run_app(cli._app("show", words), ["--multirun", *words], work, tell=results.append)
    return results


def test_joblib_jobs_fail_alone_in_order_and_the_others_are_as_without_a_sweep(run_nas, tmp_path):
    out, genotype = tmp_path / "sweep", tmp_path / "genotype.yaml"
    random_genotype(genotype)
    outcome = run_nas("predict", "-m", f"genotype=nowhere.yaml,{genotype}", "latency.table=macs,none.json", f"out={out}", *JOBLIB)
    assert outcome.status == 2
    failed = [line.partition(" (")[0] for line in outcome.err_lines]
    assert failed == [f"nas predict: job {number}" for number in (0, 1, 3)]
    assert "nowhere.yaml" in outcome.err_lines[0]
    assert run_nas("predict", f"genotype={genotype}", "latency.table=macs", f"out={tmp_path / 'alone'}").status == 0
    assert json.loads((out / "2" / "predict.json").read_text()) == json.loads((tmp_path / "alone" / "predict.json").read_text())
    assert not list((out / "0").iterdir())
    lines = outcome.out.splitlines()
    assert f"job 2 (genotype={genotype} latency.table=macs out={out}):" in lines
    assert sum(line.startswith("job ") for line in lines) == 1


def test_each_job_has_its_environment_and_runs_elsewhere():
    results = sweep(Telling(), "list=spaces,tables,genotypes", *JOBLIB, "+hydra.job.env_set.MARK='gpu ${hydra:job.num}'")
    assert [result.job for result in results] == [
        f"job {n} (list={what})" for n, what in enumerate(("spaces", "tables", "genotypes"))
    ]
    assert [result.lines[-1] for result in results] == ["gpu 0", "gpu 1", "gpu 2"]
    assert str(os.getpid()) not in {line for result in results for line in result.lines}


LASTING = """
from nas.cli import command_line as cli
from nas.cli.hydra_app import run_app
from tests.launched_work import Lasting
words = ["--multirun", "list=spaces,tables", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
run_app(cli._app("show", words), words, Lasting(), tell=print)
"""


def test_the_jobs_of_a_killed_sweep_end_with_it(tmp_path):
    command = subprocess.Popen([sys.executable, "-c", LASTING], cwd=tmp_path)
    end = time.monotonic() + PATIENCE_S
    files = [tmp_path / f"{what}.pid" for what in ("spaces", "tables")]
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < end
        assert command.poll() is None
        time.sleep(0.05)
    jobs = [int(file.read_text()) for file in files]
    assert all(map(is_running, jobs))
    command.kill()
    command.wait()
    end = time.monotonic() + 10
    while any(map(is_running, jobs)):
        assert time.monotonic() < end, "its jobs go on"
        time.sleep(0.05)


def test_a_bug_in_another_process_is_a_traceback_and_a_line_here():
    good, bad = sweep(Faulty(), "list=spaces,tables", *JOBLIB)
    assert (good.status, good.fault) == (0, "")
    lines = bad.fault.splitlines()
    assert bad.status == 1
    assert lines[0].startswith("Traceback")
    assert lines[-2:] == ["ZeroDivisionError: job 1 (list=tables)", "nas show: job 1 (list=tables): ZeroDivisionError"]


@pytest.mark.slow
def test_a_job_on_two_devices_is_started_as_it_was_composed(run_nas, tmp_path):
    out = tmp_path / "a sweep, of 1"
    words = overrides(search_job(search__max_steps=1, search__eval_every=0, trainer__devices=2))
    outcome = run_nas("search", "-m", *words, "seed=3", f"out='{out}'", *JOBLIB)
    assert (outcome.status, outcome.err) == (0, "")
    settings = yaml.safe_load((out / "0" / "config.yaml").read_text())
    assert (settings["seed"], settings["trainer"]["devices"], settings["out"]) == (3, 2, str(out / "0"))
    assert [row["step"] for row in rows(out / "0", "step")] == [1]
    assert nas.load_genotype(out / "0").provenance["seed"] == 3


def test_jobs_on_several_devices_are_started_with_what_belongs_to_them(run_nas, tmp_path, monkeypatch):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "short.yaml").write_text("# @package _global_\nsearch:\n  epochs: 2\n")
    started, statuses = [], [0, 3]
    monkeypatch.setattr(
        cli, "run_under_torchrun", lambda words, count: started.append((words, count)) or statuses[len(started) - 1]
    )
    out = tmp_path / "it's [1],a=b"
    quoted = str(out).replace("'", "\\'")
    flags = (
        "--config-dir",
        str(tmp_path / "mine"),
        "+experiment=short",
        "hydra.job_logging.root.level=WARNING",
        "+hydra.job.env_set.MARK=1",
    )
    outcome = run_nas("search", "--multirun", "seed=5,6", "latency.table=macs", "trainer.devices=2", f"out='{quoted}'", *flags)
    assert (outcome.status, len(outcome.err_lines)) == (3, 1)
    assert outcome.err_lines[0].startswith("nas search: job 1 (seed=6 ")
    assert outcome.err_lines[0].endswith("its processes ended with status 3")
    for number, (words, count) in enumerate(started):
        assert count == 2
        settings = yaml.safe_load(run_nas(*words, "--cfg", "job").out)
        assert (settings["seed"], settings["out"]) == (5 + number, str(out / str(number)))
        assert (settings["trainer"]["devices"], settings["search"]["epochs"]) == (2, 2)
        assert "hydra.job_logging.root.level=WARNING" in words
        assert not any("env_set" in word or "multirun" in word for word in words)


@pytest.mark.slow
def test_submitit_runs_a_search_beside_one_that_fails(run_nas, tmp_path):
    out = tmp_path / "sweep"
    words = overrides(search_job(search__max_steps=1, search__eval_every=0))
    outcome = run_nas("search", "-m", *words, "resume=null,nowhere", f"out={out}", "hydra/launcher=submitit_local")
    assert outcome.status == 2
    (line,) = outcome.err_lines
    assert line.startswith("nas search: job 1 (")
    assert "resume: " in line
    assert nas.load_genotype(out / "0").space == "lgcnet"
    assert sum("genotype.yaml" in line for line in outcome.out.splitlines()) > 0
    assert {path.relative_to(out).parts[0] for path in out.rglob("*.pkl")} == {".submitit"}
    logs = [path.read_text() for path in out.glob(".submitit/*/*_log.out")]
    assert sum("job 0: steps 1/1 (100%)" in log for log in logs) == 1
    assert "steps 1/1" not in outcome.out


def wait_for_rows(process, runs, count):
    """Until the metrics of all these runs have so many rows."""
    given_up = time.monotonic() + PATIENCE_S
    files = [run / "metrics.jsonl" for run in runs]
    while not all(file.exists() and len(read_metrics(file)) >= count for file in files):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < given_up
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_ctrl_c_saves_every_running_job_and_starts_no_other(tmp_path, launcher):
    out = tmp_path / "sweep"
    more = ("hydra/launcher=" + launcher, *(JOBLIB[1:] if launcher == "joblib" else ()))
    seeds = "seed=0,1,2" if launcher == "joblib" else "seed=0,1"
    words = overrides(search_job(search__epochs=4000, search__eval_every=0))
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", "search", "-m", *words, seeds, f"out={out}", *more],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    runs = [out / "0", out / "1"]
    wait_for_rows(process, runs, 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors.splitlines()[-1]) == (130, "nas search: interrupted")
    assert "Traceback" not in errors
    for run in runs:
        saved = load_checkpoint(run / "checkpoints" / "last.pt")["loop"]["step"]
        assert [row["step"] for row in rows(run, "step")] == list(range(1, saved + 1))
    assert not (out / "2" / "config.yaml").exists()
    assert output.count("waiting for the jobs to stop") == 1
    if launcher == "joblib":
        stopping = [line for line in output.splitlines() if "stopping after this step" in line]
        assert sorted(line.partition(": ")[0] for line in stopping) == ["job 0", "job 1"]


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "submitit_slurm"])
def test_a_launcher_that_is_not_installed_is_a_line(run_nas, monkeypatch, launcher):
    run_nas("show", "list=spaces")  # Hydra has looked for its plugins
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{launcher}.yaml")
    outcome = run_nas("show", "-m", "list=spaces,tables", f"hydra/launcher={launcher}")
    assert (outcome.status, outcome.err) == (
        2,
        f"nas show: hydra/launcher: {launcher} is not installed: pip install 'segnas[sweeps]'\n",
    )


def test_slurm_settings_are_composed(run_nas):
    given = ("hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu", "hydra.launcher.gpus_per_node=2", "out=/shared/sweep")
    settings = yaml.safe_load(run_nas("search", *given, "--cfg", "hydra").out)["hydra"]
    assert settings["launcher"]["_target_"].endswith("SlurmLauncher")
    assert (settings["launcher"]["partition"], settings["launcher"]["gpus_per_node"]) == ("gpu", 2)
    assert settings["launcher"]["submitit_folder"] == "${hydra.sweep.dir}/.submitit/%j"


@pytest.mark.slow
def test_slurm_gets_an_array_of_jobs_whose_results_come_back(tmp_path, monkeypatch):
    for command, text in SLURM.items():
        (tmp_path / command).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    mark = "+hydra.job.env_set.MARK=${hydra:job.num}"
    first, second = sweep(Telling(), "list=spaces,tables", "hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu", mark)
    assert (first.job, first.lines[-1]) == ("job 0 (list=spaces)", "0")
    assert (second.job, second.lines[-1]) == ("job 1 (list=tables)", "1")
    assert str(os.getpid()) not in (*first.lines, *second.lines)
    (script,) = tmp_path.glob("runs/*/.submitit/*/*submission.sh")
    assert {"#SBATCH --partition=gpu", "#SBATCH --array=0-1%2"} <= set(script.read_text().splitlines())


def test_a_process_that_is_killed_ends_the_sweep_in_a_line():
    with pytest.raises(LostProcessError, match="ended without a result .*; .* resume=FOLDER goes on with one$"):
        sweep(Dying(), "list=spaces,tables", *JOBLIB)
    assert "Job 1 (task: 0)" in str(lost_job(UncompletedJobError("Job 1 (task: 0) ended\nwith a long story")))
    assert lost_job(RuntimeError("something else")) is None
