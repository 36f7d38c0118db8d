"""The latency table: what each operation was measured to cost on one device with one runtime; its JSON file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from nas.cost.strict_json import as_count, as_number, as_object, as_optional_text, as_text, parse_strict, short
from nas.devices.identity import DeviceInfo
from nas.devices.runtime_name import PATTERN, RuntimeName
from nas.errors import TableError
from nas.ops import is_free
from nas.ops.spec import OpSpec

FORMAT_VERSION = 1
"""The version of the file that this code writes and reads."""

_TABLE_FIELDS = ("format_version", "device", "runtime", "protocol", "measured_at", "entries")
_RUNTIME_FIELDS = ("name", "backend", "version", "precision", "batch", "threads")
_PROTOCOL_FIELDS = ("warmup", "rounds", "calls", "statistic", "threads")
_ENTRY_FIELDS = ("median_ms", "p10_ms", "p90_ms", "n")
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """The measured latency of one operation.

    Args:
        median_ms: Median over the rounds in ms.
        p10_ms: 10th percentile over the rounds in ms.
        p90_ms: 90th percentile over the rounds in ms.
        n: Number of rounds.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    n: int

    def __post_init__(self) -> None:
        """Refuse what no measurement can give."""
        values = (self.p10_ms, self.median_ms, self.p90_ms)
        if not all(math.isfinite(value) and value > 0 for value in values):
            raise ValueError(f"got p10, median, p90 = {values} ms, expected finite positive numbers")
        if not self.p10_ms <= self.median_ms <= self.p90_ms:
            raise ValueError(f"got p10, median, p90 = {values} ms, expected p10 <= median <= p90")
        if self.n < 1:
            raise ValueError(f"got n = {self.n}, expected at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeInfo:
    """A runtime as a table records it.

    Args:
        name: What the file is called: BACKEND-PRECISION-bN-tN.
        backend: A key of `nas.devices.BACKENDS`, or another project's.
        version: Version of the backend.
        precision: Precision of the operations.
        batch: Images at once.
        threads: CPU threads.
    """

    name: str
    backend: str
    version: str
    precision: str
    batch: int
    threads: int

    def __post_init__(self) -> None:
        """Check that name and parts agree."""
        parts = RuntimeName(backend=self.backend, precision=self.precision, batch=self.batch, threads=self.threads)
        if RuntimeName.from_full(self.name) != parts:
            raise ValueError(f"runtime name: got {self.name!r}, expected {PATTERN} of its parts, {str(parts)!r}")

    @classmethod
    def of(cls, runtime: RuntimeName, *, version: str) -> RuntimeInfo:
        """The record of a runtime in one version."""
        return cls(
            name=str(runtime),
            backend=runtime.backend,
            version=version,
            precision=runtime.precision,
            batch=runtime.batch,
            threads=runtime.threads,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolInfo:
    """How the entries of a table were measured.

    Args:
        warmup: Calls before each sample that are not timed.
        rounds: Rounds over all operations, one sample an operation and round.
        calls: The rule for the number of calls in a sample.
        statistic: What makes an entry out of the samples.
        threads: CPU threads.
    """

    warmup: int
    rounds: int
    calls: str
    statistic: str
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTable:
    """Measured costs of operations on one device with one runtime.

    Args:
        device: The device.
        runtime: The runtime.
        protocol: How it was measured.
        measured_at: When the last entry was measured: ISO 8601 with the offset from UTC.
        entries: Key of an operation -> its latency.
    """

    device: DeviceInfo
    runtime: RuntimeInfo
    protocol: ProtocolInfo
    measured_at: str
    entries: Mapping[str, Entry]

    def __post_init__(self) -> None:
        """Check what a table as a whole can get wrong, and make the entries read-only."""
        if self.protocol.threads != self.runtime.threads:
            raise ValueError(f"protocol.threads: got {self.protocol.threads}, expected the runtime's {self.runtime.threads}")
        if datetime.fromisoformat(self.measured_at).tzinfo is None:
            raise ValueError(f"measured_at: got {self.measured_at!r}, expected a time with its offset from UTC")
        object.__setattr__(self, "entries", MappingProxyType(dict(self.entries)))

    @property
    def unit(self) -> str:
        """The unit of `cost`."""
        return "ms"

    @property
    def identifier(self) -> str:
        """DEVICE/RUNTIME, the name by which a table is found."""
        return f"{self.device.name}/{self.runtime.name}"

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
    """The text of a table's file: JSON, one entry a line, sorted by key; the same table gives the same text."""
    head = {
        "format_version": FORMAT_VERSION,
        "device": asdict(table.device),
        "runtime": asdict(table.runtime),
        "protocol": asdict(table.protocol),
        "measured_at": table.measured_at,
    }
    lines = [f"    {json.dumps(key)}: {json.dumps(asdict(entry), allow_nan=False)}" for key, entry in sorted(table.entries.items())]
    entries = "{\n" + ",\n".join(lines) + "\n  }" if lines else "{}"
    return json.dumps(head, indent=2)[: -len("\n}")] + f',\n  "entries": {entries}\n}}\n'


def parse_table(text: str) -> LatencyTable:
    """The table that a file's text states.

    Raises:
        ValueError: One line, for the first defect: no table is made of a text that has one.
    """
    raw = parse_strict(text)
    if isinstance(raw, dict) and raw.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise ValueError(f"format_version: got {short(raw['format_version'])}, expected {FORMAT_VERSION}")
    fields = as_object(raw, "table", _TABLE_FIELDS)
    as_count(fields["format_version"], "format_version", minimum=1)
    entries = fields["entries"]
    if not isinstance(entries, dict):
        raise ValueError(f"entries: got {short(entries)}, expected an object from operation key to latency")
    return LatencyTable(
        device=parse_device(fields["device"]),
        runtime=parse_runtime(fields["runtime"]),
        protocol=parse_protocol(fields["protocol"]),
        measured_at=as_text(fields["measured_at"], "measured_at"),
        entries={key: _parse_entry(key, value) for key, value in entries.items()},
    )


def read_table(path: Path) -> LatencyTable:
    """The table in a file.

    Raises:
        TableError: One line with the file and its first defect.
    """
    try:
        return parse_table(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); expected a latency table in JSON") from error
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path}: {reason}; mend the file, or delete it and measure again with nas profile") from error


def save_table(table: LatencyTable, path: Path) -> None:
    """Write a table so that the file is either the old or the new one, whole, whatever happens in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(dump_table(table))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def parse_device(value: object) -> DeviceInfo:
    """The device that a file states; raises `ValueError`."""
    fields = as_object(value, "device", ("name", "power_mode", "clocks"))
    return DeviceInfo(
        name=as_text(fields["name"], "device.name"),
        power_mode=as_optional_text(fields["power_mode"], "device.power_mode"),
        clocks=as_optional_text(fields["clocks"], "device.clocks"),
    )


def parse_runtime(value: object) -> RuntimeInfo:
    """The runtime that a file states; raises `ValueError`."""
    fields = as_object(value, "runtime", _RUNTIME_FIELDS)
    return RuntimeInfo(
        name=as_text(fields["name"], "runtime.name"),
        backend=as_text(fields["backend"], "runtime.backend"),
        version=as_text(fields["version"], "runtime.version"),
        precision=as_text(fields["precision"], "runtime.precision"),
        batch=as_count(fields["batch"], "runtime.batch", minimum=1),
        threads=as_count(fields["threads"], "runtime.threads", minimum=1),
    )


def parse_protocol(value: object) -> ProtocolInfo:
    """The protocol that a file states; raises `ValueError`."""
    fields = as_object(value, "protocol", _PROTOCOL_FIELDS)
    return ProtocolInfo(
        warmup=as_count(fields["warmup"], "protocol.warmup", minimum=0),
        rounds=as_count(fields["rounds"], "protocol.rounds", minimum=1),
        calls=as_text(fields["calls"], "protocol.calls"),
        statistic=as_text(fields["statistic"], "protocol.statistic"),
        threads=as_count(fields["threads"], "protocol.threads", minimum=1),
    )


def parse_key(key: str) -> OpSpec:
    """The operation that a key states; raises `ValueError` unless it is written as `OpSpec.key` writes it."""
    spec = OpSpec.from_key(key)
    if spec.key != key:
        raise ValueError(f"got operation key {short(key, limit=120)}, expected it written {spec.key!r}")
    sizes = (spec.in_channels, spec.height, spec.width, spec.out_channels, spec.out_height, spec.out_width)
    if min(*sizes, spec.kernel, spec.stride, spec.dilation, spec.groups, spec.expansion) < 1:
        raise ValueError(f"got operation key {key!r}, expected numbers of at least 1")
    if is_free(spec):
        raise ValueError(f"got operation key {key!r}, expected none of kind {spec.kind}, which executes nothing")
    return spec


def _parse_entry(key: str, value: object) -> Entry:
    parse_key(key)
    where = f"entries[{key!r}]"
    fields = as_object(value, where, _ENTRY_FIELDS)
    median, p10, p90 = (as_number(fields[name], f"{where}.{name}") for name in _ENTRY_FIELDS[:3])
    n = as_count(fields["n"], f"{where}.n", minimum=1)
    try:
        return Entry(median, p10, p90, n)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
