"""How long to measure."""

from __future__ import annotations

from dataclasses import dataclass

from nas.errors import ConfigError
from nas.worker.rounds import Rounds


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

    @property
    def as_rounds(self) -> Rounds:
        """The same for the worker's protocol."""
        return Rounds(self.rounds, self.max_rounds, self.ci)
