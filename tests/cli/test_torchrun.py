"""`trainer.devices=2` and `torchrun -m nas` for real: two processes on the loopback, killed, interrupted and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import nas
from nas.config.settings import TrainerSettings
from nas.distributed.fabric import make_fabric
from nas.distributed.world import World, check_devices, meeting_id, starter, world
from nas.errors import ConfigError
from nas.runs.checkpoint import load_checkpoint
from nas.runs.tracking import read_metrics
from tests.small_jobs import CHECKOUT, overrides, random_genotype, rows, search_job, train_job

PATIENCE_S = 200
KILLED = (
    "nas search: process 1 of 2 was ended by SIGKILL, and the others were stopped; go on from the last checkpoint with "
    "resume=FOLDER, with as many processes or others"
)


def start(verb, job, *more, launcher=("-m", "nas")):
    """The command of a job as a process."""
    return subprocess.Popen(
        [sys.executable, *launcher, verb, *overrides(job), *more],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    """Status, lines on stdout, lines on stderr."""
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out.splitlines(), err.splitlines()


def wait_for_steps(process, run: Path, count: int) -> None:
    """Until the metrics of a run have so many rows."""
    given_up = time.monotonic() + PATIENCE_S
    while not (run / "metrics.jsonl").exists() or len(read_metrics(run / "metrics.jsonl")) < count:
        assert process.poll() is None, end(process)
        assert time.monotonic() < given_up
        time.sleep(0.02)


def worker(process, rank: int) -> int:
    """Process id of the worker of a rank below a launcher, from /proc."""
    children = [pid for task in Path(f"/proc/{process.pid}/task").iterdir() for pid in (task / "children").read_text().split()]
    found = {pid: Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in children}
    (pid,) = [int(pid) for pid, environment in found.items() if f"RANK={rank}".encode() in environment]
    return pid


def assert_close_runs(run: Path, other: Path) -> None:
    """The same steps and scalars, weights and architecture up to rounding, and the same genotype."""
    assert [row["step"] for row in rows(run)] == [row["step"] for row in rows(other)]
    for mine, theirs in zip(rows(run), rows(other), strict=True):
        assert mine.pop("split") == theirs.pop("split")
        assert mine == pytest.approx(theirs, rel=5e-2, abs=2e-3)  # many steps magnify rounding
    states = [load_checkpoint(folder / "checkpoints" / "last.pt") for folder in (run, other)]
    for name, value in states[0]["supernet"].items():
        assert torch.allclose(value.double(), states[1]["supernet"][name].double(), rtol=1e-3, atol=1e-4), name
    assert nas.load_genotype(run).choices == nas.load_genotype(other).choices


@pytest.mark.slow
def test_a_killed_process_ends_the_job_in_a_line_and_one_process_goes_on_from_its_checkpoint(tmp_path):
    settings = {"search__epochs": 4, "search__checkpoint_every": 1, "search__eval_every": 0}
    settings |= {
        "search__relaxation": "soft",
        "search__tau_start": 1.0,
        "search__tau_end": 1.0,
    }  # drawn options may flip by rounding
    run, whole = tmp_path / "run", tmp_path / "whole"
    process = start("search", search_job(run, **settings, trainer__devices=2))
    wait_for_steps(process, run, 5)
    os.kill(worker(process, 1), signal.SIGKILL)
    killed = time.monotonic()
    status, _, errors = end(process)
    assert time.monotonic() - killed < 60
    assert (status, errors) == (1, [KILLED])
    assert not (run / "done.json").exists()
    saved = load_checkpoint(run / "checkpoints" / "last.pt")["loop"]["step"]
    assert 2 <= saved < 12
    nas.search(search_job(run, **settings, resume=str(run)))
    nas.search(search_job(whole, **settings))
    assert [row["step"] for row in rows(run, "step")] == list(range(1, 13))
    assert_close_runs(run, whole)


@pytest.mark.slow
def test_ctrl_c_reaches_both_processes_and_a_checkpoint_is_saved_once(tmp_path):
    random_genotype(tmp_path / "genotype.yaml")
    job = train_job(tmp_path / "genotype.yaml", tmp_path / "run", train__epochs=40, train__eval_every=0)
    process = start("train", job, "trainer.devices=2")
    wait_for_steps(process, tmp_path / "run", 2)
    process.send_signal(signal.SIGINT)
    status, lines, errors = end(process)
    assert (status, errors) == (130, ["nas train: interrupted"]), lines
    assert sum("stopping after this step" in line for line in lines) == 1
    saved = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["loop"]["step"]
    assert [row["step"] for row in rows(tmp_path / "run", "step")] == list(range(1, saved + 1))
    assert saved < 120


@pytest.mark.slow
def test_both_processes_end_when_the_one_that_started_them_is_killed_and_the_same_command_goes_on(tmp_path):
    run = tmp_path / "run"
    job = search_job(run, search__epochs=8, search__checkpoint_every=1, search__eval_every=0, resume="auto", trainer__devices=2)
    process = start("search", job)
    wait_for_steps(process, run, 5)
    ranks = [worker(process, rank) for rank in (0, 1)]
    process.kill()
    process.wait()
    killed = time.monotonic()
    while any(Path(f"/proc/{pid}").exists() for pid in ranks):
        assert time.monotonic() - killed < 5
        time.sleep(0.02)
    status, _, errors = end(start("search", job))
    assert (status, errors) == (0, [])
    assert [row["step"] for row in rows(run, "step")] == list(range(1, 25))


@pytest.mark.slow
def test_sigterm_reaches_both_processes_and_a_checkpoint_is_saved_once(tmp_path):
    random_genotype(tmp_path / "genotype.yaml")
    run = tmp_path / "run"
    job = train_job(tmp_path / "genotype.yaml", run, train__epochs=40, train__eval_every=0, trainer__devices=2)
    process = start("train", job)
    wait_for_steps(process, run, 2)
    ranks = [worker(process, rank) for rank in (0, 1)]
    for pid in (*ranks, process.pid):  # as schedulers send it: to every process
        os.kill(pid, signal.SIGTERM)
    status, lines, errors = end(process)
    assert (status, errors) == (143, ["nas train: ended by SIGTERM; a checkpoint was saved"]), lines
    saved = load_checkpoint(run / "checkpoints" / "last.pt")["loop"]["step"]
    assert [row["step"] for row in rows(run, "step")] == list(range(1, saved + 1))


@pytest.mark.slow
def test_torchrun_runs_a_search_that_one_process_began(tmp_path):
    settings = {"search__epochs": 2, "search__relaxation": "soft"}
    whole, run = tmp_path / "whole", tmp_path / "run"
    nas.search(search_job(whole, **settings))
    job = search_job(run, **settings)
    with pytest.MonkeyPatch.context() as patch:
        step = nas.supernet.search_task.SearchTask.step

        def stopped(self, images, labels, number):
            if number == 4:
                raise InterruptedError
            return step(self, images, labels, number)

        patch.setattr("nas.supernet.search_task.SearchTask.step", stopped)
        with pytest.raises(InterruptedError):
            nas.search(job)
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "nas")
    process = start("search", job, f"resume={run}", launcher=torchrun)
    status, lines, errors = end(process)
    assert status == 0, errors
    assert sum(line.startswith("search finished") for line in lines) == 1
    assert sum("steps 6/6" in line for line in lines) == 1
    assert_close_runs(run, whole)


def test_a_process_knows_which_one_started_it_as_one_of_several():
    assert starter({"TORCHELASTIC_RUN_ID": meeting_id(321)}) == 321
    assert starter({"TORCHELASTIC_RUN_ID": "none"}) is None
    assert starter({}) is None


def test_world_is_what_torchrun_says():
    assert world({"RANK": "3", "WORLD_SIZE": "4"}) == World()
    said = {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    assert world(said) == World(3, 4, 2)


def test_more_devices_than_there_are_for_cuda_are_refused_in_a_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"trainer.devices: got 3, but PyTorch finds 2 for CUDA; give at most 2, or .*=cpu$"):
        check_devices(TrainerSettings(devices=3), World(), starts=True)
    check_devices(TrainerSettings(devices=3, accelerator="cpu"), World(), starts=True)
    check_devices(TrainerSettings(devices=2), World(), starts=True)


def test_several_devices_from_python_say_how_to_start_them():
    with pytest.raises(ConfigError, match=r"trainer.devices: got 2 in one process; .*torchrun --nproc-per-node=2 -m nas$"):
        make_fabric(TrainerSettings(devices=2, accelerator="cpu"))


def test_devices_that_cannot_be_are_status_2_in_a_line(run_nas):
    outcome = run_nas("search", *overrides(search_job("run")), "trainer.devices=0")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "trainer.devices: got" in outcome.err
