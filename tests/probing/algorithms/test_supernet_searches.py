"""Searches in earnest: their names and their settings."""

from pathlib import Path

import pytest
import yaml

from nas.data.synthetic import SyntheticConfig
from nas.errors import ConfigError
from nas.probing.algorithms.problem import Problem
from nas.probing.algorithms.supernet_searches import NAMED, SET_HERE, parse_algorithm, search_job
from search_spaces.lgcnet.config import MiniConfig
from tests.probing.algorithms.small_benchmark import small_benchmark
from tests.small_jobs import CHECKOUT


@pytest.fixture
def problem() -> Problem:
    benchmark = small_benchmark()
    training = {"data": {"size": [16, 24], "train": 5, "cache": False}, "train": {"batch_size": 8, "lr": 0.1}}
    object.__setattr__(benchmark, "training", training)
    return Problem(benchmark, "r", 3.0)


def test_settings_follow_a_relaxation():
    algorithm = parse_algorithm("hard+space.communication:none+search.tau_end:0.2")
    assert (algorithm.base, algorithm.words) == ("hard", ("space.communication=none", "search.tau_end=0.2"))
    assert not algorithm.is_discrete
    assert parse_algorithm("random").is_discrete


@pytest.mark.parametrize("name", NAMED)
def test_a_named_algorithm_is_the_recipe_of_that_name(name: str, problem: Problem):
    recipe = yaml.safe_load((CHECKOUT / "conf" / "recipe" / f"{name}.yaml").read_text())
    relaxation, *words = NAMED[name]
    stated = dict(word.split("=") for word in (f"search.relaxation={relaxation}", *words))
    assert stated == {f"search.{key}": str(value) for key, value in recipe.pop("search").items()}
    assert recipe == {}


def test_a_named_algorithm_takes_further_settings(problem: Problem):
    job = search_job(problem, parse_algorithm("single_path+search.epochs:3"), MiniConfig(), seed=0, epochs=7, out=Path("o"))
    found = job.search
    assert (found.relaxation, found.epochs, found.warmup_epochs, found.candidates) == ("sampled", 3, 3, 64)


@pytest.mark.parametrize("key", [*SET_HERE, "data.size", "logger.wandb"])
def test_what_the_problem_sets_cannot_follow(key: str):
    with pytest.raises(ConfigError, match=f"got '{key}:1' in 'hard\\+{key}:1', expected KEY:VALUE of nas search"):
        parse_algorithm(f"hard+{key}:1")


def test_settings_whose_names_begin_alike_can_follow():
    assert parse_algorithm("hard+latency.table_x:1+seeds:2").words == ("latency.table_x=1", "seeds=2")


def test_a_search_has_the_problem_and_its_own_settings_last(problem: Problem):
    algorithm = parse_algorithm("soft+space.communication:none+search.weight_lr:0.3")
    job = search_job(problem, algorithm, MiniConfig(communication="gcn"), seed=4, epochs=7, out=Path("o"))
    assert (job.space.name, job.space.communication) == ("mini", "none")
    assert job.data == SyntheticConfig(size=[16, 24], train=5)  # scenes are kept, so that no seconds are spent on drawing
    assert (job.search.relaxation, job.search.epochs, job.search.batch_size, job.search.eval_every) == ("soft", 7, 8, 0)
    assert job.search.weight_lr == 0.3
    assert search_job(problem, parse_algorithm("soft"), MiniConfig(), seed=4, epochs=7, out=Path("o")).search.weight_lr == 0.1
    assert (job.latency.table, job.latency.target_ms) == ("r.json", 3.0)
    assert (job.deploy.input, job.deploy.init_channels) == ([32, 48], 4)
    assert (job.trainer.accelerator, job.trainer.threads, job.seed, job.out) == ("cpu", 1, 4, "o")


def test_wrong_settings_name_the_algorithm_and_those_of_the_benchmark_its_file(problem: Problem):
    def make(text: str) -> None:
        search_job(problem, parse_algorithm(text), MiniConfig(), seed=0, epochs=1, out=Path("o"))

    with pytest.raises(ConfigError, match=r"algorithms: got 'hard\+search.tau:3': search.tau: there is no such key"):
        make("hard+search.tau:3")
    problem.benchmark.training["train"].pop("lr")  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"networks.json.gz: training: 'lr'"):
        make("hard")
