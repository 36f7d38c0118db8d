"""Memory that runs out: for real in a process with a limit, and at each place where a step can meet it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest
import torch

import nas
from nas.config.settings import TrainerSettings
from nas.errors import MemoryLimitError
from nas.runs.checkpoint import load_checkpoint
from nas.supernet.pass_gradients import PassGradients
from nas.supernet.search_task import SearchTask
from nas.training.out_of_memory import Remedy, Shortage, fitting_batch, memory_error, remedy_of, shortage_of
from nas.training.train_task import TrainTask
from tests.small_jobs import (
    CHECKOUT,
    assert_same_state,
    batch,
    overrides,
    random_genotype,
    rows,
    search_job,
    search_task,
    train_job,
)

NO_ROOM = "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
LIMITED = """
import resource, sys
import torch
import nas.cli.hydra_app, nas.stages.search, nas.stages.train
from nas.cli import main
torch.backends.mkldnn.enabled = False  # oneDNN falls over where it gets no memory for its own code
status = open("/proc/self/status").read()
address_space = 1024 * int(status.partition("VmSize:")[2].split()[0])
limit = address_space + int(sys.argv[1]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(sys.argv[2:]))
"""


def run_limited(folder, mib, *words):
    """A command line in a process that can take so many MiB beside what it has taken when everything is imported."""
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(mib), *words],
        cwd=folder,
        # glibc gives what is freed back to the system, so that a limit of address space is one of memory.
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space and /proc are Linux's")
def test_search_without_room_is_status_1_with_a_batch_that_fits_and_the_state_of_before_the_step(tmp_path):
    job = search_job("run", search__batch_size=256, search__epochs=1, seed=3)
    done = run_limited(tmp_path, 200, "search", *overrides(job))
    first, second = done.stderr.splitlines()[-2:]
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert first.startswith("nas search: out of memory in step 0 (")
    assert first.endswith("; the state before it is saved in run/checkpoints/last.pt")
    size = int(second.partition("start from scratch with search.batch_size=")[2].partition(",")[0])
    assert size in {128, 64, 32, 16, 8, 4, 2}
    state = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")
    untrained = search_task(job).supernet
    assert state["loop"]["step"] == 0
    weights = {name: weight.detach() for name, weight in untrained.named_parameters()}
    assert_same_state({name: state["supernet"][name] for name in weights}, weights)


def no_room(*_):
    raise RuntimeError(f"{NO_ROOM}\nmore lines of no use")


def fail_at(monkeypatch, number, *, of=PassGradients, method="add_up", error=no_room, largest=0):
    """Let a method run out of memory from its `number`-th call on, unless its images are at most `largest`."""
    right, calls = getattr(of, method), []

    def wrong(self, *arguments, **more):
        calls.append(arguments)
        result = right(self, *arguments, **more)
        if len(calls) > number and not (largest and len(arguments[0]) <= largest):
            error()
        return result

    monkeypatch.setattr(of, method, wrong)


@pytest.mark.parametrize("level", ["single", "bilevel"])
def test_a_step_without_room_saves_the_state_before_it_and_the_same_run_goes_on_from_there(tmp_path, monkeypatch, level):
    job = search_job(tmp_path / "run", search__relaxation="sampled", search__level=level, data__train=12)
    whole = nas.search(search_job(tmp_path / "whole", search__relaxation="sampled", search__level=level, data__train=12))
    with monkeypatch.context() as patch:
        fail_at(patch, 4 if level == "single" else 9, largest=1)
        with pytest.raises(MemoryLimitError) as caught:
            nas.search(job)
    first, second = str(caught.value).splitlines()
    run = tmp_path / "run"
    assert first == f"out of memory in step 4 ({NO_ROOM}); the state before it is saved in {run / 'checkpoints' / 'last.pt'}"
    assert second == (
        f"give resume={run} trainer.checkpointing=all, which needs less, or start from scratch with search.batch_size=1, with "
        f"which a step has just run here, or give resume={run} where there is more memory; nas search with plan=true says what fits"
    )
    assert load_checkpoint(run / "checkpoints" / "last.pt")["loop"]["step"] == 4
    resumed = nas.search(dataclasses.replace(job, out=None, resume=str(run)))
    assert rows(resumed.out, "step") == rows(whole.out, "step")


def test_an_optimiser_without_room_saves_nothing_and_points_to_the_last_checkpoint(tmp_path, monkeypatch):
    job = search_job(tmp_path / "run", search__relaxation="sampled")
    moves = []

    def half(self, *_):
        moves.append(1)
        if len(moves) > 4:
            no_room()

    monkeypatch.setattr(torch.optim.SGD, "step", half)
    with pytest.raises(MemoryLimitError) as caught:
        nas.search(job)
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    assert f"out of memory in step 4 ({NO_ROOM}); go on from the last checkpoint, {last}" in str(caught.value)
    assert load_checkpoint(last)["loop"]["step"] == 3


def test_evaluation_without_room_points_to_the_last_checkpoint_or_says_that_there_is_none(tmp_path, monkeypatch):
    job = search_job(tmp_path / "run", search__relaxation="sampled", search__epochs=1)
    fail_at(monkeypatch, 0, of=SearchTask, method="evaluate")
    with pytest.raises(
        MemoryLimitError, match=r"out of memory after step 3 .*; there is no checkpoint yet\ngive trainer.checkpointing=all"
    ):
        nas.search(job)


def test_training_names_its_own_settings(tmp_path, monkeypatch):
    genotype = tmp_path / "genotype.yaml"
    random_genotype(genotype)
    fail_at(monkeypatch, 0, of=TrainTask, method="_gradients", largest=2)
    with pytest.raises(MemoryLimitError) as caught:
        nas.train(train_job(genotype, tmp_path / "run", train__batch_size=2, train__accumulate=2))
    assert "start from scratch with train.batch_size=1, with which a step has just run here" in str(caught.value)
    assert "plan=true" not in str(caught.value)


def test_other_errors_stay_what_they_are(tmp_path, monkeypatch):
    def broken():
        raise RuntimeError("shapes do not match")

    fail_at(monkeypatch, 0, error=broken)
    with pytest.raises(RuntimeError, match="^shapes do not match$"):
        nas.search(search_job(tmp_path / "run"))
    assert not (tmp_path / "run" / "checkpoints" / "last.pt").exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "MemoryError"),
        (MemoryError("Unable to allocate 3 GiB"), "Unable to allocate 3 GiB"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee"),
            "CUDA out of memory. Tried to allocate 2 GiB.",
        ),
        (RuntimeError(NO_ROOM), NO_ROOM),
        (RuntimeError("std::bad_alloc"), "std::bad_alloc"),
        (RuntimeError("could not create a primitive"), "could not create a primitive"),
        (RuntimeError("could not create a primitive descriptor for a convolution"), None),
        (RuntimeError("shapes do not match"), None),
        (ValueError("out of memory"), None),
    ],
)
def test_errors_that_mean_a_lack_of_memory(error, reason):
    assert shortage_of(error) == (None if reason is None else Shortage(reason))


def test_the_fitting_batch_is_the_first_half_that_runs():
    images, labels = batch(num=12)
    tried = []

    def step(some, _):
        tried.append(len(some))
        if len(some) > 3:
            no_room()

    assert fitting_batch(step, images, labels) == 3
    assert tried == [6, 3]
    tried.clear()
    assert fitting_batch(step, images, labels, passes=3) == 1
    assert tried == [6, 3]
    assert fitting_batch(no_room, images, labels) is None


def test_checkpointing_is_the_first_advice_where_it_is_not_used_yet(tmp_path, monkeypatch):
    assert remedy_of("search", TrainerSettings()) == Remedy("search", "trainer.checkpointing=all")
    assert remedy_of("search", TrainerSettings(checkpointing="all")) == Remedy("search")
    assert remedy_of("search", TrainerSettings(compile="default")) == Remedy("search")
    error = memory_error(
        Shortage("why"), "in step 2", remedy=Remedy("search", "trainer.checkpointing=all"), out=tmp_path, saved=False, fits=None
    )
    assert (
        str(error)
        .splitlines()[1]
        .startswith("give trainer.checkpointing=all, which needs less, or start from scratch with a smaller ")
    )
