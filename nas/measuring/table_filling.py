"""A latency table filled with what it lacks: from timings in a journal, wherever they are taken."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from nas.cost.latency_table import LatencyTable, read_table, save_table
from nas.cost.lookup import WORK_FOLDER
from nas.cost.table_lock import changing_table, measuring_into, remove_stale_locks
from nas.cost.table_parts import Entry, Reference, parse_key
from nas.data.data_words import OPEN_DATA
from nas.errors import ConfigError, TableError
from nas.files.command_words import setting
from nas.measuring.effort import Effort
from nas.measuring.journal import Conditions, TableJournal
from nas.measuring.reference_operation import choose_reference
from nas.measuring.runners.runner import Observed, Runner
from nas.ops import is_free
from nas.ops.spec import OpSpec
from nas.worker.drift import corrected_samples, local_levels
from nas.worker.robust_medians import relative_half_width
from nas.worker.rounds import Log, OnProgress, unstable

BUSY_SPREAD = 0.2
"""A spread of the median operation above this is reported as a busy machine (idle, here: 0.03)."""
LISTED = 5
"""Operations that the summary names of those whose median is not known well enough."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileResult:
    """Result of a profile run.

    Args:
        path: The table's file.
        table: The table in it.
        measured: Keys of the entries that this run added.
        unstable: Half-width of the confidence interval of those that are not stable, the widest first.
        drift: Lowest and highest level of the reference operation over the run, over the level of the table; None if nothing
            was measured.
        seconds: Duration in s.
        next_words: The next command and its settings, but for the table: a search that asks for what was measured, by default any.
    """

    path: Path
    table: LatencyTable
    measured: tuple[str, ...]
    unstable: Mapping[str, float]
    drift: tuple[float, float] | None
    seconds: float
    next_words: tuple[str, ...] = ("nas search",)

    @property
    def held(self) -> int:
        """Number of entries that were there before."""
        return len(self.table.entries) - len(self.measured)

    def summary(self) -> list[str]:
        """Lines for the terminal: what was measured, how well, and the next command."""
        lines = [f"{self.path}: nothing to measure, all operations of this plan are among its {self.held} entries"]
        if self.measured:
            spreads = [relative_spread(self.table.entries[key]) for key in self.measured]
            lines = [
                f"{self.path}: {len(self.measured)} operations measured, {self.held} kept, in {self.seconds:.1f} s",
                f"spread over rounds, (p90 - p10) / median: {np.median(spreads):.1%} at the median operation, "
                f"{max(spreads):.1%} at the worst",
                *self._drift_line(),
                *self.throttled_lines(),
                *self.unstable_lines(),
                *self.graph_lines(),
            ]
            if np.median(spreads) > BUSY_SPREAD:
                lines.append(
                    f"the spread is above {BUSY_SPREAD:.0%}: other programs keep this machine busy; "
                    "for times to rely on, delete the file and measure again on an idle machine"
                )
        start = "next" if OPEN_DATA not in self.next_words else "next, with data of as many classes"
        verb, *settings = self.next_words
        return [*lines, f"{start}: {' '.join((verb, setting('latency.table', self._name()), *settings))}"]

    def _drift_line(self) -> list[str]:
        if self.drift is None or self.table.reference is None:
            return []
        low, high = (factor - 1 for factor in self.drift)
        return [
            f"drift, corrected: the reference operation went from {low:+.1%} to {high:+.1%} of its "
            f"{self.table.reference.median_ms:.3f} ms ({self.table.reference.key})"
        ]

    def throttled_lines(self) -> list[str]:
        """What slowed the device down; no line if nothing was measured, or nothing slowed it."""
        if not (self.measured and self.table.throttled):
            return []
        reasons = "; ".join(self.table.throttled[:LISTED])
        return [
            f"the device was slowed down, or warned of heat, while it was measured: {reasons}; for times to rely on, "
            "cool it, or lower its clocks or power mode, delete the file and measure again"
        ]

    def unstable_lines(self) -> list[str]:
        """Number of medians that are not known well enough, and the worst of them; no line if none."""
        if not self.unstable:
            return []
        protocol = self.table.protocol
        listed = list(self.unstable.items())[:LISTED]
        worst = "; ".join(f"{key} " + (f"+-{width:.1%}" if math.isfinite(width) else "(too few rounds)") for key, width in listed)
        return [
            f"not stable: the median of {len(self.unstable)} operations is not known to +-{protocol.ci:.1%} after "
            f"{protocol.max_rounds} rounds; the worst: {worst}"
        ]

    def graph_lines(self) -> list[str]:
        """Those measured without a CUDA graph in a table that uses them; no line if none."""
        without = [key for key in self.measured if self.table.entries[key].cuda_graph is False]
        if not without:
            return []
        return [
            f"without a CUDA graph: {len(without)} of {len(self.measured)} operations cannot be captured and were launched kernel "
            f"by kernel, so that short ones take as long as their launches: {'; '.join(without[:LISTED])}"
        ]

    def _name(self) -> str:
        in_work_folder = self.path == WORK_FOLDER / f"{self.table.identifier}.json"
        return self.table.identifier if in_work_folder else str(self.path)


def fill_table(specs: Iterable[OpSpec], runner: Runner, *, path: Path, on_progress: OnProgress | None = None) -> ProfileResult:
    """Measure what a table lacks of `specs` and add it.

    A journal beside the table holds the timings until the table is saved. If the run stops, the same call goes on from
    there; what the journal holds of another plan is finished along with this one. A table that is extended keeps its
    reference operation and its level.

    Args:
        specs: The operations; repetitions and free ones are left out.
        runner: Where they are measured.
        path: The table's file, new or to be extended.
        on_progress: See `OnProgress`.

    Raises:
        UserError: If `path` cannot be used, or the place refuses; if table or journal are of another device, runtime or
            protocol, or malformed.
        ResumableError: If the place stopped before its time; the same call goes on.
    """
    start, conditions = time.monotonic(), runner.conditions
    specs, table = set(specs), table_so_far(path, conditions)
    if table is None:
        check_writable(path)
    is_full = table is not None and not table.missing(specs) and not journal_path(path).exists()  # then nothing is written
    with nullcontext() if is_full else measuring_into(path, "profile"), TableJournal(journal_path(path), conditions) as journal:
        table = table_so_far(path, conditions) or _empty(conditions)
        wanted = {spec for spec in specs if not is_free(spec)} | {parse_key(key) for key in journal.keys}
        plan = table.missing(wanted)
        if not plan and not table.entries:
            raise ValueError("got no operation that costs anything, expected at least one to measure")
        observed = Observed()
        if plan:
            observed = runner.take(plan, reference_of(table, journal, plan, path=path), journal, on_progress=on_progress)
        result = _saved(plan, journal, conditions, observed, path=path, effort=runner.effort)
        journal.delete()
    remove_stale_locks(path)
    runner.finish(measured=bool(result.measured))
    return replace(result, seconds=time.monotonic() - start)


def fill_from_log(
    log: Log,
    specs: Iterable[OpSpec],
    conditions: Conditions,
    observed: Observed,
    *,
    path: Path,
    effort: Effort,
    measured_at: str | None = None,
) -> ProfileResult:
    """Add to a table what it lacks of `specs`, from timings that were taken elsewhere.

    Args:
        log: All their timings, with those of one reference operation.
        specs: The operations.
        conditions: The conditions of the measurement.
        observed: What was seen of the device.
        path: The table's file, new or to be extended.
        effort: How long was measured.
        measured_at: When, in ISO 8601 with the offset from UTC; None: now.

    Raises:
        ConfigError: If `path` cannot be used.
        TableError: If the table is of another device, runtime, protocol or reference operation, or malformed.
    """
    return _saved(specs, log, conditions, observed, path=path, effort=effort, measured_at=measured_at)


def _saved(
    specs: Iterable[OpSpec],
    log: Log,
    conditions: Conditions,
    observed: Observed,
    *,
    path: Path,
    effort: Effort,
    measured_at: str | None = None,
) -> ProfileResult:
    """Add to the table, as it is now, what it lacks of operations and the log has, and say what that is.

    Others may have added to it since the measurement began: what they added stays.
    """
    unknown: dict[str, float] = {}
    drift, specs = None, set(specs)
    table = table_so_far(path, conditions) or _empty(conditions)
    plan = table.missing(specs)
    with changing_table(path, "profile") if plan else nullcontext():
        table = table_so_far(path, conditions) or table
        plan = table.missing(specs)
        if plan:
            _require_level(table, log, path)
            table, unknown = extended(table, plan, log, observed, effort=effort)
            table = replace(table, measured_at=measured_at or table.measured_at)
            drift = _drift(table, log)
            save_table(table, path)
    measured = tuple(spec.key for spec in plan)
    result = ProfileResult(path=path, table=table, measured=measured, unstable=unknown, drift=drift, seconds=0.0)
    for line in (*result.throttled_lines(), *result.unstable_lines(), *result.graph_lines()):
        _log.warning(line)
    return result


def _require_level(table: LatencyTable, log: Log, path: Path) -> None:
    """Refuse timings beside another reference operation than that of the table."""
    if table.reference is not None and log.reference_key != table.reference.key:
        raise TableError(
            f"{path}: the table's reference operation is {table.reference.key!r}, and the measurement's is "
            f"{log.reference_key!r}, so they do not stand at one level; make the bundle with "
            f"device={table.device.name}, or give another out="
        )


def journal_path(path: Path) -> Path:
    """The journal of the run that measures into a table."""
    return path.with_name(f"{path.name}.journal.jsonl")


def entry_of(samples_ms: Sequence[float], *, stable: bool = True) -> Entry:
    """Median, 10th and 90th percentile of the samples of one operation, to the nanosecond.

    >>> entry_of([3.0, 1.0, 2.0])
    Entry(median_ms=2.0, p10_ms=1.2, p90_ms=2.8, n=3, stable=True, energy_mj=None, cuda_graph=None)
    """
    p10, median, p90 = (round(float(value), 6) for value in np.quantile(samples_ms, [0.1, 0.5, 0.9]))
    return Entry(median, p10, p90, len(samples_ms), stable)


def relative_spread(entry: Entry) -> float:
    """(p90 - p10) / median of an entry."""
    return (entry.p90_ms - entry.p10_ms) / entry.median_ms


def table_so_far(path: Path, conditions: Conditions) -> LatencyTable | None:
    """The table to extend; None where there is none.

    Raises:
        ConfigError: If `path` is a folder.
        TableError: If the table is of other conditions, has no reference operation, or is malformed.
    """
    if not path.exists():
        return None
    if path.is_dir():
        raise ConfigError(f"out: {path} is a folder, expected a file, e.g. out={path / 'table.json'}")
    table = read_table(path)
    if differences := Conditions.of(table).differences(conditions):
        raise TableError(
            f"{path}: the table was measured under other conditions: {differences}; measure under those conditions, "
            "or give another file with out="
        )
    if table.entries and table.reference is None:
        raise TableError(f"{path}: the table names no reference operation, so nothing can be added at its level; give another out=")
    return table


def check_energies(path: Path, conditions: Conditions, specs: Iterable[OpSpec]) -> None:
    """Refuse to measure energies for a table that holds some of the operations without: those would not be measured again.

    Raises:
        UserError: If it does, or cannot be extended.
    """
    table = table_so_far(path, conditions)
    entries = {} if table is None else table.entries
    lacking = {spec.key for spec in specs if spec.key in entries and entries[spec.key].energy_mj is None}
    if lacking:
        raise ConfigError(
            f"energy: {path} holds {len(lacking)} of the operations without energies, and these are not measured again; "
            "delete the file, or give another one with out="
        )


def reference_of(table: LatencyTable, journal: TableJournal, plan: Sequence[OpSpec], *, path: Path) -> OpSpec:
    """The reference operation of the table, else of the stopped run, else of the plan."""
    key = journal.reference_key
    if table.reference is not None:
        if key not in (None, table.reference.key):
            raise TableError(
                f"{journal.path}: journal of a stopped run with the reference operation {key!r}, expected that of {path}, "
                f"{table.reference.key!r}; delete the journal to start over"
            )
        key = table.reference.key
    return choose_reference(plan) if key is None else parse_key(key)


def check_writable(path: Path) -> None:
    """Refuse a target before the measurement rather than after it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out: the folder {path.parent} cannot be made ({error.strerror}); give another out=") from error
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"out: the folder {path.parent} is not writable; give another out=")


def _empty(conditions: Conditions) -> LatencyTable:
    return LatencyTable(
        device=conditions.device,
        runtime=conditions.runtime,
        protocol=conditions.protocol,
        measured_at=_now(),
        entries={},
    )


def extended(
    table: LatencyTable, plan: Sequence[OpSpec], log: Log, observed: Observed, *, effort: Effort
) -> tuple[LatencyTable, dict[str, float]]:
    """The table with entries made of timings, and the half-widths of those that are not stable, the widest first."""
    references = [timing for timing in log.timings if timing.is_reference]
    level = round(float(np.median([timing.ms for timing in references])), 6)
    reference = table.reference or Reference(references[0].key, level)
    samples = corrected_samples(log.timings, level_ms=reference.median_ms)
    unfinished = set(unstable([spec.key for spec in plan], log.timings, effort.as_rounds))
    new = {
        spec.key: replace(
            entry_of(samples[spec.key], stable=spec.key not in unfinished),
            energy_mj=observed.energy_mj.get(spec.key),
            cuda_graph=spec.key not in observed.without_graph if table.protocol.cuda_graphs else None,
        )
        for spec in plan
    }
    widths = {key: relative_half_width(samples[key]) for key in unfinished}
    grown = replace(
        table,
        measured_at=_now(),
        reference=reference,
        entries={**table.entries, **new},
        clocks_before=observed.clocks_before,
        clocks_after=observed.clocks_after,
        temperature_before=observed.temperature_before,
        temperature_after=observed.temperature_after,
        throttled=tuple(dict.fromkeys((*table.throttled, *observed.throttled))),
        system={**table.system, **observed.system},
    )
    return grown, dict(sorted(widths.items(), key=lambda item: (-item[1], item[0])))


def _drift(table: LatencyTable, log: Log) -> tuple[float, float] | None:
    """Lowest and highest local level of the reference over the table's."""
    if table.reference is None:
        return None
    levels = local_levels([timing.ms for timing in log.timings if timing.is_reference])
    return min(levels) / table.reference.median_ms, max(levels) / table.reference.median_ms


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
