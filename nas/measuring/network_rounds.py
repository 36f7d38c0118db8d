"""Time whole networks against each other: interleaved rounds, every network twice a round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.cost.latency_table import LatencyTable
from nas.measuring.backends.module_runtime import ModuleRuntime
from nas.ops.spec import OpSpec
from nas.worker.drift import Timing, corrected_samples
from nas.worker.interface import Run
from nas.worker.rounds import Log, OnProgress, Rounds, Sampling, measure_rounds

SERIES = 2
"""Each network is measured twice, independently."""

SAMPLE_MS = 30.0
"""A sample repeats a short network until about this time is filled."""

REFERENCE_EVERY = 2
"""Samples of networks between two timings of the reference operation."""


@dataclass(frozen=True, slots=True)
class Level:
    """A level of speed: what the reference operation took when a table was measured.

    Args:
        key: Key of the operation.
        run: Executes it.
        ms: The level.
    """

    key: str
    run: Run
    ms: float


def level_of(table: LatencyTable, backend: ModuleRuntime) -> Level | None:
    """The level of speed at which a table was measured; None: it has no reference operation."""
    if table.reference is None:
        return None
    key = table.reference.key
    return Level(key, backend.prepare(OpSpec.from_key(key)), table.reference.median_ms)


def series_key(number: int, series: int) -> str:
    """Name of a network of a series."""
    return f"network {number} series {series}"


def time_networks(
    runs: Sequence[Run],
    *,
    rounds: int,
    seed: int,
    reference: Level | None = None,
    on_progress: OnProgress | None = None,
) -> NDArray[np.float64]:
    """Samples of every network, each the mean ms of a call.

    A round times all networks in a random order, and then again in another one: the two series of a network are independent
    measurements of the same thing. Before each sample the network is called once, untimed. With a reference operation, that is
    timed after every few samples, and all samples are brought to its level: what drifts between the rounds, or has changed since
    the table was measured, is taken out (see `nas.worker.drift`).

    Args:
        runs: What executes each network.
        rounds: Number of rounds.
        seed: Seed of the orders.
        reference: The operation whose level counts; None: samples stay as they are.
        on_progress: See `OnProgress`.

    Returns:
        Samples [networks, 2 series, rounds].
    """
    ready = {series_key(number, series): run for number, run in enumerate(runs) for series in range(SERIES)}
    plan = list(ready)
    if reference is not None:
        ready[reference.key] = reference.run

    def order(keys: Sequence[str], index: int) -> list[str]:
        del keys
        drawn = [(series, np.random.default_rng([seed, index, series]).permutation(len(runs))) for series in range(SERIES)]
        return [series_key(int(number), series) for series, numbers in drawn for number in numbers]

    log = Log()
    measure_rounds(
        plan,
        None if reference is None else reference.key,
        ready.__getitem__,
        log=log,
        rounds=Rounds(rounds, rounds, ci=0.0),
        sampling=Sampling(calls=lambda ms: max(1, round(SAMPLE_MS / ms)), reference_every=REFERENCE_EVERY, order=order),
        on_progress=on_progress,
    )
    return series_samples(log.timings, len(runs), level_ms=None if reference is None else reference.ms)


def series_samples(timings: Sequence[Timing], count: int, *, level_ms: float | None) -> NDArray[np.float64]:
    """Samples [networks, 2 series, rounds] in ms from timings in order of time.

    Args:
        timings: Of all series, and of the reference operation.
        count: Number of networks.
        level_ms: What the reference takes at the level wanted; None: the samples stay as they are.
    """
    samples = corrected_samples(timings, level_ms=level_ms)
    return np.array([[samples[series_key(number, series)] for series in range(SERIES)] for number in range(count)])


def noise_floor(samples: NDArray[np.float64]) -> float:
    """Mean over networks of |A - B| / mean, A and B the medians of the two series; samples [networks, 2, rounds]."""
    medians = np.median(samples, axis=2)
    return float(np.mean(np.abs(medians[:, 0] - medians[:, 1]) / medians.mean(axis=1)))
