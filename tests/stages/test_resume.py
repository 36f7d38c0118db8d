"""A stopped run goes on exactly: killed or interrupted and resumed equals never stopped, bit by bit on a CPU."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.data import get_worker_info

import nas
from nas.cli.command_line import main
from nas.data.synthetic import SyntheticDataset
from nas.errors import DataWorkerError
from nas.runs.checkpoint import load_checkpoint, save_checkpoint
from nas.runs.tracking import read_metrics
from nas.space.genotype import save_genotype
from nas.supernet.search_task import SearchTask
from nas.training.train_task import TrainTask
from tests.small_jobs import (
    CHECKOUT,
    SIZE,
    STEPS_PER_EPOCH,
    assert_same_run,
    overrides,
    random_genotype,
    rows,
    search_job,
    train_job,
)

RELAXATIONS = ("soft", "sampled")
TOTAL = 2 * STEPS_PER_EPOCH
CHECKPOINT_EVERY = 2  # checkpoints after steps 2, 3 (end of the epoch), 4 and 6
LAST_BETWEEN = 5  # stopped in its sixth step a run has a row of step 5 behind the checkpoint of step 4
RANDOM = random.Random(1)
KILLED_AT = {"soft": RANDOM.randrange(CHECKPOINT_EVERY, TOTAL), "sampled": LAST_BETWEEN, "train": LAST_BETWEEN}
EARLY = RANDOM.randrange(CHECKPOINT_EVERY, LAST_BETWEEN)

STOPPING = """
import os, signal, sys
from nas.cli import main
from {module} import {task}
step = {task}.step
def stopped(self, images, labels, number):
    if number == {at}:
        os.kill(os.getpid(), signal.{signal})
    return step(self, images, labels, number)
{task}.step = stopped
sys.exit(main(sys.argv[1:]))
"""


class StoppedError(Exception):
    """Stands for a sudden death of the process."""


def make_job(kind, out, genotype, **changes):
    """A search by its relaxation, or a training."""
    if kind == "train":
        return train_job(genotype, out, train__checkpoint_every=CHECKPOINT_EVERY, **changes)
    return search_job(out, search__relaxation=kind, search__checkpoint_every=CHECKPOINT_EVERY, **changes)


def run_job(job):
    (nas.search if hasattr(job, "search") else nas.train)(job)


def stop_at(monkeypatch, at):
    """Let the step of this number raise, in searches and trainings."""
    for task in (SearchTask, TrainTask):

        def step(self, images, labels, number, original=task.step):
            if number == at:
                raise StoppedError
            return original(self, images, labels, number)

        monkeypatch.setattr(task, "step", step)


def stop_process(kind, job, *, at, by):
    """Run a job as a process that gets a real signal in the step of this number; its exit status and stderr."""
    verb, task = ("train", TrainTask) if kind == "train" else ("search", SearchTask)
    code = STOPPING.format(module=task.__module__, task=task.__name__, at=at, signal=by.name)
    done = subprocess.run(
        [sys.executable, "-c", code, verb, *overrides(job)],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def genotype(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("genotype") / "genotype.yaml"
    random_genotype(path)
    return path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, genotype):
    """Kind -> the run that was never stopped, made once."""
    made = {}

    def get(kind) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind) / "run"
            run_job(make_job(kind, made[kind], genotype))
        return made[kind]

    return get


@pytest.mark.parametrize(
    ("kind", "at"),
    [
        ("soft", EARLY),
        ("sampled", LAST_BETWEEN),
        ("train", EARLY),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in [("soft", LAST_BETWEEN), ("sampled", EARLY), ("train", LAST_BETWEEN)]
        ),
    ],
)
def test_run_stopped_at_a_step_and_resumed_equals_one_never_stopped(uninterrupted, genotype, tmp_path, monkeypatch, kind, at):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, at)
        with pytest.raises(StoppedError):
            run_job(make_job(kind, run, genotype))
    steps = [row["step"] for row in rows(run, "step")]
    assert steps == list(range(1, at + 1))
    run_job(make_job(kind, run, genotype, resume=str(run)))
    assert_same_run(run, uninterrupted(kind))
    assert [row["step"] for row in rows(run, "step")] == list(range(1, TOTAL + 1))


@pytest.mark.slow
def test_a_worker_killed_within_a_step_of_two_levels_leaves_the_state_before_it_and_fewer_workers_go_on(tmp_path, monkeypatch):
    two_levels = {"search__level": "bilevel", "search__batch_size": 1, "search__eval_every": 0, "search__recalibrate": 0}
    nas.search(search_job(tmp_path / "whole", **two_levels))
    is_time, load, step = [], SyntheticDataset.load, SearchTask.step

    def load_or_die(self, index):
        if is_time and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return load(self, index)

    def noted(self, images, labels, number):
        if number == STEPS_PER_EPOCH:  # held-out images are gone through again, by new workers
            is_time.append(True)
        return step(self, images, labels, number)

    run = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(SyntheticDataset, "load", load_or_die)
        patch.setattr(SearchTask, "step", noted)
        with pytest.raises(DataWorkerError, match=r"SIGKILL.*saved after step 3 of 6"):
            nas.search(search_job(run, data__workers=1, **two_levels))
    nas.search(search_job(run, resume=str(run), **two_levels))
    assert_same_run(run, tmp_path / "whole")


@pytest.mark.parametrize(
    ("kind", "at"), [pytest.param(*one, marks=() if one[0] == "soft" else pytest.mark.slow) for one in KILLED_AT.items()]
)
def test_process_killed_with_9_and_resumed_by_the_command_equals_one_never_killed(uninterrupted, genotype, tmp_path, kind, at):
    job = make_job(kind, tmp_path / "run", genotype)
    status, errors = stop_process(kind, job, at=at, by=signal.SIGKILL)
    assert status == -signal.SIGKILL, errors
    assert not (tmp_path / "run" / "done.json").exists()
    verb = "train" if kind == "train" else "search"
    assert main([verb, *overrides(job), f"resume={tmp_path / 'run'}"]) == 0
    assert_same_run(tmp_path / "run", uninterrupted(kind))


@pytest.mark.parametrize(
    ("by", "ends"),
    [
        pytest.param(signal.SIGINT, (130, ["nas search: interrupted"]), marks=pytest.mark.slow),  # quick: in test_command_line
        (signal.SIGTERM, (143, ["nas search: ended by SIGTERM; a checkpoint was saved"])),
    ],
)
def test_ctrl_c_and_sigterm_save_at_the_end_of_the_step_and_the_resumed_run_equals_one_never_interrupted(
    uninterrupted, genotype, tmp_path, by, ends
):
    job = make_job("sampled", tmp_path / "run", genotype)
    status, errors = stop_process("sampled", job, at=4, by=by)
    assert (status, errors.splitlines()) == ends
    assert not (tmp_path / "run" / ".lock").exists()
    assert [row["step"] for row in rows(tmp_path / "run", "step")] == [1, 2, 3, 4, 5]
    with pytest.MonkeyPatch.context() as patch:
        started = []
        step = SearchTask.step
        patch.setattr(SearchTask, "step", lambda self, *batch: (started.append(batch[2]), step(self, *batch))[1])
        run_job(make_job("sampled", tmp_path / "run", genotype, resume=str(tmp_path / "run")))
    assert started == [5]  # step 5 was in the checkpoint though none was due
    assert_same_run(tmp_path / "run", uninterrupted("sampled"))


@pytest.mark.parametrize("kind", ["sampled", "train"])
def test_one_command_serves_the_first_start_and_restarts_before_and_after_the_first_checkpoint(
    uninterrupted, genotype, tmp_path, monkeypatch, kind
):
    job = make_job(kind, tmp_path / "run", genotype, resume="auto")
    for at in (1, LAST_BETWEEN):
        with monkeypatch.context() as patch:
            stop_at(patch, at)
            with pytest.raises(StoppedError):
                run_job(job)
        assert (tmp_path / "run" / "checkpoints" / "last.pt").exists() == (at == LAST_BETWEEN)
    run_job(job)
    assert_same_run(tmp_path / "run", uninterrupted(kind))


@pytest.mark.slow
def test_of_two_searches_that_start_at_the_same_moment_in_one_folder_exactly_one_runs(genotype, tmp_path):
    for number, more in enumerate(([], ["resume=auto"], [])):
        run = tmp_path / str(number)
        job = make_job("sampled", run, genotype)
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "nas", "search", *overrides(job), *more],
                env={**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        ends = [(process.communicate(timeout=200)[1], process.returncode) for process in processes]
        assert sorted(status for _, status in ends) == [0, 2, 2], ends
        assert all(
            f"the folder {run} is being written by nas search (process " in said or f"the folder {run} is not empty" in said
            for said, status in ends
            if status
        )
        assert [row["step"] for row in rows(run, "step")] == list(range(1, TOTAL + 1))


@pytest.fixture
def stopped(genotype, tmp_path, monkeypatch):
    """A search under runs/ of the working folder that died in its sixth step."""
    monkeypatch.chdir(tmp_path)
    run = Path("runs") / "search-1"
    with monkeypatch.context() as patch:
        stop_at(patch, LAST_BETWEEN)
        with pytest.raises(StoppedError):
            run_job(make_job("sampled", run, genotype))
    return run


CHANGED = {
    "seed": ("seed", "seed=1"),
    "relaxation": ("search.relaxation", "search.relaxation=hard"),
    "table": ("latency.table", "latency.table=none"),
    "space": ("space.gamma", "space.gamma=0.25"),
    "data": ("data.seed", "data.seed=1"),
    "precision": ("trainer.precision", "trainer.precision=bf16-mixed"),
}


@pytest.mark.usefixtures("bf16_on_cpu")
def test_resume_with_another_setting_is_status_2_naming_the_key_and_both_values(stopped, genotype, run_nas, tmp_path):
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    arguments = overrides(make_job("sampled", stopped, genotype))
    for key, override in CHANGED.values():
        outcome = run_nas("search", *arguments, override, f"resume={stopped}")
        assert outcome.status == 2, override
        assert len(outcome.err_lines) == 1, override
        assert f"{key} (run: " in outcome.err, override
        assert f"now: {override.partition('=')[2]})" in outcome.err, override
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def test_resume_auto_goes_on_with_the_stopped_run_also_with_other_logging(stopped, uninterrupted, genotype, run_nas):
    arguments = overrides(make_job("sampled", None, genotype))
    assert run_nas("search", *arguments, "resume=auto", "seed=1").status == 2
    assert run_nas("search", *arguments, "resume=auto", "search.log_every=2").status == 0
    assert list(Path("runs").iterdir()) == [stopped]
    again = run_nas("search", *arguments, "resume=auto")
    assert again.status == 2
    assert "no unfinished nas search" in again.err
    finished = [row for row in rows(stopped) if row["split"] != "step"]
    assert finished == [row for row in rows(uninterrupted("sampled")) if row["split"] != "step"]
    assert [row["step"] for row in rows(stopped, "step")] == [1, 2, 3, 4, 6]


@pytest.mark.parametrize(
    ("kind", "of_before"),
    [("sampled", False), ("train", True), ("train", False), pytest.param("sampled", True, marks=pytest.mark.slow)],
)
def test_finished_run_goes_on_when_epochs_are_raised_and_says_what_the_schedules_do(genotype, tmp_path, kind, of_before, caplog):
    run = tmp_path / "run"
    key = "train__epochs" if kind == "train" else "search__epochs"
    run_job(make_job(kind, run, genotype, **{key: 1}))
    first = (run / "metrics.jsonl").read_bytes()
    assert (run / "done.json").exists()
    if of_before:  # checkpoints that do not state what the run was planned for
        state = load_checkpoint(run / "checkpoints" / "last.pt")
        del state["planned_steps"]
        save_checkpoint(run / "checkpoints" / "last.pt", state)
    run_job(make_job(kind, run, genotype, **{key: 3}, resume=str(run)))
    if of_before:
        [told] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert "the run was planned for another length, and every schedule is from here on that of 9 steps: learning rate" in told
        return
    [told] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told.startswith("resume: 9 steps instead of 3, and every schedule is from here on that of the new length: ")
    name, column = ("learning rate", "lr") if kind == "train" else ("temperature", "tau")
    was, now = (rows(run, "step")[number][column] for number in (2, 3))
    assert now > was
    assert f"{name} goes from {was:.3g} to {now:.3g}" in told
    assert (run / "metrics.jsonl").read_bytes().startswith(first)
    assert [row["step"] for row in rows(run, "step")] == list(range(1, 3 * STEPS_PER_EPOCH + 1))
    assert [row["epoch"] for row in rows(run, "train")] == [0, 1, 2]
    assert (run / "done.json").exists()


def test_resume_of_a_finished_run_changes_nothing_but_wall_times(uninterrupted, genotype, tmp_path):
    run = tmp_path / "run"
    run_job(make_job("train", run, genotype))
    metrics, weights = read_metrics(run / "metrics.jsonl"), (run / "weights.safetensors").read_bytes()
    run_job(make_job("train", run, genotype, resume=str(run)))
    assert read_metrics(run / "metrics.jsonl") == metrics
    assert (run / "weights.safetensors").read_bytes() == weights
    assert_same_run(run, uninterrupted("train"))


def contents(run):
    return {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_training_is_not_resumed_with_a_genotype_file_that_has_changed_since(genotype, run_nas, tmp_path):
    run, copy = tmp_path / "run", tmp_path / "copy.yaml"
    copy.write_text(genotype.read_text())
    job = make_job("train", run, copy)
    run_job(job)
    before = contents(run)
    random_genotype(copy, seed=1)
    outcome = run_nas("train", *overrides(job), f"resume={run}")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert f"resume: {run} trains another network" in outcome.err
    assert contents(run) == before
    random_genotype(copy)
    assert run_nas("train", *overrides(job), f"resume={run}").status == 0


def test_a_training_of_before_which_states_the_genotype_as_given_is_resumed(run_nas, tmp_path):
    """It trained at another size than the genotype states, and its folder said nothing of that."""
    given = random_genotype(tmp_path / "given.yaml")
    job = make_job("train", tmp_path / "run", tmp_path / "given.yaml", data__size=[40, 56])
    run_job(job)
    stated = nas.load_genotype(tmp_path / "run")
    assert (stated.deploy.input, given.deploy.input) == ((40, 56), SIZE)
    save_genotype(tmp_path / "run" / "genotype.yaml", given)
    assert run_nas("train", *overrides(job), f"resume={tmp_path / 'run'}").status == 0
    assert nas.load_genotype(tmp_path / "run") == stated
