"""Steps in interleaved rounds: every variant takes one step a round, only one of them at a time."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from nas.probing.bench.cases import BASE, Shape, Variant
from nas.probing.bench.processes import Case, Memory, StepProcess
from nas.probing.bench.spreads import Spread, ratio, spread
from nas.worker.drift import corrected_samples
from nas.worker.rounds import Log, Rounds, Sampling, measure_rounds

WARMUP_STEPS = 2
"""Steps of each process that do not count: the first one allocates, and sets up the gradients and the optimisers."""
FEWEST_ROUNDS = 3
"""Rounds that are measured in any case."""

OnRound = Callable[[], None]
"""Called after the building of each process, and after each round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Duration of the measurement at each shape.

    Args:
        rounds: Most rounds.
        seconds: No further round is begun after this time, once there are `FEWEST_ROUNDS`.
        seed: Seed of the orders.
    """

    rounds: int
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Measurements of a variant.

    Args:
        variant: Which one.
        seconds: Duration of its step in each round.
        memory: What it took.
    """

    variant: Variant
    seconds: tuple[float, ...]
    memory: Memory

    @property
    def step_s(self) -> Spread:
        """Duration of a step in s."""
        return spread(self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Measurements of a space at a shape.

    Args:
        space: Name of the space.
        space_settings: What differs from its defaults.
        shape: Size of the batch.
        rows: The variants, the one first that the others are compared with.
    """

    space: str
    space_settings: Mapping[str, object]
    shape: Shape
    rows: tuple[Row, ...]

    def row(self, variant: Variant) -> Row | None:
        """The row of a variant; None if it was not measured."""
        return next((row for row in self.rows if row.variant == variant), None)

    def time_ratio(self, variant: Variant, base: Variant = BASE) -> Spread | None:
        """Time of a variant over that of another in the same rounds; None if one of them was not measured."""
        row, other = self.row(variant), self.row(base)
        return None if row is None or other is None else ratio(row.seconds, other.seconds)

    def activation_ratio(self, variant: Variant, base: Variant = BASE) -> float | None:
        """Activation memory of a variant over that of another; None if one of them was not measured."""
        row, other = self.row(variant), self.row(base)
        return None if row is None or other is None else row.memory.activations / other.memory.activations


def measure(cases: Sequence[Case], *, effort: Effort, on_round: OnRound | None = None) -> Block:
    """Measure the variants of one space at one shape; their processes are alive at the same time.

    The processes import side by side, and build one after the other. Each round has an order of its own, so that none always runs
    behind the same other.

    Args:
        cases: The variants.
        effort: How long to measure.
        on_round: See `OnRound`.

    Raises:
        WorkerStoppedError: If a process of ours ended before its time.
        ConfigError: If one of a peer did.
    """
    report = on_round or (lambda: None)
    with ExitStack() as stack:
        processes = [stack.enter_context(closing(StepProcess(case))) for case in cases]
        for process in processes:
            process.wait_until_ready()
            for _ in range(WARMUP_STEPS):
                process.step()
            report()
        seconds = _rounds(processes, effort=effort, report=report)
        rows = [
            Row(variant=case.variant, seconds=tuple(times), memory=process.memory())
            for case, process, times in zip(cases, processes, seconds, strict=True)
        ]
    first = cases[0]
    return Block(space=first.space, space_settings=first.space_settings, shape=first.shape, rows=tuple(rows))


def _rounds(processes: Sequence[StepProcess], *, effort: Effort, report: OnRound) -> list[list[float]]:
    """Process -> durations of its steps in s."""
    steps = {str(number): process.step for number, process in enumerate(processes)}
    order, shuffler = list(steps), random.Random(effort.seed)  # noqa: S311  an order, no secret

    def next_order(keys: Sequence[str], index: int) -> list[str]:
        del keys, index
        shuffler.shuffle(order)
        return list(order)

    log = Log()
    measure_rounds(
        list(steps),
        None,
        lambda key: lambda calls: 1e3 * steps[key](),  # noqa: ARG005  a process takes one step at a time
        log=log,
        rounds=Rounds(FEWEST_ROUNDS, effort.rounds, ci=0.0, seconds=effort.seconds),
        sampling=Sampling(order=next_order, is_program=True),
        on_round=lambda index, count: report(),  # noqa: ARG005
    )
    samples = corrected_samples(log.timings)  # no reference operation: as they are
    return [[ms / 1e3 for ms in samples[key]] for key in steps]
