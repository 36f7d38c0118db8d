"""A checkpoint whose parts do not fit is refused before any part of it is loaded, in a search and in a training."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

import nas
from nas.runs.checkpoint import load_checkpoint
from tests.small_jobs import assert_same_state, made_up_table, random_genotype, search_job, train_job


class TakenError(Exception):
    """The task was made."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Verb -> a task, and the state after the first step of a run of it."""
    folder = tmp_path_factory.mktemp("half states")
    random_genotype(folder / "genotype.yaml")
    search = search_job(
        folder / "search", search__max_steps=1, search__eval_every=0, latency__target_ms=1.0, latency__table=table(folder)
    )
    train = train_job(folder / "genotype.yaml", folder / "train", train__max_steps=1, train__ema=0.9)
    return {"search": made_by(nas.search, search, "search"), "train": made_by(nas.train, train, "train")}


def table(folder: Path) -> str:
    made_up_table(folder / "table.json")
    return str(folder / "table.json")


def made_by(run: Any, job: Any, verb: str) -> tuple[Any, dict[str, Any]]:
    run(job)
    state = load_checkpoint(Path(job.out) / "checkpoints" / "last.pt")
    taken: list[Any] = []

    def take(task: Any, *_: object, **__: object) -> None:
        taken.append(task)
        raise TakenError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"nas.stages.{verb}.fit", take)
        patch.setattr(job, "out", f"{job.out}-again")
        with pytest.raises(TakenError):
            run(job)
    return taken[0], state


def drop(*keys: Any) -> Any:
    def change(state: Any) -> None:
        for key in keys[:-1]:
            state = state[key]
        del state[keys[-1]]

    return change


def put(value: Any, *keys: Any) -> Any:
    def change(state: Any) -> None:
        for key in keys[:-1]:
            state = state[key]
        state[keys[-1]] = value

    return change


HALF = [
    ("search", drop("scores"), "scores is missing"),
    ("search", put("train", "verb"), "expected one of nas search"),
    ("search", lambda state: state["supernet"].popitem(), "supernet: missing"),
    ("search", drop("weight_optimizer", "state", 0, "momentum_buffer"), r"weight_optimizer.state\[0\]: the part momentum_buffer"),
    ("search", drop("arch_optimizer", "state", 0, "exp_avg_sq"), r"arch_optimizer.state\[0\]: the part exp_avg_sq"),
    ("search", put({"a": "b"}, "scores", "val"), "scores.val"),
    ("search", put([], "latency_control"), "latency_control"),
    ("train", drop("optimizer"), "optimizer is missing"),
    ("train", put("search", "verb"), "expected one of nas train"),
    ("train", lambda state: state["network"].popitem(), "network: missing"),
    ("train", lambda state: state["average"].popitem(), "average: missing"),
    ("train", drop("optimizer", "state", 0, "momentum_buffer"), r"optimizer.state\[0\]: the part momentum_buffer"),
    ("train", put({"a": "b"}, "scores"), "scores: got"),
]


@pytest.mark.parametrize(("verb", "change", "words"), HALF)
def test_nothing_is_loaded_of_a_state_of_which_a_part_does_not_fit(made: Any, verb: str, change: Any, words: str) -> None:
    task, state = made[verb]
    half, before = copy.deepcopy(state), copy.deepcopy(task.state())
    change(half)
    with pytest.raises((ValueError, KeyError), match=words):
        task.load_state(half)
    assert_same_state(task.state(), before)
