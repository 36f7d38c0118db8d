"""A search in this process is that of the command, and its seconds are those of the search alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import nas
from nas.config.jobs import SearchJob
from nas.data.synthetic import SyntheticDataset
from nas.errors import ConfigError, NonFiniteLossError, WorkerStoppedError
from nas.probing.algorithms import search_process
from nas.probing.algorithms.problem import problem_at
from nas.probing.algorithms.search_process import Searched, read_searched, run_and_keep, run_search
from nas.probing.algorithms.supernet_searches import parse_algorithm, search_job
from nas.runs.tracking import read_metrics
from nas.space.benchmark import read_benchmark
from nas.space.by_name import space_config
from search_spaces import SEARCH_SPACES
from tests.probing.algorithms.made_benchmark import BATCH, DATA, DEPLOY, HEAD, RATE, RUNTIME, made_mini_benchmark


@pytest.fixture
def job(tmp_path: Path) -> SearchJob:
    (tmp_path / "benchmark").mkdir()
    problem = problem_at(read_benchmark(made_mini_benchmark(tmp_path / "benchmark")), RUNTIME, 0.5)
    space = space_config(problem.benchmark.space_config, SEARCH_SPACES)
    return search_job(problem, parse_algorithm("hard+search.arch_lr:0.5"), space, seed=3, epochs=3, out=tmp_path / "search")


def test_a_search_derives_what_the_command_derives(job: SearchJob, run_nas, tmp_path: Path):
    torch.rand(3)  # what was drawn before does not matter
    found = run_search(job)
    assert not (tmp_path / "search").exists()
    words = [
        *("space=mini", f"space.head_channels={HEAD}", "data=synthetic", f"data.size={DATA.size}".replace(" ", "")),
        *(f"data.train={DATA.train}", f"data.val={DATA.val}", f"search.batch_size={BATCH}", f"search.weight_lr={RATE}"),
        *("search.epochs=3", "search.eval_every=0", "search.relaxation=hard", "search.arch_lr=0.5", "seed=3", "out=by_command"),
        *(f"latency.table={job.latency.table}", f"latency.target_ms={job.latency.target_ms}"),
        *("deploy.input=[{},{}]".format(*DEPLOY.input), f"deploy.init_channels={DEPLOY.init_channels}"),
        *("trainer.accelerator=cpu", "trainer.threads=1"),
    ]
    outcome = run_nas("search", *words)
    assert outcome.status == 0, outcome.err
    genotype = nas.load_genotype(tmp_path / "by_command" / "genotype.yaml")
    rows = {row["split"]: row for row in read_metrics(tmp_path / "by_command" / "metrics.jsonl")}
    assert found.choices == genotype.choices
    assert found.entropy == rows["train"]["entropy"]
    assert found.entropy < 0.999  # it has moved
    assert found.gap == rows["val"]["miou"] - rows["val_argmax"]["miou"]
    assert found.predicted_ms == pytest.approx(rows["val_argmax"]["latency"])
    assert found.predicted_ms <= job.latency.target_ms
    assert found.losses == ()
    first = "cells.0.edge.0"
    other = {**found.choices, first: "conv_3x3" if found.choices[first] != "conv_3x3" else "skip_connect"}
    again = run_search(job, [other, found.choices])
    assert (again.choices, again.entropy, again.gap) == (found.choices, found.entropy, found.gap)
    assert len(set(again.losses)) == 2
    assert 0 < min(again.losses) < max(again.losses) < 10


def test_scenes_are_drawn_once_and_not_in_the_seconds(job: SearchJob, monkeypatch: pytest.MonkeyPatch):
    drawn, clock = [], [0.0]

    def draw(self: SyntheticDataset, index: int):
        drawn.append((self.split, index))
        clock[0] += 1000.0
        return real(self, index)

    real = SyntheticDataset._draw
    monkeypatch.setattr(SyntheticDataset, "_draw", draw)
    monkeypatch.setattr(search_process, "process_time", lambda: clock[0])
    search_process._KEPT.clear()
    assert run_search(job).seconds == 0
    assert sorted(drawn) == [*(("train", i) for i in range(DATA.train)), *(("val", i) for i in range(DATA.val))]
    assert run_search(job).seconds == 0
    assert len(drawn) == DATA.train + DATA.val


def test_what_was_found_is_kept_and_a_failure_is_named(job: SearchJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = Searched(1.5, {"a": "b"}, 0.25, 0.5, None, (0.75, 2.0))
    monkeypatch.setattr(search_process, "run_search", lambda job, ranked: found)
    assert run_and_keep(job, tmp_path / "0.json", "hard with seed 3", []) == read_searched(tmp_path / "0.json") == found

    def failing(error: Exception):
        def fail(job: SearchJob, ranked: list[dict[str, str]]) -> Searched:
            raise error

        monkeypatch.setattr(search_process, "run_search", fail)

    failing(NonFiniteLossError("loss is nan at step 3\nlower the rate"))
    with pytest.raises(WorkerStoppedError, match=r"^hard with seed 3: loss is nan at step 3$"):
        run_and_keep(job, tmp_path / "1.json", "hard with seed 3", [])
    failing(ConfigError("a: got b"))
    with pytest.raises(ConfigError, match=r"^hard with seed 3: a: got b$"):
        run_and_keep(job, tmp_path / "1.json", "hard with seed 3", [])
    failing(KeyError("k"))
    with pytest.raises(KeyError) as error:
        run_and_keep(job, tmp_path / "1.json", "hard with seed 3", [])
    assert error.value.__notes__ == ["hard with seed 3"]
    assert not (tmp_path / "1.json").exists()
