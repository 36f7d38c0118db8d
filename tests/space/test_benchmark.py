"""Tables of trained networks: look-ups, noise, fronts, the regret of random search, and broken files."""

import gzip
import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest

from nas.errors import ConfigError, GenotypeError
from nas.space.benchmark import NETWORKS_FILE, Benchmark, read_benchmark

MIOU = ((0.20, 0.22), (0.30, 0.30), (0.33, 0.29), (0.40, 0.42))
MS = (1.0, 2.0, 2.5, 4.0)
ARCHITECTURES = (("00",), ("01", "10"), ("11",), ("20",))


def content_of() -> dict:
    """Four networks of a space with two decisions."""
    networks = [
        {
            "architectures": list(names),
            "parameters": 10,
            "macs": 100,
            "miou": [[value / 2 for value in miou], list(miou)],
            "training_s": [1.0, 3.0],
            "measured_ms": [2 * ms],
            "predicted_ms": [ms],
        }
        for names, miou, ms in zip(ARCHITECTURES, MIOU, MS, strict=True)
    ]
    return {
        "format_version": 1,
        "space": "s",
        "space_config": {"name": "s"},
        "deploy": {"input": [32, 48], "init_channels": 4, "num_classes": 5},
        "training": {"data": {}, "train": {}},
        "budgets": [1, 3],
        "seeds": [[0, 1], [0, 1]],
        "runtimes": {"r": {"threads": 1}},
        "decisions": {"a": ["x", "y", "z"], "b": ["x", "y"]},
        "networks": networks,
    }


def write(folder: Path, content: object) -> Path:
    (folder / NETWORKS_FILE).write_bytes(gzip.compress(json.dumps(content).encode()))
    return folder


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    return read_benchmark(write(tmp_path, content_of()))


def test_architectures_of_a_network_lead_to_it(benchmark: Benchmark):
    assert benchmark.number_of({"a": "x", "b": "x"}) == 0
    assert benchmark.number_of({"a": "x", "b": "y"}) == benchmark.number_of({"a": "y", "b": "x", "fixed": "f"}) == 1
    assert benchmark.choices(1) == {"a": "x", "b": "y"}
    with pytest.raises(GenotypeError, match="no network of space=s"):
        benchmark.number_of({"a": "z", "b": "y"})
    with pytest.raises(GenotypeError, match=r"choices\.b: got None, expected one of x, y"):
        benchmark.number_of({"a": "z"})


def test_noise_is_that_of_the_mean_and_spread_leaves_out_the_worst(benchmark: Benchmark):
    variances = [0.01**2 * 2, 0.0, 0.02**2 * 2, 0.01**2 * 2]
    assert benchmark.noise() == pytest.approx((sum(variances) / 4 / 2) ** 0.5)
    assert benchmark.noise(1) == pytest.approx(benchmark.noise() / 2)
    assert benchmark.spread() == pytest.approx(np.std([0.21, 0.30, 0.31, 0.41], ddof=1))  # a tenth of four is none
    with pytest.raises(ConfigError, match="budget: got 2, expected one of 1, 3 epochs"):
        benchmark.miou(2)


def test_best_and_front_are_by_predicted_latency_and_mean(benchmark: Benchmark):
    assert benchmark.best(2.5, "r") == 2
    assert benchmark.best(2.4, "r") == 1
    assert benchmark.front("r") == [0, 1, 2, 3]
    assert benchmark.latency("r", measured=True).tolist() == [2, 4, 5, 8]
    assert benchmark.table("r").name == "r.json"
    with pytest.raises(ConfigError, match=r"limit_ms: got 0\.5, expected at least 1\.000 on r"):
        benchmark.best(0.5, "r")
    with pytest.raises(ConfigError, match="runtime: got 'q', expected one of r"):
        benchmark.latency("q")


def test_regret_of_random_search_is_that_of_all_its_outcomes(benchmark: Benchmark):
    # One of four architectures within the limit, with one of two seeds; all pairs of draws counted one by one.
    draws = [
        (miou[seed], np.mean(miou))
        for names, miou in zip(ARCHITECTURES[:3], MIOU[:3], strict=True)
        for _ in names
        for seed in (0, 1)
    ]
    best = 0.31
    pairs = [best - max(pair)[1] for pair in itertools.product(draws, repeat=2)]
    single, double, many = benchmark.random_regret(2.5, "r", (1, 2, 10_000))
    assert single == pytest.approx(best - np.mean([mean for _, mean in draws]))
    assert double == pytest.approx(np.mean(pairs))
    assert many == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format_version",), 2, "format_version: got 2, expected 1"),
        (("networks", 1, "miou", 0), [0.1], r"networks\[1\]\.miou: got 1 values, expected 2"),
        (("networks", 1, "miou", 0, 0), 1.5, r"networks\[1\]\.miou"),
        (("networks", 2, "measured_ms"), [], r"networks\[2\]\.measured_ms: got 0 values, expected 1"),
        (("networks", 0, "macs"), 0, r"networks\[0\]\.macs"),
        (("seeds",), [["a", 1], [0, 1]], "seeds"),
        (("seeds",), [[0], [0, 1]], r"seeds: got \[0\], expected at least two"),
        (("seeds",), [[0, 1]], "seeds: got 1 values, expected 2"),
        (("training",), {"data": {}}, "training: 'train' is missing"),
        (("decisions", "a"), [1], r"decisions\.a"),
        (("runtimes",), [], "runtimes"),
        (("deploy", "input"), [0, 1], r"deploy\.input"),
        (("surplus",), 1, "surplus"),
    ],
)
def test_a_broken_file_is_refused_with_the_place(path, value, message, tmp_path: Path):
    content = content_of()
    at = content
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(ConfigError, match=message):
        read_benchmark(write(tmp_path, content))


def test_any_torn_or_changed_archive_is_refused(tmp_path: Path):
    whole = write(tmp_path, content_of()).joinpath(NETWORKS_FILE).read_bytes()
    generator = random.Random(0)
    for length in generator.sample(range(len(whole)), 20):
        (tmp_path / NETWORKS_FILE).write_bytes(whole[:length])
        with pytest.raises(ConfigError, match=NETWORKS_FILE):
            read_benchmark(tmp_path)
    for place in generator.sample(range(10, len(whole)), 20):  # before stands what says nothing of the content
        (tmp_path / NETWORKS_FILE).write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with pytest.raises(ConfigError, match=NETWORKS_FILE):
            read_benchmark(tmp_path)
