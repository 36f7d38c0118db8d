"""Tables of a small space in which every network was trained: what an algorithm found is looked up instead of trained.

As NAS-Bench-201 (Dong and Yang, ICLR 2020, arXiv:2001.00326), for segmentation and with latencies.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import ConfigError, GenotypeError
from nas.files.shipped import shipped_benchmarks
from nas.files.shortening import shorten
from nas.files.strict_json import as_count, as_list, as_number, as_object, as_text, as_texts, parse_strict
from nas.space.deployment import DEPLOYMENT_KEYS, Deployment

FORMAT_VERSION = 1
NETWORKS_FILE = "networks.json.gz"
"""The file in the folder of a benchmark; beside it lies RUNTIME.json for each runtime, a latency table of the operations."""
WORST_SHARE = 0.1
"""Share of the networks, the least accurate, that spreads leave out: a few networks that cannot learn say nothing of the others."""

_FIELDS = ("format_version", "space", "space_config", "deploy", "training", "budgets", "seeds", "runtimes", "decisions", "networks")
_NETWORK_FIELDS = ("architectures", "parameters", "macs", "miou", "training_s", "measured_ms", "predicted_ms")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BenchmarkNetwork:
    """A network of a benchmark.

    Args:
        architectures: The architectures that describe it, each a digit for every decision: the number of the option.
        parameters: Parameters of the deployed network.
        macs: Multiply-accumulates of the deployed network at the benchmark's deployment.
        miou: Mean intersection over union on the validation split, 0 to 1, for each budget and seed.
        training_s: CPU seconds of a training with its evaluation for each budget, mean over the seeds.
        measured_ms: What the whole network took on each runtime, in ms.
        predicted_ms: What the latency table of each runtime says, in ms.
    """

    architectures: tuple[str, ...]
    parameters: int
    macs: int
    miou: tuple[tuple[float, ...], ...]
    training_s: tuple[float, ...]
    measured_ms: tuple[float, ...]
    predicted_ms: tuple[float, ...]


@dataclass(frozen=True)
class Benchmark:
    """Every network of a space, trained at several budgets with several seeds, and timed on several runtimes.

    Args:
        folder: Where its files lie.
        space: Name of the space.
        space_config: Settings of the space.
        deploy: What networks were timed and counted for; they were trained at its channels and classes.
        training: Settings of data and training, without the epochs.
        budgets: Epochs of the trainings, ascending.
        seeds: Seeds of the trainings, for each budget.
        runtimes: Runtime -> what timed the networks: device, threads, version.
        decisions: Decision -> options, those that have several.
        networks: The networks.
    """

    folder: Path
    space: str
    space_config: Mapping[str, Any]
    deploy: Deployment
    training: Mapping[str, Any]
    budgets: tuple[int, ...]
    seeds: tuple[tuple[int, ...], ...]
    runtimes: Mapping[str, Mapping[str, Any]]
    decisions: Mapping[str, tuple[str, ...]]
    networks: tuple[BenchmarkNetwork, ...]

    @cached_property
    def architectures(self) -> Mapping[str, int]:
        """Architecture, a digit for each decision -> number of its network."""
        return {text: number for number, network in enumerate(self.networks) for text in network.architectures}

    def number_of(self, choices: Mapping[str, str]) -> int:
        """The number of the network that an architecture describes.

        Args:
            choices: Decision -> option, all decisions of the space.

        Raises:
            GenotypeError: If the space has no such architecture.
        """
        for name, options in self.decisions.items():
            if choices.get(name) not in options:
                raise GenotypeError(f"choices.{name}: got {choices.get(name)!r}, expected one of {', '.join(options)}")
        text = "".join(str(options.index(choices[name])) for name, options in self.decisions.items())
        if text not in self.architectures:
            raise GenotypeError(f"choices: got {text}, which is no network of space={self.space}")
        return self.architectures[text]

    def choices(self, number: int) -> dict[str, str]:
        """Decision -> option of a network, those that have several; of its architectures the first."""
        digits = self.networks[number].architectures[0]
        return {name: options[int(digit)] for (name, options), digit in zip(self.decisions.items(), digits, strict=True)}

    def table(self, runtime: str) -> Path:
        """The latency table of the space's operations on a runtime, for `latency.table`.

        Raises:
            ConfigError: If the networks were not timed there.
        """
        self._runtime(runtime)
        return self.folder / f"{runtime}.json"

    def miou(self, budget: int | None = None) -> Floats:
        """Mean IoU [networks, seeds] after training of so many epochs; None: the longest.

        Raises:
            ConfigError: If no network was trained that long.
        """
        wanted = self.budgets[-1] if budget is None else budget
        if wanted not in self.budgets:
            raise ConfigError(f"budget: got {budget}, expected one of {', '.join(map(str, self.budgets))} epochs")
        at = self.budgets.index(wanted)
        return np.array([network.miou[at] for network in self.networks])

    def latency(self, runtime: str, *, measured: bool = False) -> Floats:
        """Latency [networks] in ms: what the table says, or what the whole networks took.

        Raises:
            ConfigError: If the networks were not timed there.
        """
        at = self._runtime(runtime)
        return np.array([(one.measured_ms if measured else one.predicted_ms)[at] for one in self.networks])

    def noise(self, budget: int | None = None) -> float:
        """Standard deviation of a network's mean over the seeds, estimated from its seeds, pooled over the networks."""
        values = self.miou(budget)
        return float(np.sqrt(values.var(axis=1, ddof=1).mean() / values.shape[1]))

    def spread(self, budget: int | None = None) -> float:
        """Standard deviation of the networks' means over the seeds, the worst tenth left out."""
        means = np.sort(self.miou(budget).mean(axis=1))
        return float(means[int(WORST_SHARE * len(means)) :].std(ddof=1))

    def best(self, limit_ms: float, runtime: str) -> int:
        """The number of the most accurate network whose predicted latency is within a limit.

        Raises:
            ConfigError: If no network is.
        """
        within = self.latency(runtime) <= limit_ms
        if not within.any():
            least = np.ceil(1000 * self.latency(runtime).min()) / 1000
            raise ConfigError(f"limit_ms: got {limit_ms:g}, expected at least {least:.3f} on {runtime}")
        return int(np.where(within, self.miou().mean(axis=1), -np.inf).argmax())

    def front(self, runtime: str, *, measured: bool = False) -> list[int]:
        """The numbers of the networks that no other dominates, by latency as in `latency`: none is as fast and more accurate."""
        means, latency = self.miou().mean(axis=1), self.latency(runtime, measured=measured)
        front: list[int] = []
        for number in np.lexsort((-means, latency)):
            if not front or means[number] > means[front[-1]]:
                front.append(int(number))
        return front

    def random_regret(self, limit_ms: float, runtime: str, draws: Sequence[int]) -> Floats:
        """Expected regret of random search after so many trainings, in mIoU; exact.

        Each draw is an architecture within the limit, all alike, trained with a seed by chance; the one that scored best is kept
        and judged by its mean.

        Args:
            limit_ms: Largest predicted latency in ms.
            runtime: Where.
            draws: Numbers of trainings.
        """
        within = self.latency(runtime) <= limit_ms
        scores = self.miou()
        means = scores.mean(axis=1)
        counts = np.array([len(network.architectures) for network in self.networks], dtype=float) * within
        weights = np.broadcast_to(counts[:, None] / counts.sum() / scores.shape[1], scores.shape)
        order = scores.ravel().argsort()
        below = np.concatenate([[0.0], weights.ravel()[order].cumsum()])
        values = np.broadcast_to(means[:, None], scores.shape).ravel()[order]
        best = means[self.best(limit_ms, runtime)]
        return np.array([best - float(np.sum((below[1:] ** n - below[:-1] ** n) * values)) for n in draws])

    def _runtime(self, runtime: str) -> int:
        if runtime not in self.runtimes:
            raise ConfigError(f"runtime: got {runtime!r}, expected one of {', '.join(self.runtimes)}")
        return list(self.runtimes).index(runtime)


def load_benchmark(name_or_folder: str | Path) -> Benchmark:
    """A benchmark that ships with the package, by its name, or one in a folder. A folder of such a name is given as `./NAME`.

    Raises:
        ConfigError: If there is neither, or its file is malformed.
    """
    shipped = shipped_benchmarks()
    folder = shipped.get(str(name_or_folder), Path(name_or_folder))
    if not (folder / NETWORKS_FILE).is_file():
        names = f"one of {', '.join(shipped)}, or " if shipped else ""
        raise ConfigError(f"benchmark: got {folder}, expected {names}a folder with {NETWORKS_FILE}; experiments/mini makes one")
    return read_benchmark(folder)


def read_benchmark(folder: Path) -> Benchmark:
    """The benchmark whose files lie in a folder.

    Raises:
        ConfigError: If its file is missing or malformed.
    """
    path = folder / NETWORKS_FILE
    if not path.is_file():
        raise ConfigError(f"benchmark: got {folder}, expected a folder with {NETWORKS_FILE}; experiments/mini makes one")
    try:
        return _parse(parse_strict(gzip.decompress(path.read_bytes()).decode("utf-8")), folder)
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ConfigError(f"{path}: {error}") from error


def _parse(content: object, folder: Path) -> Benchmark:
    fields: dict[str, Any] = as_object(content, "the file", _FIELDS)
    if fields["format_version"] != FORMAT_VERSION:
        raise ValueError(f"format_version: got {shorten(fields['format_version'])}, expected {FORMAT_VERSION}")
    deploy: dict[str, Any] = as_object(fields["deploy"], "deploy", DEPLOYMENT_KEYS)
    runtimes = as_object(fields["runtimes"], "runtimes", tuple(fields["runtimes"]))
    decisions = as_object(fields["decisions"], "decisions", tuple(fields["decisions"]))
    budgets = tuple(as_count(one, "budgets", minimum=1) for one in as_list(fields["budgets"], "budgets"))
    seeds = tuple(
        tuple(as_count(one, "seeds", minimum=0) for one in as_list(row, "seeds"))
        for row in _all(as_list(fields["seeds"], "seeds"), "seeds", len(budgets))
    )
    if len(few := min(seeds, key=len, default=())) < 2:
        raise ValueError(f"seeds: got {list(few)}, expected at least two for each budget: noise is told from their difference")
    return Benchmark(
        folder=folder,
        space=as_text(fields["space"], "space"),
        space_config=fields["space_config"],
        deploy=Deployment(**deploy),
        training=as_object(fields["training"], "training", ("data", "train")),
        budgets=budgets,
        seeds=seeds,
        runtimes={name: dict(facts) for name, facts in runtimes.items()},  # type: ignore[call-overload]
        decisions={name: as_texts(options, f"decisions.{name}") for name, options in decisions.items()},
        networks=tuple(
            _network(one, f"networks[{i}]", seeds, len(runtimes)) for i, one in enumerate(as_list(fields["networks"], "networks"))
        ),
    )


def _network(content: object, where: str, seeds: tuple[tuple[int, ...], ...], runtimes: int) -> BenchmarkNetwork:
    fields = as_object(content, where, _NETWORK_FIELDS)
    rows = _all(as_list(fields["miou"], f"{where}.miou"), f"{where}.miou", len(seeds))
    miou = tuple(_numbers(row, f"{where}.miou", len(some)) for row, some in zip(rows, seeds, strict=True))
    if not all(0 <= value <= 1 for row in miou for value in row):
        raise ValueError(f"{where}.miou: got {miou}, expected numbers from 0 to 1")
    return BenchmarkNetwork(
        architectures=as_texts(fields["architectures"], f"{where}.architectures"),
        parameters=as_count(fields["parameters"], f"{where}.parameters", minimum=1),
        macs=as_count(fields["macs"], f"{where}.macs", minimum=1),
        miou=miou,
        training_s=_numbers(fields["training_s"], f"{where}.training_s", len(seeds)),
        measured_ms=_numbers(fields["measured_ms"], f"{where}.measured_ms", runtimes),
        predicted_ms=_numbers(fields["predicted_ms"], f"{where}.predicted_ms", runtimes),
    )


def _numbers(value: object, where: str, count: int) -> tuple[float, ...]:
    return tuple(as_number(one, where) for one in _all(as_list(value, where), where, count))


def _all(values: list[object], where: str, count: int) -> list[object]:
    if len(values) != count:
        raise ValueError(f"{where}: got {len(values)} values, expected {count}")
    return values
