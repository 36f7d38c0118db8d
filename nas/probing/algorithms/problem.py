"""What a search algorithm is asked on a benchmark: the most accurate network within a latency limit, for few trainings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.errors import ConfigError
from nas.space.benchmark import Benchmark, Floats


@dataclass(frozen=True)
class Problem:
    """A benchmark with a latency limit on a runtime. What a network takes is known to all; only its training costs.

    Args:
        benchmark: The networks.
        runtime: Where the limit holds.
        limit_ms: Largest predicted latency in ms.

    Raises:
        ConfigError: If no network is within the limit, or the benchmark has no such runtime.
    """

    benchmark: Benchmark
    runtime: str
    limit_ms: float

    def __post_init__(self) -> None:
        """Check that there is something to find."""
        self.benchmark.best(self.limit_ms, self.runtime)

    @cached_property
    def allowed(self) -> Mapping[str, int]:
        """Architecture within the limit -> number of its network."""
        within = self.benchmark.latency(self.runtime) <= self.limit_ms
        return {text: number for text, number in self.benchmark.architectures.items() if within[number]}

    @cached_property
    def _listed(self) -> list[str]:
        return list(self.allowed)

    def draw(self, generator: np.random.Generator) -> str:
        """An architecture within the limit, all alike."""
        return self._listed[int(generator.integers(len(self._listed)))]

    def neighbours(self, architecture: str) -> list[str]:
        """The architectures within the limit that differ in one decision."""
        found = []
        for place, options in enumerate(self.benchmark.decisions.values()):
            for option in map(str, range(len(options))):
                other = architecture[:place] + option + architecture[place + 1 :]
                if other != architecture and other in self.allowed:
                    found.append(other)
        return found

    def regret(self, number: int) -> float:
        """How much less mIoU a network has than the best within the limit, both as means over the seeds; 0 to 1."""
        return float(self._regrets[number])

    @cached_property
    def _regrets(self) -> Floats:
        means = self.benchmark.miou().mean(axis=1)
        regrets: Floats = means[self.benchmark.best(self.limit_ms, self.runtime)] - means
        return regrets


def problem_at(benchmark: Benchmark, runtime: str, share: float) -> Problem:
    """The problem whose limit a share of the networks meets.

    Raises:
        ConfigError: If the share is none, or the benchmark has no such runtime.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share: got {share}, expected a number above 0 and up to 1")
    return Problem(benchmark, runtime, float(np.quantile(benchmark.latency(runtime), share)))
