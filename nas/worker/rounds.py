"""Interleaved rounds over what is timed until each median is known, with a reference operation timed in between."""

import math
import random
import time
from typing import Callable, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Set, Tuple

from nas.worker.drift import REFERENCE_EVERY, Timing, corrected_samples
from nas.worker.interface import Run
from nas.worker.robust_medians import FEWEST_SAMPLES, relative_half_width

IMPLEMENTATION = "nas.worker 2"
"""Which code takes samples, as tables state it: the number rises when it would time the same operation in another way."""
WARMUP_CALLS = 1
"""Calls before each sample that are not timed."""
SAMPLE_MS = 5.0
"""A sample repeats a short operation until about this time is filled."""
MAX_CALLS = 50
"""Most calls in a sample."""

OnProgress = Callable[[int, int], None]
"""Called after each sample with the number of samples there are and the number that is expected, estimated again every round."""
OnRound = Callable[[int, int], None]
"""Called at the end of each round with its index and the number of operations it went over."""


class Rounds(NamedTuple):
    """Effort of a measurement.

    Fields:
        fewest: Rounds over all operations that every operation has.
        most: Most rounds.
        ci: An operation is finished when the half-width of the 95 % confidence interval of its median is at most this share; 0:
            every operation gets all rounds.
        seconds: No further round is begun after this time, once there are the fewest.
    """

    fewest: int
    most: int
    ci: float
    seconds: float = math.inf


class Log:
    """The timings there are, in memory; a subclass also keeps them elsewhere."""

    def __init__(self) -> None:
        self.timings: List[Timing] = []
        """All timings in order of time."""
        self._rounds: Dict[str, Set[int]] = {}
        self._calls: Dict[Tuple[str, bool], int] = {}
        self._reference_key: Optional[str] = None

    @property
    def keys(self) -> FrozenSet[str]:
        """Keys of the operations that have a sample."""
        return frozenset(self._rounds)

    @property
    def reference_key(self) -> Optional[str]:
        """Key of the reference operation; None as long as it was not timed."""
        return self._reference_key

    @property
    def num_samples(self) -> int:
        """Number of samples."""
        return sum(map(len, self._rounds.values()))

    def samples_of(self, key: str) -> int:
        """Number of samples of an operation."""
        return len(self._rounds.get(key, ()))

    def has(self, key: str, round_index: int) -> bool:
        """Whether the sample of an operation in a round is there."""
        return round_index in self._rounds.get(key, ())

    def calls_of(self, key: str, *, is_reference: bool = False) -> Optional[int]:
        """Number of calls in the first timing of an operation; None if there are none."""
        return self._calls.get((key, is_reference))

    def record(self, timing: Timing) -> None:
        """Keep a timing."""
        if not (math.isfinite(timing.ms) and timing.ms > 0):
            raise RuntimeError(f"the backend measured {timing.ms} ms for {timing.key!r}, expected a finite positive time")
        self.check_new(timing)
        self.write(timing)
        self.keep(timing)

    def write(self, timing: Timing) -> None:
        """Keep a timing elsewhere, before it counts."""

    def check_new(self, timing: Timing) -> None:
        """Refuse, with `ValueError`, a second sample of an operation and round, and a second reference operation."""
        if timing.is_reference and self.reference_key not in (None, timing.key):
            raise ValueError(f"got reference operation {timing.key!r}, expected {self.reference_key!r} as before")
        if not timing.is_reference and self.has(timing.key, timing.round_index):
            raise ValueError(f"round {timing.round_index} of {timing.key!r} is in the journal already")

    def keep(self, timing: Timing) -> None:
        """Keep a timing in memory."""
        self.timings.append(timing)
        self._calls.setdefault((timing.key, timing.is_reference), timing.calls)
        if timing.is_reference:
            self._reference_key = timing.key
        else:
            self._rounds.setdefault(timing.key, set()).add(timing.round_index)


def num_calls(estimate_ms: float) -> int:
    """Calls in one sample of an operation that takes about `estimate_ms`.

    >>> num_calls(0.9), num_calls(30.0), num_calls(0.001)
    (6, 1, 50)
    """
    return max(1, min(MAX_CALLS, math.ceil(SAMPLE_MS / estimate_ms)))


def shuffled(active: Sequence[str], index: int) -> List[str]:
    """The order of a round: random, and the same each time."""
    order = list(active)
    random.Random(f"round {index}").shuffle(order)  # noqa: S311  an order, no secret
    return order


class Sampling(NamedTuple):
    """Way of taking samples.

    Fields:
        calls: Calls in a sample of what takes so many ms; the reference operation's follow `num_calls`.
        reference_every: Samples between two timings of the reference.
        order: The order of a round, from the keys that it goes over and its index.
        is_program: Whether each run starts a program, which warms up and counts its calls by itself: then nothing is run untimed.
    """

    calls: Callable[[float], int] = num_calls
    reference_every: int = REFERENCE_EVERY
    order: Callable[[Sequence[str], int], List[str]] = shuffled
    is_program: bool = False


_SAMPLING = Sampling()


def measure_rounds(
    plan: Sequence[str],
    reference: Optional[str],
    prepare: Callable[[str], Run],
    *,
    log: Log,
    rounds: Rounds,
    sampling: Sampling = _SAMPLING,
    on_progress: Optional[OnProgress] = None,
    on_round: Optional[OnRound] = None,
) -> None:
    """Take the timings that the log lacks, round by round, in a new random order each time.

    Everything that is decided on the way follows from the log alone, so a stopped run goes on as if it had not stopped.

    Args:
        plan: Keys of the operations, or of whatever else is timed, in an order that is the same in each run.
        reference: The reference operation: timed first, after every few samples and at the end of each round; None: there is none.
        prepare: Makes the operation of a key ready; cheap when called again.
        log: Where the timings are and will be.
        rounds: How long to measure.
        sampling: How samples are taken.
        on_progress: See `OnProgress`.
        on_round: See `OnRound`.
    """
    stopwatch = _Stopwatch(prepare, log, reference, sampling)
    progress = _Progress(plan, log, on_progress)
    active, started = list(plan), time.monotonic()
    for index in range(rounds.most):
        if index >= rounds.fewest and time.monotonic() - started > rounds.seconds:
            break
        widths = half_widths(active, log.timings, before_round=index) if rounds.ci > 0 else dict.fromkeys(active, math.inf)
        active = _unfinished(active, widths, index, rounds)
        if not active:
            break
        progress.expected = _expected(plan, {key: widths[key] for key in active}, index, log=log, rounds=rounds)
        _measure_round(sampling.order(active, index), index, stopwatch, log=log, on_sample=progress.step)
        if on_round is not None:
            on_round(index, len(active))
    progress.finish()


def unstable(plan: Sequence[str], timings: Sequence[Timing], rounds: Rounds) -> List[str]:
    """The operations whose median was not known well enough when the last of their rounds had ended."""
    counts: Dict[str, int] = {key: 0 for key in plan}
    for timing in timings:
        if not timing.is_reference and timing.key in counts:
            counts[timing.key] += 1
    together: Dict[int, List[str]] = {}
    for key, count in counts.items():
        together.setdefault(count, []).append(key)
    widths: Dict[str, float] = {}
    for count, keys in together.items():
        widths.update(half_widths(keys, timings, before_round=count))
    return [key for key in plan if widths[key] > rounds.ci]


def half_widths(plan: Sequence[str], timings: Sequence[Timing], *, before_round: int) -> Dict[str, float]:
    """`relative_half_width` of each operation from what is known before a round; infinite where nothing is."""
    samples = corrected_samples(timing for timing in timings if timing.round_index < before_round)
    return {key: relative_half_width(samples.get(key, [])) for key in plan}


def _unfinished(active: Sequence[str], widths: Dict[str, float], index: int, rounds: Rounds) -> List[str]:
    """Operations that round `index` still needs to measure."""
    return [key for key in active if index < rounds.fewest or widths[key] > rounds.ci]


def _expected(plan: Sequence[str], widths: Dict[str, float], index: int, *, log: Log, rounds: Rounds) -> int:
    """Samples in all when the run ends: an interval narrows with the square root of the number of rounds.

    Args:
        plan: All operations.
        widths: Half-width of those that go on.
        index: The round that begins.
        log: The timings there are.
        rounds: How long to measure.
    """
    total = sum(log.samples_of(key) for key in plan if key not in widths)
    for width in widths.values():
        needed = math.ceil(index * (width / rounds.ci) ** 2) if index >= FEWEST_SAMPLES and math.isfinite(width) else 0
        total += min(max(needed, index + 1, rounds.fewest), rounds.most)
    return total


class _Progress:
    """Tells how far a measurement is."""

    def __init__(self, plan: Sequence[str], log: Log, on_progress: Optional[OnProgress]) -> None:
        self.expected = 0
        self._plan = plan
        self._log = log
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
        return sum(self._log.samples_of(key) for key in self._plan)

    def _report(self, done: int, total: int) -> None:
        self._last = (done, total)
        if self._on_progress is not None:
            self._on_progress(done, total)


class _Stopwatch:
    """Times operations into a log, each with one number of calls throughout."""

    def __init__(self, prepare: Callable[[str], Run], log: Log, reference: Optional[str], sampling: Sampling) -> None:
        self._prepare = prepare
        self._log = log
        self._reference = reference
        self._sampling = sampling
        self._calls: Dict[Tuple[str, bool], int] = {}

    def set_up(self, key: str, *, is_reference: bool = False) -> None:
        """Run an operation twice, unless this process did: the first call also pays for what is set up once."""
        name = (key, is_reference)
        if name not in self._calls:
            run = self._prepare(key)
            estimate = 1
            if not self._sampling.is_program:
                run(1)
                estimate = (num_calls if is_reference else self._sampling.calls)(run(1))
            self._calls[name] = self._log.calls_of(key, is_reference=is_reference) or estimate

    def sample(self, key: str, round_index: int) -> None:
        """Take a sample, and first time the reference operation if that is due."""
        if not any(timing.is_reference for timing in self._log.timings[-self._sampling.reference_every :]):
            self.reference(round_index)
        self._time(key, round_index, is_reference=False)

    def reference(self, round_index: int) -> None:
        """Time the reference operation, if there is one."""
        if self._reference is not None:
            self.set_up(self._reference, is_reference=True)
            self._time(self._reference, round_index, is_reference=True)

    def _time(self, key: str, round_index: int, *, is_reference: bool) -> None:
        calls = self._calls[key, is_reference]
        run = self._prepare(key)
        if not self._sampling.is_program:
            run(WARMUP_CALLS)
        self._log.record(Timing(key, round_index, run(calls), calls, is_reference))


def _measure_round(order: Sequence[str], index: int, stopwatch: _Stopwatch, *, log: Log, on_sample: Callable[[], None]) -> None:
    """Take the samples of one round that are not there, and the timings of the reference that are due."""
    left = [key for key in order if not log.has(key, index)]
    for key in left:
        stopwatch.set_up(key)
    for key in left:
        stopwatch.sample(key, index)
        on_sample()
    last = log.timings[-1]
    if last.round_index == index and not last.is_reference:
        stopwatch.reference(index)
