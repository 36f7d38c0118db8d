"""Searches in earnest: how they are named, and the settings of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.config.dotted_settings import with_settings
from nas.config.jobs import SearchJob
from nas.config.settings import RELAXATION_NAMES, DeploySettings, LatencySettings, SearchSettings, TrainerSettings
from nas.data.synthetic import SyntheticConfig
from nas.errors import ConfigError, UserError
from nas.probing.algorithms.discrete import DISCRETE
from nas.probing.algorithms.problem import Problem
from nas.space.benchmark import NETWORKS_FILE

SEPARATOR = "+"
SET_HERE = (
    *("latency.table", "latency.target_ms", "space.name", "data", "seed", "out", "resume", "accept_changes", "plan", "logger"),
    *("trainer.threads", "trainer.devices"),
)
"""Settings that the bench itself makes, or sections of them."""
NAMED = {
    "single_path": (
        "sampled",
        "search.noise=batch",
        "search.warmup_epochs=${search.epochs}",
        "search.candidates=64",
        "search.communication_start=zero",
    )
}
"""Name -> relaxation and settings; the recipe of that name."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An algorithm as it is named in the settings.

    Args:
        text: Its name there.
        base: One of the discrete algorithms, or a relaxation.
        words: Settings of `nas search` that go with a relaxation.
    """

    text: str
    base: str
    words: tuple[str, ...]

    @property
    def is_discrete(self) -> bool:
        """Whether it looks trainings up."""
        return self.base in DISCRETE


def parse_algorithm(text: str) -> Algorithm:
    """An algorithm from its name.

    Raises:
        ConfigError: If there is none of that name, or what follows it cannot be set.
    """
    base, *words = text.split(SEPARATOR)
    known = (*DISCRETE, *RELAXATION_NAMES, *NAMED)
    if base not in known:
        raise ConfigError(f"algorithms: got {base!r}, expected one of {', '.join(known)}")
    if words and base in DISCRETE:
        raise ConfigError(f"algorithms: got {text!r}, expected {base} alone: it has no settings")
    for word in words:
        key, colon, _ = word.partition(":")
        if not colon or any(f"{key}.".startswith(f"{one}.") for one in SET_HERE):
            raise ConfigError(
                f"algorithms: got {word!r} in {text!r}, expected KEY:VALUE of nas search, none of {', '.join(SET_HERE)}"
            )
    relaxation, *settings = NAMED.get(base, (base,))
    return Algorithm(text, relaxation, (*settings, *(word.replace(":", "=", 1) for word in words)))


def search_job(
    problem: Problem,
    algorithm: Algorithm,
    space: Any,  # noqa: ANN401  the config of any space
    *,
    seed: int,
    epochs: int,
    out: Path,
) -> SearchJob:
    """The settings of a search for a problem.

    Args:
        problem: What is searched.
        algorithm: A relaxation with settings.
        space: The config of the benchmark's space.
        seed: Of everything random.
        epochs: Passes over the training images.
        out: Folder of the run.

    Raises:
        ConfigError: If a setting of the algorithm is wrong, or the benchmark's settings of the training.
    """
    benchmark = problem.benchmark
    try:
        train, data = benchmark.training["train"], SyntheticConfig(**{**benchmark.training["data"], "cache": True, "workers": 0})
        given = SearchSettings(
            epochs=epochs, batch_size=train["batch_size"], weight_lr=train["lr"], eval_every=0, relaxation=algorithm.base
        )
    except (ConfigError, TypeError, KeyError) as error:
        raise ConfigError(f"{benchmark.folder / NETWORKS_FILE}: training: {error}") from error
    job = SearchJob(
        space=space,
        data=data,
        search=given,
        latency=LatencySettings(table=str(benchmark.table(problem.runtime)), target_ms=problem.limit_ms),
        deploy=DeploySettings(input=list(benchmark.deploy.input), init_channels=benchmark.deploy.init_channels),
        trainer=TrainerSettings(accelerator="cpu", threads=1),
        seed=seed,
        out=str(out),
    )
    try:
        return with_settings(job, algorithm.words)
    except UserError as error:
        raise ConfigError(f"algorithms: got {algorithm.text!r}: {error}") from error
