"""Stage `profile devices`: the latency tables at hand, how old and how good they are, and which networks they know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from nas.config.measuring_jobs import DevicesJob
from nas.cost.comparable_times import times_in_words
from nas.cost.latency_table import LatencyTable
from nas.cost.lookup import hidden_by, known_tables, read_named
from nas.devices.this_machine import local_names
from nas.errors import ConfigError, TableError, UserError
from nas.files.command_words import setting
from nas.ops import KINDS, OpSpec, macs
from nas.reports.text_table import text_table
from nas.space.deployment import Deployment
from nas.space.search_space import SearchSpace, SpaceEntry

MOST_INPUTS = 8
"""Sizes of images for which the networks of a table are looked up, the most frequent ones."""
SHOWN_SHARE = 0.25
"""Smaller coverages are no reason to look further: single operations are alike in many spaces."""
DEFAULT_CLASSES = 11
"""Classes where a table has no argmax that says how many."""
EARLIEST = datetime(2016, 1, 1, tzinfo=UTC)
"""A table that claims to be older was measured on a device whose clock did not run: one without a battery starts in 1970."""

SKEW_S = 300.0
"""Seconds by which the clock of a device may be ahead before it is called wrong."""

_UNITS = (("year", 365.25 * 86400), ("month", 30.4375 * 86400), ("day", 86400.0), ("hour", 3600.0), ("minute", 60.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Number of the operations of a space's networks that a table holds.

    Args:
        space: Name of the space, with its default settings.
        deployment: What they are deployed for.
        held: Operations that the table holds.
        needed: Operations that any of the networks can need; 0 where the space has no such networks.
    """

    space: str
    deployment: Deployment
    held: int
    needed: int

    @property
    def share(self) -> float:
        """Of those needed."""
        return self.held / self.needed if self.needed else 0.0

    @property
    def settings(self) -> str:
        """Words of a command line that choose space and shape, of a search, whose data has the classes."""
        size = setting("deploy.input", self.deployment.input)
        return f"space={self.space} {size} deploy.init_channels={self.deployment.init_channels}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTable:
    """A table at hand.

    Args:
        table: The table.
        age: Since its last entry was measured, in words.
        coverage: Of each space and size of images the shape of which it holds the largest share, if any.
        inputs_left_out: Further sizes of images in it that were not looked up.
    """

    table: LatencyTable
    age: str
    coverage: tuple[Coverage, ...]
    inputs_left_out: int

    @property
    def row(self) -> list[str]:
        """Cells of the table on the terminal."""
        table = self.table
        origin = "measured" if table.origin is None else table.origin.kind
        calibrated = ", ".join(f"{one.space} {_size(one.input)}" for one in table.calibrations)
        doubtful = sum(not entry.stable for entry in table.entries.values())
        unstable = "-" if table.origin is not None or not table.entries else f"{doubtful / len(table.entries):.0%}"
        return [
            table.identifier,
            str(len(table.entries)),
            self.age,
            origin,
            times_in_words(table),
            calibrated or "no",
            unstable,
            ", ".join(table.throttled) or "no",
        ]

    def coverage_lines(self) -> list[str]:
        """A line for each space and size of images of which it holds enough to go on with; the names of the others."""
        shown = [one for one in self.coverage if one.share >= SHOWN_SHARE] or list(self.coverage[:1])
        lines = [f"  {_words(one, all_of=self.coverage)}: {one.held} of {one.needed}" for one in shown]
        named = {one.space for one in shown}
        if rest := dict.fromkeys(one.space for one in self.coverage if one.space not in named):
            lines.append(f"  less than {SHOWN_SHARE:.0%} of: {', '.join(rest)}")
        if self.inputs_left_out:
            lines.append(f"  and {self.inputs_left_out} more sizes of images; choose one with deploy.input=[HEIGHT,WIDTH]")
        return [self.table.identifier, *(lines or ["  none"])]

    def calibrated_for(self, coverage: Coverage) -> bool:
        """Whether there is a calibration for the networks."""
        return self.table.calibration(coverage.space, coverage.deployment) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicesReport:
    """Result of `nas profile devices`.

    Args:
        tables: The tables that can be read, by name.
        broken: For each that cannot, why.
        hidden: For each that another file of its name hides, which one.
        next_command: What to do now.
    """

    tables: tuple[KnownTable, ...]
    broken: tuple[str, ...]
    hidden: tuple[str, ...]
    next_command: str

    def summary(self) -> list[str]:
        """The tables, what they hold, what cannot be read, and the next command."""
        lines = ["no latency tables that can be read"]
        if self.tables:
            header = ["table", "entries", "age", "origin", "times", "calibrated for", "not stable", "throttled"]
            lines = [
                *text_table(header, [known.row for known in self.tables]),
                "",
                "operations that they hold of those that the networks of a space can need, with its default settings:",
                *(line for known in self.tables for line in known.coverage_lines()),
            ]
        return [*lines, *self.hidden, *(f"cannot be read: {reason}" for reason in self.broken), f"next: {self.next_command}"]


def devices(job: DevicesJob, spaces: Mapping[str, SpaceEntry], *, now: datetime | None = None) -> DevicesReport:
    """List tables as `nas profile devices` does.

    Args:
        job: Which devices, and for which shape.
        spaces: The search spaces, by name.
        now: The time; None: that of the system's clock.

    Raises:
        ConfigError: If there is no table of the device.
    """
    plans = _Plans(spaces)
    tables, broken = [], []
    chosen = _chosen(job.device).values()
    for path in chosen:
        try:
            table = read_named(path)
        except TableError as error:
            broken.append(str(error))
        else:
            tables.append(_known(table, job, plans, now=now or datetime.now(UTC)))
    hidden = tuple(str(one) for path in chosen for one in hidden_by(path))
    return DevicesReport(tables=tuple(tables), broken=tuple(broken), hidden=hidden, next_command=_next_command(tables))


def age(measured_at: str, now: datetime) -> str:
    """Time since then, in the largest unit of which it has one, rounded down.

    Args:
        measured_at: ISO 8601 with the offset from UTC.
        now: The time, with an offset.

    >>> age("2026-01-01T00:00:00+00:00", datetime(2026, 1, 4, 23, tzinfo=UTC))
    '3 days'
    """
    then = datetime.fromisoformat(measured_at)
    seconds = (now - then).total_seconds()
    if seconds < -SKEW_S or then < EARLIEST:
        return "clock of the device was wrong"
    for unit, length_s in _UNITS:
        if seconds >= length_s:
            count = int(seconds // length_s)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"


class _Plans:
    """Operations that the networks of each space need, listed once a shape."""

    def __init__(self, spaces: Mapping[str, SpaceEntry]) -> None:
        self.spaces: dict[str, SearchSpace] = {name: entry.build(entry.config()) for name, entry in spaces.items()}
        self._plans: dict[tuple[str, Deployment], tuple[OpSpec, ...]] = {}

    def coverage(self, table: LatencyTable, name: str, deployment: Deployment) -> Coverage:
        """Of the networks of a space at a shape."""
        if (name, deployment) not in self._plans:
            try:
                self._plans[name, deployment] = self.spaces[name].plan(deployment)
            except UserError:  # the space refuses them
                self._plans[name, deployment] = ()
        plan = self._plans[name, deployment]
        return Coverage(space=name, deployment=deployment, held=len(plan) - len(table.missing(plan)), needed=len(plan))


def _chosen(device: str | None) -> dict[str, Path]:
    """Name -> file of the tables of the device."""
    known = known_tables()
    wanted = None if device is None else local_names() if device == "auto" else [device]
    chosen = {name: path for name, path in known.items() if wanted is None or name.partition("/")[0] in wanted}
    if wanted is not None and not chosen:
        raise ConfigError(
            f"device: got {device}, and there is no table of {' or '.join(wanted)}; measure one with nas profile "
            f"device={device}; tables at hand: {', '.join(known) or 'none'}"
        )
    return chosen


def _known(table: LatencyTable, job: DevicesJob, plans: _Plans, *, now: datetime) -> KnownTable:
    inputs = _inputs(table) if job.deploy.input is None else [(job.deploy.input[0], job.deploy.input[1])]
    coverage = [one for size in inputs[:MOST_INPUTS] for one in _coverage(table, size, job, plans)]
    return KnownTable(
        table=table,
        age=age(table.measured_at, now),
        coverage=tuple(sorted(coverage, key=lambda one: (-one.share, one.space, one.deployment.input))),
        inputs_left_out=max(0, len(inputs) - MOST_INPUTS),
    )


def _inputs(table: LatencyTable) -> list[tuple[int, int]]:
    """(height, width) of the maps of three channels that operations with weights read, the most frequent first: those of images."""
    specs = [OpSpec.from_key(key) for key in table.entries]
    counts = Counter((spec.height, spec.width) for spec in specs if spec.in_channels == 3 and spec.kind in KINDS and macs(spec) > 0)
    return [size for size, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _coverage(table: LatencyTable, size: tuple[int, int], job: DevicesJob, plans: _Plans) -> list[Coverage]:
    """For each space of which the table holds anything at a size of images, the shape at which it holds the largest share."""
    best = []
    for name, space in plans.spaces.items():
        deployments = [job.deploy.deployment(space, classes, size=size) for classes in _classes(table, size, job)]
        if job.deploy.init_channels is None:
            known = [one.init_channels for one in table.calibrations if (one.space, one.input) == (name, size)]
            deployments += [replace(one, init_channels=channels) for channels in known for one in deployments]
        found = max((plans.coverage(table, name, one) for one in deployments), key=lambda one: one.share)
        if found.held:
            best.append(found)
    return best


def _classes(table: LatencyTable, size: tuple[int, int], job: DevicesJob) -> list[int]:
    """The numbers of classes that networks on images of a size have, as far as the table states them."""
    if job.num_classes is not None:
        return [job.num_classes]
    specs = [OpSpec.from_key(key) for key in table.entries]
    found = {spec.in_channels for spec in specs if spec.kind == "argmax" and (spec.height, spec.width) == size}
    return sorted(found) or [DEFAULT_CLASSES]


def _next_command(tables: Sequence[KnownTable]) -> str:
    """Calibrate a table of this machine that holds all of some networks, else search with such a table, else measure."""
    local = local_names()
    complete = [(known, one) for known in tables for one in known.coverage if one.held == one.needed]
    complete.sort(key=lambda pair: pair[0].table.device.name not in local)
    for known, one in complete:
        if known.table.device.name in local and known.table.origin is None and not known.calibrated_for(one):
            classes = one.deployment.num_classes
            return f"nas profile validate latency.table={known.table.identifier} {one.settings} num_classes={classes}"
    if complete:
        known, one = complete[0]
        return f"nas search latency.table={known.table.identifier} {one.settings}"
    return "nas profile space=SPACE deploy.input=[HEIGHT,WIDTH], which measures this machine"


def _words(coverage: Coverage, *, all_of: Sequence[Coverage]) -> str:
    """Space and size of images, and the initial channels where they are not the same for all of a space's lines."""
    same = {one.deployment.init_channels for one in all_of if one.space == coverage.space}
    channels = f" ({coverage.deployment.init_channels} initial channels)" if len(same) > 1 else ""
    return f"{coverage.space} {_size(coverage.deployment.input)}{channels}"


def _size(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"
