"""The settings of `nas bench algorithms`."""

from __future__ import annotations

from dataclasses import dataclass, field

from nas.config.checks import at_least, require
from nas.devices.path_settings import expand_home, path_setting
from nas.files.value_text import value_text

ALGORITHMS = ("random", "local_search", "evolution", "soft", "hard", "sampled", "single_path")


@dataclass(kw_only=True, slots=True)
class BenchAlgorithmsJob:
    """`nas bench algorithms`."""

    benchmark: str = path_setting("???")
    """A benchmark that ships with the package, by its name, or the folder of one: every network of a space, trained
    (experiments/mini makes one)."""
    algorithms: list[str] = field(default_factory=lambda: list(ALGORITHMS))
    """Algorithms: random, local_search, evolution, which look trainings up; soft, hard, sampled, single_path (the recipe of that
    name), which search in earnest. Settings of `nas search` may follow one of the latter, each as +KEY:VALUE:
    hard+space.communication:none+search.level:bilevel."""
    runtime: str | None = None
    """Where the latency limit holds, a runtime of the benchmark; null: its first."""
    limit_ms: float | None = None
    """Largest predicted latency in ms; null: half of the networks are within it."""
    seeds: int = 20
    """Runs of each algorithm, with seeds from 0 on."""
    trainings: int = 50
    """Trainings of a run of random, local_search and evolution."""
    epochs: int = 10
    """Epochs of a search in earnest."""
    processes: int = 1
    """Searches at the same time, each with one thread."""
    out: str | None = path_setting(None)
    """Folder of bench.csv, bench.json, bench.png and bench.html; null: a fresh one under runs/."""
    resume: str | None = None
    """auto: go on with what a stopped bench left in out=, if anything; more seeds and other algorithms may then be asked for."""

    def __post_init__(self) -> None:
        """Check the values."""
        expand_home("", self)
        good = len(self.algorithms) >= 1 and len(set(self.algorithms)) == len(self.algorithms)
        require(good, f"algorithms: got {value_text(self.algorithms)}, expected one or more, each once")
        at_least("", self, {"seeds": 2, "trainings": 1, "epochs": 1, "processes": 1})
        require(
            self.resume is None or (self.resume == "auto" and self.out is not None),
            f"resume: got {self.resume}, expected auto beside out=",
        )
        require(self.limit_ms is None or self.limit_ms > 0, f"limit_ms: got {self.limit_ms}, expected a number above 0")
