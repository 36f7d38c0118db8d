"""Time whole networks against each other: interleaved rounds, every network twice a round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.cost.latency_table import LatencyTable
from nas.measuring.backends.backend import Backend, Run
from nas.ops.spec import OpSpec
from nas.worker.drift import local_levels
from nas.worker.rounds import num_calls

SAMPLE_MS = 30.0
"""A sample repeats a short network until about this time is filled."""

REFERENCE_EVERY = 2
"""Samples of networks between two timings of the reference operation."""

OnProgress = Callable[[int, int], None]
"""Called after each sample with the number of samples there are and of those planned."""


@dataclass(frozen=True, slots=True)
class Level:
    """A level of speed: what the reference operation took when a table was measured.

    Args:
        run: Executes the operation.
        calls: Calls in a sample.
        ms: The level.
    """

    run: Run
    calls: int
    ms: float

    def sample(self) -> float:
        """Mean ms of a call now, after one that is not timed."""
        self.run(1)
        return self.run(self.calls)


def level_of(table: LatencyTable, backend: Backend) -> Level | None:
    """The level of speed at which a table was measured; None: it has no reference operation."""
    if table.reference is None:
        return None
    ms = table.reference.median_ms
    return Level(backend.prepare(OpSpec.from_key(table.reference.key)), num_calls(ms), ms)


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
    the table was measured, is taken out (see `nas.drift`).

    Args:
        runs: What executes each network.
        rounds: Number of rounds.
        seed: Seed of the orders.
        reference: The operation whose level counts; None: samples stay as they are.
        on_progress: See `OnProgress`.

    Returns:
        Samples [networks, 2 series, rounds].
    """
    calls = []
    for run in runs:
        run(1)
        calls.append(max(1, round(SAMPLE_MS / run(1))))
    samples = np.zeros((len(runs), 2, rounds))
    place = np.zeros(samples.shape, dtype=np.int64)  # how many timings of the reference came before
    timings = [] if reference is None else [reference.sample()]
    total, done = samples.size, 0
    for number in range(rounds):
        for series in (0, 1):
            for index in np.random.default_rng([seed, number, series]).permutation(len(runs)):
                runs[index](1)
                samples[index, series, number] = runs[index](calls[index])
                place[index, series, number] = len(timings)
                done += 1
                if reference is not None and done % REFERENCE_EVERY == 0:
                    timings.append(reference.sample())
                if on_progress is not None:
                    on_progress(done, total)
    return samples if reference is None else samples * (reference.ms / np.asarray(local_levels(timings)))[place]


def noise_floor(samples: NDArray[np.float64]) -> float:
    """Mean over networks of |A - B| / mean, A and B the medians of the two series; samples [networks, 2, rounds]."""
    medians = np.median(samples, axis=2)
    return float(np.mean(np.abs(medians[:, 0] - medians[:, 1]) / medians.mean(axis=1)))
