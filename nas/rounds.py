"""Interleaved rounds over operations until each median is known, with a reference operation timed in between."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.devices import Backend
from nas.drift import REFERENCE_EVERY, corrected_samples
from nas.errors import ConfigError
from nas.journal import Journal, Timing
from nas.median_interval import FEWEST_SAMPLES, relative_half_width
from nas.ops.spec import OpSpec

WARMUP_CALLS = 1
"""Calls before each sample that are not timed."""
SAMPLE_MS = 5.0
"""A sample repeats a short operation until about this time is filled."""
MAX_CALLS = 50
"""Most calls in a sample."""

OnProgress = Callable[[int, int], None]
"""Called after each sample with the number of samples there are and the number that is expected, estimated anew every round."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to measure.

    Args:
        rounds: Fewest rounds over all operations.
        max_rounds: Most rounds.
        ci: An operation is finished when the half-width of the 95 % confidence interval of its median is at most this share.

    Raises:
        ConfigError: If no measurement can follow that.
    """

    rounds: int = 10
    max_rounds: int = 30
    ci: float = 0.02

    def __post_init__(self) -> None:
        """Check the values."""
        if self.rounds < 1:
            raise ConfigError(f"rounds: got {self.rounds}, expected at least 1")
        if self.rounds > self.max_rounds:
            raise ConfigError(
                f"rounds: got {self.rounds} with max_rounds={self.max_rounds}, expected at most that; "
                f"give max_rounds={self.rounds} or more, or fewer rounds"
            )
        if not 0 < self.ci < 1:
            raise ConfigError(f"ci: got {self.ci}, expected a share above 0 and below 1, e.g. 0.02")


def num_calls(estimate_ms: float) -> int:
    """Calls in one sample of an operation that takes about `estimate_ms`.

    >>> num_calls(0.9), num_calls(30.0), num_calls(0.001)
    (6, 1, 50)
    """
    return max(1, min(MAX_CALLS, math.ceil(SAMPLE_MS / estimate_ms)))


def measure_rounds(
    plan: Sequence[OpSpec],
    reference: OpSpec,
    backend: Backend,
    *,
    journal: Journal,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> None:
    """Take the timings that the journal lacks, round by round, in a new random order each time.

    Everything that is decided on the way follows from the journal alone, so a stopped run goes on as if it had not stopped.

    Args:
        plan: The operations, in an order that is the same in each run.
        reference: The reference operation: timed first, after every `REFERENCE_EVERY` samples and at the end of each round.
        backend: What executes them.
        journal: Where the timings are and will be.
        seed: Seed of the order within the rounds.
        on_progress: See `OnProgress`.
    """
    effort = Effort(rounds=journal.protocol.rounds, max_rounds=journal.protocol.max_rounds, ci=journal.protocol.ci)
    _log.info("%d operations in %d to %d rounds", len(plan), effort.rounds, effort.max_rounds)
    if journal.num_samples:
        _log.info("%d samples are there from a stopped run", journal.num_samples)
    stopwatch, progress = _Stopwatch(backend, journal, reference), _Progress(plan, journal, on_progress)
    active = list(plan)
    with backend.measuring():
        for index in range(effort.max_rounds):
            widths = half_widths(active, journal.timings, before_round=index)
            active = _unfinished(active, widths, index, effort)
            if not active:
                break
            progress.expected = _expected(plan, active, widths, index, journal=journal, effort=effort)
            order = np.random.default_rng([seed, index]).permutation(len(plan))
            wanted = set(active)
            shuffled = [plan[position] for position in order if plan[position] in wanted]
            _measure_round(shuffled, index, stopwatch, journal=journal, on_sample=progress.step)
            _log.info("round %d of at most %d done, over %d operations", index + 1, effort.max_rounds, len(active))
    progress.finish()


def unstable(plan: Sequence[OpSpec], timings: Sequence[Timing], effort: Effort) -> list[OpSpec]:
    """The operations whose median was not known well enough at the end of the last round."""
    active = list(plan)
    for index in range(effort.rounds, effort.max_rounds + 1):
        active = _unfinished(active, half_widths(active, timings, before_round=index), index, effort)
    return active


def half_widths(plan: Sequence[OpSpec], timings: Sequence[Timing], *, before_round: int) -> dict[str, float]:
    """`relative_half_width` of each operation from what is known before a round; infinite where nothing is."""
    samples = corrected_samples(timing for timing in timings if timing.round_index < before_round)
    return {spec.key: relative_half_width(samples.get(spec.key, [])) for spec in plan}


def _unfinished(active: Sequence[OpSpec], widths: Mapping[str, float], index: int, effort: Effort) -> list[OpSpec]:
    """Those that round `index` still needs to measure."""
    return [spec for spec in active if index < effort.rounds or widths[spec.key] > effort.ci]


def _expected(
    plan: Sequence[OpSpec],
    active: Sequence[OpSpec],
    widths: Mapping[str, float],
    index: int,
    *,
    journal: Journal,
    effort: Effort,
) -> int:
    """Samples in all when the run ends: an interval narrows with the square root of the number of rounds."""
    going_on = set(active)
    total = sum(journal.samples_of(spec.key) for spec in plan if spec not in going_on)
    for spec in active:
        width = widths[spec.key]
        needed = math.ceil(index * (width / effort.ci) ** 2) if index >= FEWEST_SAMPLES and math.isfinite(width) else 0
        total += min(max(needed, index + 1, effort.rounds), effort.max_rounds)
    return total


class _Progress:
    """Tells how far a measurement is."""

    def __init__(self, plan: Sequence[OpSpec], journal: Journal, on_progress: OnProgress | None) -> None:
        self.expected = 0
        self._plan = plan
        self._journal = journal
        self._on_progress = on_progress
        self._last = (0, 0)

    def step(self) -> None:
        """Report the samples that there are."""
        done = self._done()
        self._report(done, max(done, self.expected))

    def finish(self) -> None:
        """Report that there will be no more samples, unless the last report was right."""
        done = self._done()
        if self._last[0] < self._last[1]:
            self._report(done, done)

    def _done(self) -> int:
        return sum(self._journal.samples_of(spec.key) for spec in self._plan)

    def _report(self, done: int, total: int) -> None:
        self._last = (done, total)
        if self._on_progress is not None:
            self._on_progress(done, total)


class _Stopwatch:
    """Times operations into a journal, each with one number of calls throughout."""

    def __init__(self, backend: Backend, journal: Journal, reference: OpSpec) -> None:
        self._backend = backend
        self._journal = journal
        self._reference = reference
        self._calls: dict[tuple[str, bool], int] = {}

    def set_up(self, spec: OpSpec, *, is_reference: bool = False) -> None:
        """Run an operation twice, unless this process did: the first call also pays for what is set up once."""
        name = (spec.key, is_reference)
        if name not in self._calls:
            run = self._backend.prepare(spec)
            run(1)
            estimate = num_calls(run(1))
            self._calls[name] = self._journal.calls_of(spec.key, is_reference=is_reference) or estimate

    def sample(self, spec: OpSpec, round_index: int) -> None:
        """Take a sample."""
        self._time(spec, round_index, is_reference=False)

    def reference(self, round_index: int) -> None:
        """Time the reference operation."""
        self.set_up(self._reference, is_reference=True)
        self._time(self._reference, round_index, is_reference=True)

    def _time(self, spec: OpSpec, round_index: int, *, is_reference: bool) -> None:
        calls = self._calls[spec.key, is_reference]
        run = self._backend.prepare(spec)
        run(WARMUP_CALLS)
        self._journal.record(Timing(spec.key, round_index, run(calls), calls, is_reference))


def _measure_round(
    order: Sequence[OpSpec],
    index: int,
    stopwatch: _Stopwatch,
    *,
    journal: Journal,
    on_sample: Callable[[], None],
) -> None:
    """Take the samples of one round that are not there, and the timings of the reference that are due."""
    left = [spec for spec in order if not journal.has(spec.key, index)]
    for spec in left:
        stopwatch.set_up(spec)
    for spec in left:
        if not any(timing.is_reference for timing in journal.timings[-REFERENCE_EVERY:]):
            stopwatch.reference(index)
        stopwatch.sample(spec, index)
        on_sample()
    last = journal.timings[-1]
    if last.round_index == index and not last.is_reference:
        stopwatch.reference(index)
