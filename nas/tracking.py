"""What a run tells while it works: `metrics.jsonl` for programs, a progress bar or plain lines for people."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

from nas.errors import CheckpointError

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


class MetricsLog(AbstractContextManager["MetricsLog"]):
    """Appends scalars to a file of JSON lines that can be read while it grows.

    Args:
        path: The file; it and its folder are made. A last line that a crash has torn is cut off.
        also: Told every row after it was written: step=, epoch=, split=, scalars=.
    """

    def __init__(self, path: Path, *, also: Callable[..., None] | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._also = path, also
        if path.exists():
            _cut(path, path.read_bytes().rfind(b"\n") + 1)
        self._file = path.open("ab")

    @classmethod
    def resume(cls, path: Path, offset: int, *, also: Callable[..., None] | None = None) -> Self:
        """Go on where a checkpoint was taken: cut the file to the offset and append.

        Args:
            path: The file.
            offset: What `offset()` returned then.
            also: Told every row that is written from now on.

        Raises:
            CheckpointError: If the file is missing, is shorter than that, or has no line ending there.
        """
        size = path.stat().st_size if path.is_file() else 0
        if size < offset:
            raise CheckpointError(
                f"{path}: got {size} bytes, expected at least the {offset} that the checkpoint counted; "
                "put the file of the run back, or start a new run"
            )
        if offset and _byte_before(path, offset) != b"\n":
            raise CheckpointError(
                f"{path}: got no end of a line at byte {offset}, where the checkpoint was taken; "
                "put the file of the run back, or start a new run"
            )
        if size:
            _cut(path, offset)
        return cls(path, also=also)

    def write(self, *, step: int, epoch: int, split: str, **scalars: Scalar) -> None:
        """Append one line and hand it to the system.

        Args:
            step: Steps that are done.
            epoch: Epoch, from 0.
            split: What the scalars are of: step, train, val, ...
            scalars: By name; NaN and infinities are written as null.

        Raises:
            TypeError: If a value is no number; the message names it.
        """
        row = {"step": step, "epoch": epoch, "split": split}
        row.update({name: _json_scalar(name, value) for name, value in scalars.items()})
        self._file.write(json.dumps(row, allow_nan=False).encode() + b"\n")
        self._file.flush()
        if self._also is not None:
            self._also(step=step, epoch=epoch, split=split, scalars=scalars)

    def offset(self) -> int:
        """Bytes written so far, all of them forced to the disk: what a checkpoint stores for `resume`."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close the file."""
        self.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines, also while it is being written: an unfinished last line is left out.

    Raises:
        CheckpointError: If the file is missing, or a line is not a JSON object; the message names the line.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, expected the metrics.jsonl of a run")
    whole, _, _unfinished = path.read_bytes().rpartition(b"\n")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise CheckpointError(f"{path}:{number}: got {line[:40]!r}, expected a JSON object; remove the line")
        rows.append(row)
    return rows


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
            details = "  ".join([f"ETA {duration(self._eta_s())}", *describe(self._fields)])
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
        head = f"{self.description} {self._step}/{self.total} ({share:.0%}), ETA {duration(self._eta_s())}"
        return ", ".join([head, *describe(self._fields)])

    def _eta_s(self) -> float | None:
        """Seconds to go at the mean speed since the start; None before the first step."""
        done = self._step - self.start
        if done <= 0:
            return None
        return (self._clock() - self._began_s) / done * max(0, self.total - self._step)


def describe(fields: Mapping[str, Scalar]) -> list[str]:
    """Those of the scalars that people are shown, in words; "-" for what is None or not finite.

    >>> describe({"tau": 0.5, "loss": 1.25, "grad_norm": 3.0, "miou": None})
    ['loss 1.250', 'mIoU -', 'temperature 0.500']
    """
    return [
        f"{name} {'-' if (value := fields[key]) is None or not math.isfinite(value) else shape.format(value)}"
        for key, (name, shape) in SHOWN.items()
        if key in fields
    ]


def duration(seconds: float | None) -> str:
    """Seconds as H:MM:SS, "-:--:--" if they are not known.

    >>> duration(3725.4)
    '1:02:05'
    """
    if seconds is None:
        return "-:--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _make_bar(console: Console, clock: Callable[[], float]) -> RichProgress:
    """A bar that shares its line with what is told; on a narrow terminal that takes further lines."""
    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TextColumn("{task.fields[details]}", markup=False, table_column=Column(no_wrap=False)),
        console=console,
        get_time=clock,
        refresh_per_second=4,
    )


def _json_scalar(name: str, value: Scalar) -> Scalar:
    """The value as JSON can hold it."""
    if value is None:
        return None
    if not isinstance(value, (int, float)):
        raise TypeError(f"metric {name}: got {type(value).__name__}, expected a float, an int or None; call float() on it")
    return value if math.isfinite(value) else None


def _cut(path: Path, size: int) -> None:
    """Drop what a file holds beyond `size` bytes."""
    with path.open("r+b") as file:
        file.truncate(size)


def _byte_before(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset - 1)
        return file.read(1)
