"""Scalars of a run while it works: `metrics.jsonl` for programs, a progress bar or plain lines for people."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nas.errors import CheckpointError
from nas.files.atomic import open_to_append, require_same, sync
from nas.files.json_lines import whole_lines, whole_size
from nas.files.shortening import shorten
from nas.files.strict_json import as_count, as_number, as_text, parse_strict
from nas.runs.progress import Scalar

MOST_STEPS = 2**53
"""Most steps that a row may state; above, a number is no longer exact as a float."""
MOST = 1e300
"""Largest number that is read; near the end of the floats a plot has no room for margins."""


class MetricsLog(AbstractContextManager["MetricsLog"]):
    """Appends scalars to a file of JSON lines that can be read while it grows.

    Args:
        path: The file; it and its folder are made. A last line that a crash has torn is cut off.
        also: Told every row after it was written: step=, epoch=, split=, scalars=.
    """

    def __init__(self, path: Path, *, also: Callable[..., None] | None = None) -> None:
        self.path, self._also = path, also
        self._file = open_to_append(path, size=whole_size(path) if path.exists() else 0)

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
        check_offset(path, offset)
        if path.is_file():
            open_to_append(path, size=offset).close()
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
        """Bytes written so far, all of them forced to the disk: what a checkpoint stores for `resume`.

        Raises:
            OSError: If the disk refuses, or the file has been removed or replaced meanwhile.
        """
        require_same(self._file, self.path)
        sync(self._file, self.path)
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close the file; one that could not be written cannot be closed either, and that was said."""
        with suppress(OSError) if error is not None else nullcontext():
            self.close()


def check_offset(path: Path, offset: int) -> None:
    """Refuse a file of metrics that cannot be gone on with where a checkpoint was taken; nothing is changed.

    Args:
        path: The file.
        offset: What `MetricsLog.offset` returned then.

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


def check_rows(path: Path, offset: int) -> None:
    """Refuse a file of metrics with a line that is no row of a run among those that a run goes on with; nothing is changed.

    Args:
        path: The file, at least so long.
        offset: What `MetricsLog.offset` returned; what follows is cut off by `MetricsLog.resume`, and not looked at.

    Raises:
        CheckpointError: Naming the line.
    """
    if offset:
        for _ in metric_rows(path, end=offset, remedy="put the file of the run back, or start a new run"):
            pass


def metric_rows(path: Path, *, end: int | None = None, remedy: str = "remove the line") -> Iterator[dict[str, Any]]:
    """The rows of a file of JSON lines one after the other, also while it is being written: an unfinished last line is left out.

    Args:
        path: The file.
        end: Bytes of it that are read, up to the end of a line; None: all.
        remedy: What to do about a line that is no row, for the message.

    Raises:
        CheckpointError: If the file is missing, or a line is no row of a run; the message names the line.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, expected the metrics.jsonl of a run")
    lines, taken = whole_lines(path), 0
    for number in count(1):
        try:
            line = None if taken == end else next(lines, None)
            if line is None:
                return
            taken += len(line) + 1
            row = _row(line)
        except ValueError as error:
            raise CheckpointError(f"{path}:{number}: {error}; {remedy}") from error
        yield row


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All rows of `metric_rows` at once, for a file that is known to be small; raises as that does."""
    return list(metric_rows(path))


def _row(line: bytes) -> dict[str, Any]:
    """A row as `MetricsLog.write` makes it; raises `ValueError`."""
    try:
        row = parse_strict(line.decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"got {shorten(line)}, expected a JSON object ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"got {shorten(line)}, expected a JSON object")
    if as_count(row.get("step"), "step", minimum=0) > MOST_STEPS:
        raise ValueError(f"step: got {shorten(row['step'])}, expected at most {MOST_STEPS}")
    if "split" in row:
        as_text(row["split"], "split")
    for name, value in row.items():
        if name != "split" and value is not None and abs(as_number(value, shorten(name))) > MOST:
            raise ValueError(f"{shorten(name)}: got {value}, expected a number up to {MOST:g}")
    return row


def _json_scalar(name: str, value: Scalar) -> Scalar:
    """The value as JSON can hold it."""
    if value is None:
        return None
    if not isinstance(value, (int, float)):
        raise TypeError(f"metric {name}: got {type(value).__name__}, expected a float, an int or None; call float() on it")
    return value if math.isfinite(value) else None


def _byte_before(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset - 1)
        return file.read(1)


class NoMetrics(MetricsLog):
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
