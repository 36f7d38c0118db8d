"""The latency table: what each operation was measured to cost on one device with one runtime; its JSON file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nas.cost.calibration import Calibration, calibration_json, parse_calibration
from nas.cost.table_parts import (
    Entry,
    Origin,
    ProtocolInfo,
    Reference,
    RuntimeInfo,
    entry_json,
    parse_device,
    parse_entry,
    parse_origin,
    parse_protocol,
    parse_reference,
    parse_runtime,
    parse_system,
    parse_throttled,
    protocol_json,
    require_words,
)
from nas.devices.this_machine import DeviceInfo
from nas.errors import TableError
from nas.files.atomic import write_text_atomic
from nas.files.command_words import setting
from nas.files.regular_file import read_regular
from nas.files.shortening import shorten
from nas.files.strict_json import as_count, as_list, as_object, as_optional_text, as_text, parse_strict
from nas.ops import is_free
from nas.ops.spec import OpSpec
from nas.space.deployment import Deployment

FORMAT_VERSION = 2
"""The version of the file that this code writes and reads."""

MAX_BYTES = 64_000_000
"""Largest file that is read."""

_TABLE_FIELDS = (
    "format_version",
    "device",
    "runtime",
    "protocol",
    "measured_at",
    "clocks_before",
    "clocks_after",
    "reference",
    "calibrations",
    "entries",
)
_OPTIONAL_FIELDS = ("origin", "system", "temperature_before", "temperature_after", "throttled")
_RESULT_FIELDS = {"job", "timings", "checksum"}
"""Fields by which the result of a worker is told, which is easily given in place of its table."""
"""Keys that a file has only where they say something."""
_LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTable:
    """Measured costs of operations on one device with one runtime.

    Args:
        device: The device.
        runtime: The runtime.
        protocol: How it was measured.
        measured_at: When the last entry was measured: ISO 8601 with the offset from UTC.
        entries: Key of an operation -> its latency.
        reference: What drift was corrected by; None: nothing was.
        clocks_before: The device's clocks before the last run that measured; None where they cannot be read.
        clocks_after: The same after it.
        calibrations: What whole networks take against the sum of their operations, at most one a space and shape; sorted.
        origin: Where the entries come from; None: `nas profile` measured them.
        system: Facts of the device that its other fields do not hold, e.g. `os`, `driver`, `jetpack`.
        temperature_before: The device's temperatures before the last run that measured; None where they cannot be read.
        temperature_after: The same after it.
        throttled: What slowed the device down while it was measured, e.g. `sw_thermal_slowdown`.
    """

    device: DeviceInfo
    runtime: RuntimeInfo
    protocol: ProtocolInfo
    measured_at: str
    entries: Mapping[str, Entry]
    reference: Reference | None = None
    clocks_before: str | None = None
    clocks_after: str | None = None
    calibrations: tuple[Calibration, ...] = ()
    origin: Origin | None = None
    system: Mapping[str, str] = field(default_factory=dict)
    temperature_before: str | None = None
    temperature_after: str | None = None
    throttled: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what a table as a whole can get wrong, make the entries read-only and sort the calibrations."""
        if self.protocol.threads != self.runtime.threads:
            raise ValueError(f"protocol.threads: got {self.protocol.threads}, expected the runtime's {self.runtime.threads}")
        if datetime.fromisoformat(self.measured_at).tzinfo is None:
            raise ValueError(f"measured_at: got {self.measured_at!r}, expected a time with its offset from UTC")
        keys = [calibration.key for calibration in self.calibrations]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise ValueError(f"calibrations: got two for space {twice[0]} at {twice[1]}, {twice[2]} channels, expected one")
        require_words("temperature", (self.temperature_before, self.temperature_after))
        require_words("throttled", self.throttled)
        require_words("system", (*self.system, *self.system.values()))
        object.__setattr__(self, "entries", MappingProxyType(dict(self.entries)))
        object.__setattr__(self, "system", MappingProxyType(dict(self.system)))
        object.__setattr__(self, "calibrations", tuple(sorted(self.calibrations, key=lambda calibration: calibration.key)))

    @property
    def unit(self) -> str:
        """The unit of `cost`."""
        return "ms"

    @property
    def identifier(self) -> str:
        """DEVICE/RUNTIME, the name by which a table is found."""
        return f"{self.device.name}/{self.runtime.name}"

    @property
    def overhead(self) -> float:
        """Nothing: what a network costs beside its operations is known to a calibration only."""
        return 0.0

    @property
    def bar(self) -> None:
        """Not known without a calibration."""
        return None

    def cost(self, spec: OpSpec) -> float:
        """Median latency of an operation in ms; 0 for one that executes nothing.

        Raises:
            TableError: If the operation was not measured.
        """
        if is_free(spec):
            return 0.0
        entry = self.entries.get(spec.key)
        if entry is None:
            raise TableError(
                f"latency table {self.identifier}: {spec.key!r} was not measured; add it with nas profile "
                f"device={self.device.name} runtime={self.runtime.name} and the same space and deploy.input"
            )
        return entry.median_ms

    def calibration(self, space: str, deployment: Deployment) -> Calibration | None:
        """The calibration that holds for the networks of a space; None if there is none.

        Args:
            space: Name of the space.
            deployment: What they are deployed for, with any number of classes.
        """
        key = (space, deployment.input, deployment.init_channels)
        return next((calibration for calibration in self.calibrations if calibration.key == key), None)

    def with_calibration(self, calibration: Calibration) -> LatencyTable:
        """This table with a calibration, in place of the one for the same networks if there is one."""
        others = tuple(other for other in self.calibrations if other.key != calibration.key)
        return replace(self, calibrations=(*others, calibration))

    def missing(self, specs: Iterable[OpSpec]) -> list[OpSpec]:
        """The distinct operations among `specs` that cost something and were not measured, sorted."""
        return sorted({spec for spec in specs if not is_free(spec) and spec.key not in self.entries})

    def require(self, specs: Iterable[OpSpec], *, command: str) -> None:
        """Refuse to go on without all of `specs`.

        Args:
            specs: What will be looked up.
            command: The command that measures them.

        Raises:
            TableError: Two lines: what is missing, and `command`.
        """
        wanted = {spec for spec in specs if not is_free(spec)}
        absent = self.missing(wanted)
        if absent:
            listed = "; ".join(spec.key for spec in absent[:_LISTED])
            more = f"; and {len(absent) - _LISTED} more" if len(absent) > _LISTED else ""
            raise TableError(
                f"latency table {self.identifier}: {len(absent)} of {len(wanted)} operations were not measured: "
                f"{listed}{more}\nmeasure them with: {command}"
            )


def dump_table(table: LatencyTable) -> str:
    """The text of a table's file: JSON, one entry and one calibration a line, sorted; the same table gives the same text."""
    head = {
        "format_version": FORMAT_VERSION,
        "device": asdict(table.device),
        "runtime": asdict(table.runtime),
        "protocol": protocol_json(table.protocol),
        "measured_at": table.measured_at,
        "clocks_before": table.clocks_before,
        "clocks_after": table.clocks_after,
        "reference": None if table.reference is None else asdict(table.reference),
        **_optional_json(table),
    }
    calibrations = [json.dumps(calibration_json(calibration), allow_nan=False) for calibration in table.calibrations]
    entries = [
        f"{json.dumps(key)}: {json.dumps(entry_json(entry), allow_nan=False)}" for key, entry in sorted(table.entries.items())
    ]
    tail = f',\n  "calibrations": {_lines("[]", calibrations)},\n  "entries": {_lines("{}", entries)}\n}}\n'
    return json.dumps(head, indent=2, allow_nan=False)[: -len("\n}")] + tail


def _optional_json(table: LatencyTable) -> dict[str, Any]:
    """The optional fields that say something, as plain data."""
    fields = {
        "origin": None if table.origin is None else asdict(table.origin),
        "system": dict(sorted(table.system.items())),
        "temperature_before": table.temperature_before,
        "temperature_after": table.temperature_after,
        "throttled": list(table.throttled),
    }
    return {name: value for name, value in fields.items() if value}


def _lines(brackets: str, items: Iterable[str]) -> str:
    """Items of JSON between brackets, one a line, two levels deep."""
    inside = ",\n".join(f"    {item}" for item in items)
    return f"{brackets[0]}\n{inside}\n  {brackets[1]}" if inside else brackets


class _WorkerResultError(ValueError):
    """The file is the result of a worker, of which no table was made yet."""


def parse_table(text: str) -> LatencyTable:
    """The table that a file's text states.

    Raises:
        ValueError: One line, for the first defect: no table is made of a text that has one.
    """
    raw = parse_strict(text)
    if isinstance(raw, dict) and raw.keys() >= _RESULT_FIELDS:
        raise _WorkerResultError
    if isinstance(raw, dict) and raw.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise ValueError(
            f"format_version: got {shorten(raw['format_version'])}, expected {FORMAT_VERSION}: "
            "the file is of another version of nas"
        )
    fields = as_object(raw, "table", _TABLE_FIELDS, optional=_OPTIONAL_FIELDS)
    as_count(fields["format_version"], "format_version", minimum=1)
    entries = fields["entries"]
    if not isinstance(entries, dict):
        raise ValueError(f"entries: got {shorten(entries)}, expected an object from operation key to latency")
    return LatencyTable(
        device=parse_device(fields["device"]),
        runtime=parse_runtime(fields["runtime"]),
        protocol=parse_protocol(fields["protocol"]),
        measured_at=as_text(fields["measured_at"], "measured_at"),
        entries={key: parse_entry(key, value) for key, value in entries.items()},
        reference=None if fields["reference"] is None else parse_reference(fields["reference"]),
        clocks_before=as_optional_text(fields["clocks_before"], "clocks_before"),
        clocks_after=as_optional_text(fields["clocks_after"], "clocks_after"),
        calibrations=tuple(
            parse_calibration(value, f"calibrations[{index}]")
            for index, value in enumerate(as_list(fields["calibrations"], "calibrations"))
        ),
        **_parse_optional(fields),
    )


def _parse_optional(fields: Mapping[str, object]) -> dict[str, Any]:
    """The optional fields that a file has, as arguments of the table; raises `ValueError`."""
    readers: dict[str, Callable[[object], object]] = {
        "origin": parse_origin,
        "system": parse_system,
        "temperature_before": lambda value: as_text(value, "temperature_before"),
        "temperature_after": lambda value: as_text(value, "temperature_after"),
        "throttled": parse_throttled,
    }
    return {name: read(fields[name]) for name, read in readers.items() if name in fields}


def read_table(path: Path) -> LatencyTable:
    """The table in a file.

    Raises:
        TableError: One line with the file and its first defect.
    """
    try:
        content = read_regular(path, MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"got more than {MAX_BYTES} bytes")
        return parse_table(content.decode("utf-8"))
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); expected a latency table in JSON") from error
    except _WorkerResultError as error:
        remedy = f"make one of it by nas profile import {setting('file', path)}"
        raise TableError(f"{path}: is what a worker measured, expected a latency table; {remedy}") from error
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path}: {reason}; correct the file, or delete it and measure again with nas profile") from error


def save_table(table: LatencyTable, path: Path) -> None:
    """Write a table so that the file is either the old or the new one, whole, whatever happens in between."""
    write_text_atomic(path, dump_table(table))
