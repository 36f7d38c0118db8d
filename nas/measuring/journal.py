"""The journal of a profile run: one line a timing, in order of time, so that a stopped run goes on where it was."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from nas.cost.latency_table import LatencyTable
from nas.cost.table_parts import ProtocolInfo, RuntimeInfo, parse_device, parse_key, parse_protocol, parse_runtime
from nas.devices.this_machine import DeviceInfo
from nas.errors import ConfigError, TableError
from nas.files.atomic import open_to_append
from nas.files.json_lines import read_whole_lines
from nas.files.strict_json import as_count, as_number, as_object, as_text, parse_strict, short
from nas.worker.drift import Timing
from nas.worker.rounds import Log

JOURNAL_VERSION = 2
"""The version of the file that this code writes and reads."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What two measurements must share to stand in one table."""

    device: DeviceInfo
    runtime: RuntimeInfo
    protocol: ProtocolInfo

    @classmethod
    def of(cls, table: LatencyTable) -> Conditions:
        """The conditions under which a table was measured."""
        return cls(table.device, table.runtime, table.protocol)

    def differences(self, now: Conditions) -> str:
        """In words, where these (those of a file) differ from the conditions now; empty if nowhere."""
        there, here = asdict(self), asdict(now)
        return ", ".join(
            f"{part}.{name} is {short(value)} there and {short(here[part][name])} now"
            for part in there
            for name, value in there[part].items()
            if value != here[part][name]
        )


class Journal(Log):
    """The timings of a run that is not finished, in memory and in a file of JSON lines.

    The first line states the conditions, each further one a timing: a sample, of which an operation has one a round, or a
    timing of the reference operation, which is the same in all lines and stands as often as it was taken. A line is
    written as a whole and flushed; a last line that a crash has torn is cut off.

    Args:
        path: The file; written to from the first sample on.
        conditions: The conditions now.

    Raises:
        TableError: If the file is of other conditions or malformed.
    """

    def __init__(self, path: Path, conditions: Conditions) -> None:
        super().__init__()
        self.path = path
        self._conditions = conditions
        self._whole_bytes = 0
        self._file: BinaryIO | None = None
        if path.exists():
            self._read()

    def __enter__(self) -> Journal:
        """Nothing to do: the file is opened when there is something to write."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def protocol(self) -> ProtocolInfo:
        """How the timings are taken."""
        return self._conditions.protocol

    def write(self, timing: Timing) -> None:
        """Append a timing to the file."""
        name = "reference" if timing.is_reference else "key"
        self._write({name: timing.key, "round": timing.round_index, "ms": timing.ms, "calls": timing.calls})

    def delete(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def _write(self, line: dict[str, object]) -> None:
        try:
            if self._file is None:
                self._file = self._open()
            self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise ConfigError(
                f"{self.path}: the journal cannot be written ({error.strerror}); make room there, then the same command goes on"
            ) from error

    def _open(self) -> BinaryIO:
        file = open_to_append(self.path, size=self._whole_bytes)
        if self._whole_bytes == 0:
            header = {"format_version": JOURNAL_VERSION, **asdict(self._conditions)}
            file.write(json.dumps(header).encode() + b"\n")
        return file

    def _read(self) -> None:
        try:
            whole = read_whole_lines(self.path)
        except OSError as error:
            raise TableError(f"{self.path}: the journal cannot be read ({error.strerror})") from error
        self._whole_bytes = whole.size
        for number, line in enumerate(whole.lines, start=1):
            try:
                value = parse_strict(line.decode("utf-8"))
                self._read_header(value) if number == 1 else self._read_timing(value)
            except TableError:
                raise
            except ValueError as error:
                reason = " ".join(str(error).split())
                raise TableError(f"{self.path}: line {number}: {reason}; delete the journal to start over") from error

    def _read_header(self, value: object) -> None:
        fields = as_object(value, "header", ("format_version", "device", "runtime", "protocol"))
        if fields["format_version"] != JOURNAL_VERSION:
            raise ValueError(f"format_version: got {short(fields['format_version'])}, expected {JOURNAL_VERSION}")
        there = Conditions(parse_device(fields["device"]), parse_runtime(fields["runtime"]), parse_protocol(fields["protocol"]))
        if differences := there.differences(self._conditions):
            raise TableError(
                f"{self.path}: journal of a stopped run under other conditions: {differences}; "
                "go on under those conditions, or delete the journal to start over"
            )

    def _read_timing(self, value: object) -> None:
        is_reference = isinstance(value, dict) and "reference" in value
        name = "reference" if is_reference else "key"
        fields = as_object(value, "timing", (name, "round", "ms", "calls"))
        key, ms = as_text(fields[name], name), as_number(fields["ms"], "ms")
        parse_key(key)
        calls = as_count(fields["calls"], "calls", minimum=1)
        round_index = as_count(fields["round"], "round", minimum=0)
        if ms <= 0 or round_index >= self.protocol.max_rounds:
            raise ValueError(f"got {ms} ms in round {round_index} of {self.protocol.max_rounds}")
        timing = Timing(key, round_index, ms, calls, is_reference)
        self.check_new(timing)
        self.keep(timing)
