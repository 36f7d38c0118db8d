"""Time whole networks against each other: interleaved rounds, every network twice a round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.worker.drift import Timing, corrected_samples
from nas.worker.interface import Run
from nas.worker.rounds import Log, OnProgress, OnRound, Rounds, Sampling, measure_rounds

SERIES = 2
"""Each network is measured twice, independently."""

SAMPLE_MS = 30.0
"""A sample repeats a short network until about this time is filled."""

REFERENCE_EVERY = 2
"""Samples of networks between two timings of the reference operation."""


@dataclass(frozen=True, slots=True)
class NetworkTimings:
    """Timings of whole networks.

    Args:
        timings: Of all series, and of the reference operation, in order of time.
        count: Number of networks.
    """

    timings: tuple[Timing, ...]
    count: int

    @property
    def reference_ms(self) -> float | None:
        """Median of the timings of the reference operation; None: it was not timed."""
        reference = [timing.ms for timing in self.timings if timing.is_reference]
        return float(np.median(reference)) if reference else None

    @property
    def reference_key(self) -> str | None:
        """Key of the reference operation; None: it was not timed."""
        return next((timing.key for timing in self.timings if timing.is_reference), None)

    def samples(self, *, level_ms: float | None = None) -> NDArray[np.float64]:
        """Samples [networks, 2 series, rounds] in ms, each the mean of a call, without what drifts between the rounds.

        Args:
            level_ms: What the reference operation takes at the level of speed wanted; None: the median of its timings.
        """
        samples = corrected_samples(self.timings, level_ms=level_ms)
        return np.array([[samples[series_key(number, series)] for series in range(SERIES)] for number in range(self.count)])


def series_key(number: int, series: int) -> str:
    """Name of a network of a series."""
    return f"network {number} series {series}"


def time_networks(
    runs: Sequence[Run],
    *,
    rounds: int,
    seed: int,
    reference: tuple[str, Run] | None = None,
    on_progress: OnProgress | None = None,
    on_round: OnRound | None = None,
) -> NetworkTimings:
    """Time every network in interleaved rounds.

    A round times all networks in a random order, and then again in another one: the two series of a network are independent
    measurements of the same thing. Before each sample the network is called once, untimed. A reference operation is timed after
    every few samples: by it samples are brought to one level of speed (see `nas.worker.drift`).

    Args:
        runs: What executes each network.
        rounds: Number of rounds.
        seed: Seed of the orders.
        reference: Key of the reference operation, and what executes it; None: samples stay as they are.
        on_progress: See `OnProgress`.
        on_round: See `OnRound`.
    """
    ready = {series_key(number, series): run for number, run in enumerate(runs) for series in range(SERIES)}
    plan = list(ready)
    if reference is not None:
        ready[reference[0]] = reference[1]

    def order(keys: Sequence[str], index: int) -> list[str]:
        del keys
        drawn = [(series, np.random.default_rng([seed, index, series]).permutation(len(runs))) for series in range(SERIES)]
        return [series_key(int(number), series) for series, numbers in drawn for number in numbers]

    log = Log()
    measure_rounds(
        plan,
        None if reference is None else reference[0],
        ready.__getitem__,
        log=log,
        rounds=Rounds(rounds, rounds, ci=0.0),
        sampling=Sampling(calls=lambda ms: max(1, round(SAMPLE_MS / ms)), reference_every=REFERENCE_EVERY, order=order),
        on_progress=on_progress,
        on_round=on_round,
    )
    return NetworkTimings(tuple(log.timings), len(runs))


def noise_floor(samples: NDArray[np.float64]) -> float:
    """Mean over networks of |A - B| / mean, A and B the medians of the two series; samples [networks, 2, rounds]."""
    medians = np.median(samples, axis=2)
    return float(np.mean(np.abs(medians[:, 0] - medians[:, 1]) / medians.mean(axis=1)))
