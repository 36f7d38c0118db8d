"""Searches in earnest, each a command of its own: its words, and what it took."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.config.settings import RELAXATION_NAMES
from nas.errors import ConfigError, WorkerStoppedError
from nas.files.command_words import override
from nas.probing.algorithms.discrete import DISCRETE
from nas.probing.algorithms.problem import Problem
from nas.probing.algorithms.scenes_on_disk import CLASSES

SEPARATOR = "+"
SET_HERE = ("latency.table", "latency.target_ms", "seed", "out", "resume", "plan", "trainer.threads", "data", "space")
"""Settings that the bench itself makes."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An algorithm as it is named in the settings.

    Args:
        text: Its name there.
        base: One of the discrete algorithms, or a relaxation.
        words: Settings of `nas search` that follow a relaxation.
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
    if base not in (*DISCRETE, *RELAXATION_NAMES):
        raise ConfigError(f"algorithms: got {base!r}, expected one of {', '.join((*DISCRETE, *RELAXATION_NAMES))}")
    if words and base in DISCRETE:
        raise ConfigError(f"algorithms: got {text!r}, expected {base} alone: it has no settings")
    for word in words:
        key, colon, _ = word.partition(":")
        if not colon or key in SET_HERE:
            raise ConfigError(
                f"algorithms: got {word!r} in {text!r}, expected KEY:VALUE of nas search, none of {', '.join(SET_HERE)}"
            )
    return Algorithm(text, base, tuple(word.replace(":", "=", 1) for word in words))


def search_command(problem: Problem, algorithm: Algorithm, *, seed: int, epochs: int, data: Path, out: Path) -> list[str]:
    """The words of a search for a problem.

    Args:
        problem: What is searched.
        algorithm: A relaxation with settings.
        seed: Of everything random.
        epochs: Passes over the training images.
        data: Folder of the benchmark's images, as data=folder reads it.
        out: Folder of the run.
    """
    benchmark = problem.benchmark
    train: Mapping[str, Any] = benchmark.training["train"]
    size, deploy = benchmark.training["data"]["size"], benchmark.deploy
    given = {
        **{f"space.{key}": value for key, value in benchmark.space_config.items() if key != "name"},
        "data.root": data,
        "data.classes": CLASSES,
        "data.size": size,
        "search.epochs": epochs,
        "search.batch_size": train["batch_size"],
        "search.weight_lr": train["lr"],
        "search.eval_every": 0,
        "search.relaxation": algorithm.base,
        "latency.table": problem.benchmark.table(problem.runtime),
        "latency.target_ms": problem.limit_ms,
        "deploy.input": list(deploy.input),
        "deploy.init_channels": deploy.init_channels,
        "trainer.accelerator": "cpu",
        "trainer.threads": 1,
        "seed": seed,
        "out": out,
    }
    replaced = {word.partition("=")[0] for word in algorithm.words}
    words = [override(key, value) for key, value in given.items() if key not in replaced and value is not None]
    return ["search", f"space={benchmark.space}", "data=folder", *words, *algorithm.words]


def run_search(words: Sequence[str]) -> float:
    """Run a command of nas, one thread; the CPU seconds that it took, its start among them.

    Raises:
        ConfigError: If its settings were wrong.
        WorkerStoppedError: If it failed or was stopped.
    """
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "nas", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    last = said.strip().splitlines()[-1:] or ["nothing was said"]
    if process.returncode == 2:
        raise ConfigError(last[0])
    if process.returncode:
        raise WorkerStoppedError(f"a search ended with status {process.returncode}: {last[0]}")
    return usage.ru_utime + usage.ru_stime
