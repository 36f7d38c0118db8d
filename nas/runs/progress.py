"""The progress of a run on the terminal."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

log = logging.getLogger("nas")


Scalar = float | int | None


SHOWN: dict[str, tuple[str, str]] = {
    "epoch": ("epoch", "{:d}"),
    "loss": ("loss", "{:.3f}"),
    "distillation": ("distillation", "{:.3f}"),
    "miou": ("mIoU", "{:.3f}"),
    "expected_latency": ("expected latency", "{:.4g}"),
    "expected_latency_ms": ("expected latency", "{:.3f} ms"),
    "sampled_latency": ("sampled latency", "{:.4g}"),
    "sampled_latency_ms": ("sampled latency", "{:.3f} ms"),
    "tau": ("temperature", "{:.3f}"),
    "lr": ("lr", "{:.2e}"),
}
"""Scalars that people are shown, in this order: key -> name and format. Others go to `metrics.jsonl` only."""


class Progress(AbstractContextManager["Progress"]):
    """Tells people how far a run is: a bar on a terminal, otherwise lines of the logger `nas`.

    Lines come at most every `interval_s`, and whenever `end_epoch` is called.

    Args:
        total: Steps of the whole run.
        start: Steps that were done before, by an earlier part of the run.
        description: What runs.
        interval_s: Seconds between lines.
        clock: Seconds, never going back.
        console: Where a bar goes; None: standard output.
    """

    def __init__(  # noqa: PLR0913
        self,
        *,
        total: int,
        start: int = 0,
        description: str = "steps",
        interval_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        console: Console | None = None,
    ) -> None:
        self.total, self.start, self.description = total, start, description
        self._step, self._interval_s, self._clock = start, interval_s, clock
        self._began_s = self._told_s = clock()
        self._fields: dict[str, Scalar] = {}
        console = console or Console(file=sys.stdout)
        self._bar = _make_bar(console, clock) if console.is_terminal else None
        if self._bar is not None:
            self._task = self._bar.add_task(description, total=total, completed=start, details="")

    def __enter__(self) -> Self:
        """Start the clock, and the bar if there is one."""
        self._began_s = self._told_s = self._clock()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, *, epoch: int | None = None, **fields: Scalar) -> None:
        """Tell that `step` steps are done.

        Args:
            step: Steps of the whole run that are done.
            epoch: Epoch, from 0.
            fields: Scalars by name; one that is not given again keeps its value. Those in `SHOWN` are shown.
        """
        self._step = step
        self._fields.update(fields)
        if epoch is not None:
            self._fields["epoch"] = epoch + 1
        if self._bar is not None:
            details = "  ".join([f"ETA {as_clock(self._eta_s())}", *describe(self._fields)])
            self._bar.update(self._task, completed=step, details=details)
        elif self._clock() - self._told_s >= self._interval_s:
            self._tell()

    def end_epoch(self, epoch: int, **fields: Scalar) -> None:
        """Leave a lasting line at the end of an epoch.

        Args:
            epoch: Epoch, from 0.
            fields: Scalars by name, as for `update`.
        """
        self.update(self._step, epoch=epoch, **fields)
        if self._bar is not None:
            self._bar.console.print(self._line(), markup=False, highlight=False, soft_wrap=True)
        else:
            self._tell()

    def _tell(self) -> None:
        self._told_s = self._clock()
        log.info("%s", self._line())

    def _line(self) -> str:
        share = self._step / max(1, self.total)
        head = f"{self.description} {self._step}/{self.total} ({share:.0%}), ETA {as_clock(self._eta_s())}"
        return ", ".join([head, *describe(self._fields)])

    def _eta_s(self) -> float | None:
        """Seconds to go at the mean speed since the start; None before the first step."""
        done = self._step - self.start
        if done <= 0:
            return None
        return (self._clock() - self._began_s) / done * max(0, self.total - self._step)


def describe(fields: Mapping[str, Scalar]) -> list[str]:
    """Scalars for people, in words; "-" for what is None or not finite.

    >>> describe({"tau": 0.5, "loss": 1.25, "grad_norm": 3.0, "miou": None})
    ['loss 1.250', 'mIoU -', 'temperature 0.500']
    """
    return [
        f"{name} {'-' if (value := fields[key]) is None or not math.isfinite(value) else shape.format(value)}"
        for key, (name, shape) in SHOWN.items()
        if key in fields
    ]


def as_clock(seconds: float | None) -> str:
    """Seconds as H:MM:SS, "-:--:--" if they are not known.

    >>> as_clock(3725.4)
    '1:02:05'
    """
    if seconds is None:
        return "-:--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _make_bar(console: Console, clock: Callable[[], float]) -> RichProgress:
    """A bar that shares its line with the scalars; on a narrow terminal these take further lines."""
    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TextColumn("{task.fields[details]}", markup=False, table_column=Column(no_wrap=False)),
        console=console,
        get_time=clock,
        refresh_per_second=4,
    )


class NoProgress(Progress):
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
