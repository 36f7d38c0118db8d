"""Targets of `nas bench search`, and whether measurements reach them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nas.probing.bench.cases import BASE, LGCNET_TARGET, SQUEEZENAS_TARGET, Variant
from nas.probing.bench.step_rounds import Block

FUSED, SAMPLED = Variant("soft", "fused"), Variant("sampled", "reference")
"""As soft and sampled searches run by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target at one shape of one space.

    Args:
        name: The target, in words.
        space: Name of the space.
        shape: Size of the batch, as settings state it.
        bound: The target, in the unit of what is measured.
        least: Whether the bound is the least that reaches it; else the most.
        measured: What is compared with the bound; None: it was not measured.
        single_threaded: Whether it is stated for one thread.
    """

    name: str
    space: str
    shape: str
    bound: float
    least: bool = False
    measured: Callable[[Block], float | None]
    single_threaded: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target beside what was measured.

    Args:
        target: The target.
        measured: What was measured; None: nothing, for its space, shape or variants were left out, or the threads are others.
    """

    target: Target
    measured: float | None

    @property
    def reached(self) -> bool | None:
        """Whether it is reached; None: not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.target.bound if self.target.least else self.measured <= self.target.bound

    def line(self) -> str:
        """In words."""
        word = {True: "reached", False: "missed", None: "not measured"}[self.reached]
        got = "" if self.measured is None else f"{self.measured:.2f}, "
        wanted = f"{'at least' if self.target.least else 'at most'} {self.target.bound:g}"
        return f"{word}: {self.target.space} at {self.target.shape}: {self.target.name}: {got}target {wanted}"


def judge(blocks: Sequence[Block], *, threads: int) -> list[Verdict]:
    """Every target beside what was measured.

    Args:
        blocks: What was measured.
        threads: CPU threads that it was measured with.
    """
    verdicts = []
    for target in TARGETS:
        found = [block for block in blocks if (block.space, str(block.shape)) == (target.space, target.shape)]
        fits = bool(found) and (threads == 1 or not target.single_threaded)
        verdicts.append(Verdict(target, target.measured(found[0]) if fits else None))
    return verdicts


def _speedup(variant: Variant) -> Callable[[Block], float | None]:
    def measured(block: Block) -> float | None:
        spread = block.time_ratio(BASE, variant)
        return None if spread is None else spread.median

    return measured


def _step_s(block: Block) -> float | None:
    row = block.row(FUSED)
    return None if row is None else row.step_s.median


def _peak_gb(block: Block) -> float | None:
    row = block.row(FUSED)
    return None if row is None or row.memory.beside_idle is None else row.memory.beside_idle / 1e9


TARGETS = (
    Target(
        name="time of soft reference over that of soft fused",
        space="lgcnet",
        shape=LGCNET_TARGET,
        bound=2.0,
        least=True,
        measured=_speedup(FUSED),
    ),
    Target(
        name="activation memory of soft fused over that of soft reference",
        space="lgcnet",
        shape=LGCNET_TARGET,
        bound=0.6,
        measured=lambda block: block.activation_ratio(FUSED),
    ),
    Target(
        name="time of soft reference over that of sampled reference",
        space="lgcnet",
        shape=LGCNET_TARGET,
        bound=5.0,
        least=True,
        measured=_speedup(SAMPLED),
    ),
    Target(
        name="s a step of soft fused, one thread",
        space="squeezenas_small",
        shape=SQUEEZENAS_TARGET,
        bound=0.6,
        measured=_step_s,
        single_threaded=True,
    ),
    Target(
        name="peak memory of soft fused beside the idle process in GB, one thread",
        space="squeezenas_small",
        shape=SQUEEZENAS_TARGET,
        bound=0.6,
        measured=_peak_gb,
        single_threaded=True,
    ),
)
"""Targets of a machine with two CPU cores; lgcnet has 8 initial channels, its own."""
