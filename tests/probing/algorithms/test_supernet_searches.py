"""Searches in earnest: their names, their words, what they took."""

import sys
from pathlib import Path

import pytest

from nas.errors import ConfigError, WorkerStoppedError
from nas.probing.algorithms.problem import Problem
from nas.probing.algorithms.supernet_searches import parse_algorithm, run_search, search_command
from tests.probing.algorithms.small_benchmark import small_benchmark


def test_settings_follow_a_relaxation():
    algorithm = parse_algorithm("hard+space.communication:none+search.tau_end:0.2")
    assert (algorithm.base, algorithm.words) == ("hard", ("space.communication=none", "search.tau_end=0.2"))
    assert not algorithm.is_discrete
    assert parse_algorithm("random").is_discrete


def test_a_search_has_the_problem_and_its_own_settings_last():
    benchmark = small_benchmark()
    training = {"data": {"size": [16, 24]}, "train": {"batch_size": 8, "lr": 0.1}}
    object.__setattr__(benchmark, "training", training)
    object.__setattr__(benchmark, "space_config", {"name": "s", "communication": "gcn"})
    problem = Problem(benchmark, "r", 3.0)
    algorithm = parse_algorithm("soft+space.communication:none")
    words = search_command(problem, algorithm, seed=4, epochs=7, data=Path("d"), out=Path("o"))
    assert words[:3] == ["search", "space=s", "data=folder"]
    assert words[-1] == "space.communication=none"
    assert "space.communication=gcn" not in words
    for word in ("search.relaxation=soft", "latency.target_ms=3.0", "seed=4", "search.epochs=7", "deploy.input=[32,48]", "out=o"):
        assert word in words


def test_seconds_are_those_of_the_process_and_its_end_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    program = tmp_path / "program"
    monkeypatch.setattr(sys, "executable", str(program))

    def does(text: str) -> None:
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)

    does("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
    assert 0.01 < run_search(["search"]) < 60
    does("echo nas search: wrong >&2; exit 2")
    with pytest.raises(ConfigError, match="^nas search: wrong$"):
        run_search(["search"])
    does("exit 3")
    with pytest.raises(WorkerStoppedError, match="status 3: nothing was said"):
        run_search(["search"])
