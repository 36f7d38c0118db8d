"""The benchmark of space=mini that ships with the package: complete, and its latencies are those of its tables."""

import re

import pytest

import nas
from nas.errors import ConfigError
from nas.probing.algorithms.table_agreement import check_table
from nas.space.distinct import all_choices
from search_spaces import SEARCH_SPACES

RUNTIMES = ("onnxruntime", "torch-eager")


def test_every_architecture_of_the_space_is_a_network_of_the_benchmark():
    benchmark = nas.load_benchmark("mini")
    space = nas.build_space(nas.space_config(benchmark.space_config))
    numbers = [benchmark.number_of(decided) for decided in all_choices(space)]
    assert (len(numbers), len(benchmark.architectures)) == (512, 512)
    assert set(numbers) == set(range(len(benchmark.networks))) == set(range(320))
    assert tuple(benchmark.runtimes) == RUNTIMES
    assert benchmark.spread() > 2.5 * benchmark.noise()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_its_latencies_are_those_of_its_table(runtime: str):
    benchmark = nas.load_benchmark("mini")
    check_table(benchmark, runtime, nas.space_config(benchmark.space_config), SEARCH_SPACES)


def test_the_least_limit_that_an_error_states_can_be_kept():
    benchmark = nas.load_benchmark("mini")
    with pytest.raises(ConfigError, match="expected at least") as error:
        benchmark.best(1.0, "onnxruntime")
    least = float(re.search(r"at least ([\d.]+)", str(error.value))[1])
    assert benchmark.latency("onnxruntime")[benchmark.best(least, "onnxruntime")] <= least
