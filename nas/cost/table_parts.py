"""The parts of a latency table: as values, and read from plain data with every defect refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nas.devices.runtime_name import PATTERN, RuntimeName
from nas.devices.this_machine import DeviceInfo
from nas.files.shortening import shorten
from nas.files.strict_json import as_bool, as_count, as_number, as_object, as_optional_text, as_text, as_texts
from nas.ops import is_free
from nas.ops.spec import OpSpec
from nas.worker.interface import CUDA_EVENTS, GPU_TIME, WALL

_RUNTIME_FIELDS = ("name", "backend", "version", "precision", "batch", "threads")
_PROTOCOL_FIELDS = ("warmup", "rounds", "max_rounds", "ci", "calls", "statistic", "reference", "threads")
_LATER_PROTOCOL_FIELDS = ("implementation", "clock", "cuda_graphs")
"""Fields that tables of versions before do not have, and that are written only where they are known."""
_REFERENCE_FIELDS = ("key", "median_ms")
_ENTRY_FIELDS = ("median_ms", "p10_ms", "p90_ms", "n", "stable")
_ENERGY, _GRAPH = "energy_mj", "cuda_graph"
_ORIGIN_FIELDS = ("kind", "source", "caveats")

CLOCKS = {
    WALL: "the clock of the host around all calls of a sample",
    CUDA_EVENTS: "two CUDA events around all calls of a sample",
    GPU_TIME: "two CUDA events around each call of a sample",
}
"""What samples are read from, and what lies between the two readings."""

ORIGINS = ("published", "estimated")
"""Origins of a table's entries other than `nas profile`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The measured latency of one operation.

    Args:
        median_ms: Median over the rounds in ms.
        p10_ms: 10th percentile over the rounds in ms.
        p90_ms: 90th percentile over the rounds in ms.
        n: Number of rounds.
        stable: Whether the confidence interval of the median became as narrow as the protocol asks.
        energy_mj: Energy of one call in mJ; None: not known.
        cuda_graph: Whether all its calls were launched as CUDA graphs; None: no operation of the table was to be, or not known.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    n: int
    stable: bool = True
    energy_mj: float | None = None
    cuda_graph: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what no measurement can give."""
        values = (self.p10_ms, self.median_ms, self.p90_ms)
        if not all(math.isfinite(value) and value > 0 for value in values):
            raise ValueError(f"got p10, median, p90 = {values} ms, expected finite positive numbers")
        if not self.p10_ms <= self.median_ms <= self.p90_ms:
            raise ValueError(f"got p10, median, p90 = {values} ms, expected p10 <= median <= p90")
        if self.n < 1:
            raise ValueError(f"got n = {self.n}, expected at least 1")
        if self.energy_mj is not None and not (math.isfinite(self.energy_mj) and self.energy_mj > 0):
            raise ValueError(f"got {_ENERGY} = {self.energy_mj}, expected a finite positive number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Origin of a table's entries that `nas profile` did not measure.

    Args:
        kind: One of `ORIGINS`.
        source: Who published them, or what they were estimated from.
        caveats: What one has to know before relying on them.
    """

    kind: str
    source: str
    caveats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse another kind, and texts that say nothing."""
        if self.kind not in ORIGINS:
            raise ValueError(f"origin.kind: got {self.kind!r}, expected {' or '.join(ORIGINS)}")
        require_words("origin", (self.source, *self.caveats))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeInfo:
    """A runtime as a table records it.

    Args:
        name: What the file is called: BACKEND-PRECISION-bN-tN.
        backend: A key of `nas.measuring.backends.BACKENDS`, or another project's.
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
    """Protocol by which the entries of a table were measured.

    Args:
        warmup: Calls before each sample that are not timed.
        rounds: Fewest rounds over all operations, one sample an operation and round.
        calls: The rule for the number of calls in a sample.
        statistic: What makes an entry out of the samples.
        threads: CPU threads.
        max_rounds: Most rounds.
        ci: Half-width of the 95 % confidence interval of a median, as a share of it, at which its operation is finished.
        reference: The rule of the reference operation, which drift is corrected by.
        implementation: Which code took the samples; None: a version before tables stated it.
        clock: What samples are read from, a key of `CLOCKS`; None: a version before tables stated it.
        cuda_graphs: Whether calls are launched as CUDA graphs, where that is possible; entries say where it was not. False:
            kernel by kernel; None: nothing is launched on a GPU, or a version before tables stated it.
    """

    warmup: int
    rounds: int
    calls: str
    statistic: str
    threads: int
    max_rounds: int = 30
    ci: float = 0.02
    reference: str = "none"
    implementation: str | None = None
    clock: str | None = None
    cuda_graphs: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what no measurement can follow."""
        if not 1 <= self.rounds <= self.max_rounds:
            raise ValueError(f"rounds: got {self.rounds}, expected 1 to max_rounds, which is {self.max_rounds}")
        if not 0 < self.ci < 1:
            raise ValueError(f"ci: got {self.ci}, expected a share above 0 and below 1")
        if self.clock is not None and self.clock not in CLOCKS:
            raise ValueError(f"clock: got {shorten(self.clock)}, expected one of {', '.join(CLOCKS)}")


@dataclass(frozen=True, slots=True)
class Reference:
    """The operation that was timed again and again while a table was measured, and the level that its entries stand at.

    Args:
        key: Key of the operation.
        median_ms: Median of all its timings in the run that began the table, in ms. Samples are multiplied by this over what
            the reference took around them, so that entries of several runs stand at one level.
    """

    key: str
    median_ms: float

    def __post_init__(self) -> None:
        """Refuse what no measurement can give."""
        if not (math.isfinite(self.median_ms) and self.median_ms > 0):
            raise ValueError(f"reference.median_ms: got {self.median_ms}, expected a finite positive number")


def require_words(where: str, texts: Iterable[str | None]) -> None:
    """Refuse texts without words, which a file does not hold; None passes."""
    for text in texts:
        if text is not None and not text.strip():
            raise ValueError(f"{where}: got {text!r}, expected a text")


def entry_json(entry: Entry) -> dict[str, Any]:
    """As plain data for a table's file; energy and graph only where they are known."""
    fields = asdict(entry)
    return {name: value for name, value in fields.items() if value is not None or name not in (_ENERGY, _GRAPH)}


def protocol_json(protocol: ProtocolInfo) -> dict[str, Any]:
    """As plain data for a file; the later fields only where they are known."""
    fields = asdict(protocol)
    return {name: value for name, value in fields.items() if value is not None or name not in _LATER_PROTOCOL_FIELDS}


def parse_origin(value: object) -> Origin:
    """The origin that a file states; raises `ValueError`."""
    fields = as_object(value, "origin", _ORIGIN_FIELDS)
    return Origin(
        kind=as_text(fields["kind"], "origin.kind"),
        source=as_text(fields["source"], "origin.source"),
        caveats=as_texts(fields["caveats"], "origin.caveats"),
    )


def parse_system(value: object) -> Mapping[str, str]:
    """The facts of the device that a file states; raises `ValueError`."""
    if not isinstance(value, dict) or not value:
        raise ValueError(f"system: got {shorten(value)}, expected an object from text to text with at least one fact, or no system")
    return {as_text(name, "system"): as_text(fact, f"system.{name}") for name, fact in value.items()}


def parse_throttled(value: object) -> tuple[str, ...]:
    """Reasons that slowed the device, as a file states them; raises `ValueError`."""
    reasons = as_texts(value, "throttled")
    if not reasons:
        raise ValueError("throttled: got [], expected at least one text, or no throttled")
    return reasons


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
    fields = as_object(value, "protocol", _PROTOCOL_FIELDS, optional=_LATER_PROTOCOL_FIELDS)
    return ProtocolInfo(
        warmup=as_count(fields["warmup"], "protocol.warmup", minimum=0),
        rounds=as_count(fields["rounds"], "protocol.rounds", minimum=1),
        calls=as_text(fields["calls"], "protocol.calls"),
        statistic=as_text(fields["statistic"], "protocol.statistic"),
        threads=as_count(fields["threads"], "protocol.threads", minimum=1),
        max_rounds=as_count(fields["max_rounds"], "protocol.max_rounds", minimum=1),
        ci=as_number(fields["ci"], "protocol.ci"),
        reference=as_text(fields["reference"], "protocol.reference"),
        implementation=as_text(fields["implementation"], "protocol.implementation") if "implementation" in fields else None,
        clock=as_text(fields["clock"], "protocol.clock") if "clock" in fields else None,
        cuda_graphs=as_bool(fields["cuda_graphs"], "protocol.cuda_graphs") if "cuda_graphs" in fields else None,
    )


def parse_key(key: str) -> OpSpec:
    """The operation that a key states; raises `ValueError` unless it is written as `OpSpec.key` writes it."""
    spec = OpSpec.from_key(key)
    if spec.key != key:
        raise ValueError(f"got operation key {shorten(key, limit=120)}, expected it written {spec.key!r}")
    sizes = (spec.in_channels, spec.height, spec.width, spec.out_channels, spec.out_height, spec.out_width)
    if min(*sizes, spec.kernel, spec.stride, spec.dilation, spec.groups, spec.expansion) < 1:
        raise ValueError(f"got operation key {key!r}, expected numbers of at least 1")
    if is_free(spec):
        raise ValueError(f"got operation key {key!r}, expected none of kind {spec.kind}, which executes nothing")
    return spec


def parse_reference(value: object) -> Reference:
    """The reference operation that a file states; raises `ValueError`."""
    fields = as_object(value, "reference", _REFERENCE_FIELDS)
    key = as_text(fields["key"], "reference.key")
    parse_key(key)
    return Reference(key, as_number(fields["median_ms"], "reference.median_ms"))


def parse_entry(key: str, value: object) -> Entry:
    """The entry that a file states for a key; raises `ValueError`."""
    parse_key(key)
    where = f"entries[{key!r}]"
    fields = as_object(value, where, _ENTRY_FIELDS, optional=(_ENERGY, _GRAPH))
    median, p10, p90 = (as_number(fields[name], f"{where}.{name}") for name in _ENTRY_FIELDS[:3])
    n = as_count(fields["n"], f"{where}.n", minimum=1)
    stable = as_bool(fields["stable"], f"{where}.stable")
    energy = as_number(fields[_ENERGY], f"{where}.{_ENERGY}") if _ENERGY in fields else None
    graph = as_bool(fields[_GRAPH], f"{where}.{_GRAPH}") if _GRAPH in fields else None
    try:
        return Entry(median, p10, p90, n, stable, energy, graph)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
