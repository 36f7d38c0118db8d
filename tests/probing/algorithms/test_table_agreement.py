"""Stated latencies are held against the table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from nas.errors import ConfigError
from nas.probing.algorithms.table_agreement import TOLERANCE, check_table
from nas.space.benchmark import Benchmark, read_benchmark
from nas.space.by_name import space_config
from search_spaces import SEARCH_SPACES
from tests.probing.algorithms.made_benchmark import RUNTIME, made_mini_benchmark


def scaled(benchmark: Benchmark, factor: float, numbers: set[int]) -> Benchmark:
    networks = [
        dataclasses.replace(one, predicted_ms=(one.predicted_ms[0] * factor,)) if number in numbers else one
        for number, one in enumerate(benchmark.networks)
    ]
    return dataclasses.replace(benchmark, networks=tuple(networks))


def test_latencies_that_are_not_the_tables_are_refused(tmp_path: Path):
    benchmark = read_benchmark(made_mini_benchmark(tmp_path))
    config = space_config(benchmark.space_config, SEARCH_SPACES)
    check_table(benchmark, RUNTIME, config, SEARCH_SPACES)
    everything = set(range(len(benchmark.networks)))
    slowest = int(benchmark.latency(RUNTIME).argmax())
    check_table(scaled(benchmark, 1 + 0.9 * TOLERANCE, everything), RUNTIME, config, SEARCH_SPACES)
    for factor, numbers in ((1 + 1.2 * TOLERANCE, everything), (1 - 1.2 * TOLERANCE, everything), (1.1, {slowest})):
        with pytest.raises(ConfigError, match=r"networks.json.gz: got predicted_ms \S+ for network \d+ on torch-eager, expected"):
            check_table(scaled(benchmark, factor, numbers), RUNTIME, config, SEARCH_SPACES)
