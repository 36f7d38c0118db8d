"""Whether the latencies that a benchmark states are those of its own table, by which searches in earnest keep their limit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nas.cost import read_table
from nas.cost.genotype_latency import predict
from nas.errors import ConfigError
from nas.space.benchmark import NETWORKS_FILE, Benchmark
from nas.space.by_name import build_space
from nas.space.design import Design
from nas.space.genotype import Genotype
from nas.space.space_entry import SpaceEntry

CHECKED = 5
"""Networks that are predicted anew, from the fastest to the slowest."""
TOLERANCE = 1e-3
"""Largest relative difference: what is stated is rounded."""


def check_table(benchmark: Benchmark, runtime: str, config: object, spaces: Mapping[str, SpaceEntry]) -> None:
    """Refuse a benchmark whose predicted latencies are not those of its table.

    Args:
        benchmark: The benchmark.
        runtime: Where.
        config: The config of its space.
        spaces: The search spaces by name.

    Raises:
        UserError: If a latency differs, or the table cannot be read or lacks an operation.
    """
    path = benchmark.table(runtime)
    table, space = read_table(path), build_space(config, spaces)
    alone = {name: options[0] for name, options in space.genotype_choices().items() if len(options) == 1}
    stated = benchmark.latency(runtime)
    order = stated.argsort(kind="stable")
    for number in order[np.linspace(0, len(order) - 1, CHECKED).round().astype(int)]:
        choices = {**alone, **benchmark.choices(int(number))}
        genotype = Genotype(benchmark.space, benchmark.space_config, benchmark.deploy, choices, {})
        expected = predict(Design(genotype, space), table).ms
        if abs(stated[number] - expected) > TOLERANCE * expected:
            raise ConfigError(
                f"{benchmark.folder / NETWORKS_FILE}: got predicted_ms {stated[number]:.6g} for network {number} on {runtime}, "
                f"expected {expected:.6g}, what {path.name} says; make the benchmark and its table together"
            )
