"""What the processes beside the first tell of a run: nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from nas.tracking import MetricsLog, Progress, Scalar


class QuietMetrics(MetricsLog):
    """A log that is not written: the first process has it."""

    def __init__(self) -> None:
        self.path = Path()

    def write(self, *, step: int, epoch: int, split: str, **scalars: Scalar) -> None:
        """Leave it to the first process."""

    def offset(self) -> int:
        """Nothing is written."""
        return 0

    def close(self) -> None:
        """Nothing is open."""


class QuietProgress(Progress):
    """A progress that nobody sees."""

    def __init__(self) -> None:
        self.total = 0

    def __enter__(self) -> Self:
        """Start nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """End nothing."""

    def update(self, step: int, *, epoch: int | None = None, **fields: Scalar) -> None:
        """Leave it to the first process."""

    def end_epoch(self, epoch: int, **fields: Scalar) -> None:
        """Leave it to the first process."""
