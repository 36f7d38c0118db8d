"""Effort of a measurement: its rounds, its confidence interval, and the protocol that a table states."""

from __future__ import annotations

from dataclasses import dataclass

from nas.cost.table_parts import ProtocolInfo
from nas.errors import ConfigError
from nas.measuring.reference_operation import REFERENCE_RULE
from nas.worker.rounds import IMPLEMENTATION, MAX_CALLS, SAMPLE_MS, WARMUP_CALLS, Rounds

CALLS_RULE = f"clamp(ceil({SAMPLE_MS:g} ms / estimate), 1, {MAX_CALLS})"
STATISTIC = "median, p10, p90 over interleaved rounds, corrected for drift; a sample is the mean of its calls"
PROGRAM_CALLS_RULE = "100 or more in a process of its own, after its own warm-up"
FORMER_PROGRAM_STATISTIC = "median, p10, p90 over interleaved rounds, corrected for drift; a sample is the median of its calls"
"""What workers did with trtexec before they stated their clock."""
PROGRAM_ROUNDS = (4, 8)
"""Fewest and most rounds by default where each sample starts a program, which takes seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Effort of a measurement.

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

    @property
    def as_rounds(self) -> Rounds:
        """The same for the worker's protocol."""
        return Rounds(self.rounds, self.max_rounds, self.ci)


def effort_of(rounds: int | None, max_rounds: int | None, ci: float, *, is_program: bool = False) -> Effort:
    """Effort of a measurement by the settings of a job.

    Args:
        rounds: Fewest rounds; None: the default.
        max_rounds: Most rounds; None: the default.
        ci: See `Effort`.
        is_program: Whether each sample starts a program.

    Raises:
        ConfigError: If no measurement can follow that.
    """
    fewest, most = PROGRAM_ROUNDS if is_program else (Effort().rounds, Effort().max_rounds)
    return Effort(rounds=fewest if rounds is None else rounds, max_rounds=most if max_rounds is None else max_rounds, ci=ci)


def protocol_of(
    effort: Effort,
    *,
    threads: int,
    clock: str | None,
    cuda_graphs: bool | None = None,
    is_program: bool = False,
    implementation: str | None = IMPLEMENTATION,
) -> ProtocolInfo:
    """The protocol of a table.

    Args:
        effort: How long.
        threads: CPU threads.
        clock: What samples are read from, of `CLOCKS`; None: a worker of a version that did not state it.
        cuda_graphs: Whether calls are launched as CUDA graphs; see `ProtocolInfo`.
        is_program: Whether each sample started a program.
        implementation: Which code took the samples; None: that is not known.
    """
    return ProtocolInfo(
        warmup=0 if is_program else WARMUP_CALLS,
        rounds=effort.rounds,
        max_rounds=effort.max_rounds,
        ci=effort.ci,
        calls=PROGRAM_CALLS_RULE if is_program else CALLS_RULE,
        statistic=FORMER_PROGRAM_STATISTIC if is_program and clock is None else STATISTIC,
        reference=REFERENCE_RULE,
        threads=threads,
        implementation=implementation,
        clock=clock,
        cuda_graphs=cuda_graphs,
    )
