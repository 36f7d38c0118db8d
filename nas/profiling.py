"""Stage `profile`: measure every operation that a network of a space can need, into a latency table."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from nas.config import ProfileJob
from nas.cost.latency_table import (
    Entry,
    LatencyTable,
    ProtocolInfo,
    RuntimeInfo,
    parse_key,
    read_table,
    save_table,
)
from nas.cost.lookup import WORK_FOLDER
from nas.devices import BACKENDS, Backend, RuntimeName
from nas.devices.identity import DeviceInfo, identify
from nas.errors import ConfigError, TableError
from nas.journal import Conditions, Journal
from nas.ops import is_free
from nas.ops.spec import OpSpec
from nas.space import SearchSpace, deployed_specs

WARMUP_CALLS = 1
"""Calls before each sample that are not timed."""
SAMPLE_MS = 5.0
"""A sample repeats a short operation until about this time is filled."""
MAX_CALLS = 50
"""Most calls in a sample."""
BUSY_SPREAD = 0.2
"""A spread of the median operation above this is reported as a busy machine (idle, here: 0.03)."""
CALLS_RULE = f"clamp(ceil({SAMPLE_MS:g} ms / estimate), 1, {MAX_CALLS})"
STATISTIC = "median, p10, p90 over interleaved rounds; a sample is the mean of its calls"

OnProgress = Callable[[int, int], None]
"""Called after each sample with the number of samples there are and of those planned."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileResult:
    """What a profile run did.

    Args:
        path: The table's file.
        table: The table in it.
        measured: Keys of the entries that this run added.
        seconds: Duration in s.
    """

    path: Path
    table: LatencyTable
    measured: tuple[str, ...]
    seconds: float

    @property
    def kept(self) -> int:
        """Number of entries that were there before."""
        return len(self.table.entries) - len(self.measured)

    def summary(self) -> list[str]:
        """Lines for the terminal: what was measured, how well, and the next command."""
        lines = [f"{self.path}: nothing to measure, all operations of this plan are among its {self.kept} entries"]
        if self.measured:
            spreads = [relative_spread(self.table.entries[key]) for key in self.measured]
            lines = [
                f"{self.path}: {len(self.measured)} operations measured, {self.kept} kept, in {self.seconds:.1f} s",
                f"spread over rounds, (p90 - p10) / median: {np.median(spreads):.1%} at the median operation, "
                f"{max(spreads):.1%} at the worst",
            ]
            if np.median(spreads) > BUSY_SPREAD:
                lines.append(
                    f"the spread is above {BUSY_SPREAD:.0%}: other programs keep this machine busy; "
                    "for times to rely on, delete the file and measure again on an idle machine"
                )
        return [*lines, f"next: nas search latency.table={self._name()}"]

    def _name(self) -> str:
        in_work_folder = self.path == WORK_FOLDER / f"{self.table.identifier}.json"
        return self.table.identifier if in_work_folder else str(self.path)


def profile(job: ProfileJob, space: SearchSpace, *, on_progress: OnProgress | None = None) -> ProfileResult:
    """Measure the operations of a space at the deployed shape on this machine.

    Args:
        job: What to measure, how, and where to write.
        space: The search space.
        on_progress: See `OnProgress`.

    Raises:
        ConfigError: If a setting is wrong or missing.
        TableError: If the table or journal at the target is of another device, runtime or protocol, or malformed.
    """
    if job.deploy.input is None:
        raise ConfigError(
            "deploy.input: got null, expected the size of the deployed network's input; "
            "give deploy.input=[HEIGHT,WIDTH], e.g. deploy.input=[360,480]"
        )
    height, width = job.deploy.input
    runtime = RuntimeName.parse(job.runtime, backends=BACKENDS)
    device = identify(job.accelerator, name=job.device)
    backend = BACKENDS[runtime.backend](runtime, accelerator=job.accelerator)
    channels = job.deploy.init_channels or space.deploy_channels
    specs = deployed_specs(space, input_size=(height, width), init_channels=channels, num_classes=job.num_classes)
    path = WORK_FOLDER / device.name / f"{runtime}.json" if job.out is None else Path(job.out)
    return profile_specs(specs, backend, device=device, path=path, rounds=job.rounds, on_progress=on_progress)


def profile_specs(
    specs: Iterable[OpSpec],
    backend: Backend,
    *,
    device: DeviceInfo,
    path: Path,
    rounds: int = 10,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> ProfileResult:
    """Measure what a table lacks of `specs` and add it.

    A journal beside the table holds the samples until the table is saved. If the run stops, the same call goes on from
    there; what the journal holds of another plan is finished along with this one.

    Args:
        specs: The operations; repetitions and free ones are left out.
        backend: What executes them.
        device: What it executes them on.
        path: The table's file, new or to be extended.
        rounds: Interleaved rounds over all operations.
        seed: Seed of the order within the rounds.
        on_progress: See `OnProgress`.

    Raises:
        ConfigError: If `rounds` or `path` cannot be used.
        TableError: If table or journal are of another device, runtime or protocol, or malformed.
    """
    start = time.monotonic()
    conditions = _conditions(backend, device, rounds)
    table = _table_so_far(path, conditions)
    with Journal(path.with_name(f"{path.name}.journal.jsonl"), conditions) as journal:
        wanted = {spec for spec in specs if not is_free(spec)} | {parse_key(key) for key in journal.samples}
        plan = table.missing(wanted)
        if not plan and not table.entries:
            raise ValueError("got no operation that costs anything, expected at least one to measure")
        if plan:
            _measure(plan, backend, journal=journal, seed=seed, on_progress=on_progress)
            new = {spec.key: entry_of(list(journal.samples[spec.key].values())) for spec in plan}
            table = _extended(table, new)
            save_table(table, path)
    journal.delete()
    measured = tuple(spec.key for spec in plan)
    result = ProfileResult(path=path, table=table, measured=measured, seconds=time.monotonic() - start)
    return result


def entry_of(samples_ms: Sequence[float]) -> Entry:
    """Median, 10th and 90th percentile of the samples of one operation, to the nanosecond.

    >>> entry_of([3.0, 1.0, 2.0])
    Entry(median_ms=2.0, p10_ms=1.2, p90_ms=2.8, n=3)
    """
    p10, median, p90 = (round(float(value), 6) for value in np.quantile(samples_ms, [0.1, 0.5, 0.9]))
    return Entry(median, p10, p90, len(samples_ms))


def relative_spread(entry: Entry) -> float:
    """(p90 - p10) / median of an entry."""
    return (entry.p90_ms - entry.p10_ms) / entry.median_ms


def num_calls(estimate_ms: float) -> int:
    """Calls in one sample of an operation that takes about `estimate_ms`.

    >>> num_calls(0.9), num_calls(30.0), num_calls(0.001)
    (6, 1, 50)
    """
    return max(1, min(MAX_CALLS, math.ceil(SAMPLE_MS / estimate_ms)))


def _measure(plan: Sequence[OpSpec], backend: Backend, *, journal: Journal, seed: int, on_progress: OnProgress | None) -> None:
    """Take the samples that the journal lacks, round by round over the whole plan, in a new random order each time."""
    rounds, samples = journal.rounds, journal.samples
    total = len(plan) * rounds
    done = sum(len(samples.get(spec.key, {})) for spec in plan)
    _log.info("%d operations in %d rounds; %d of %d samples are there from a stopped run", len(plan), rounds, done, total)
    with backend.measuring():
        calls = {spec: _estimated_calls(backend, spec) for spec in plan if len(samples.get(spec.key, {})) < rounds}
        for index in range(rounds):
            order = np.random.default_rng([seed, index]).permutation(len(plan))
            for spec in (plan[position] for position in order):
                if index in samples.get(spec.key, {}):
                    continue
                run = backend.prepare(spec)
                run(WARMUP_CALLS)
                journal.record(spec.key, round_index=index, ms=run(calls[spec]), calls=calls[spec])
                done += 1
                if on_progress is not None:
                    on_progress(done, total)
            _log.info("round %d of %d done", index + 1, rounds)


def _estimated_calls(backend: Backend, spec: OpSpec) -> int:
    """Calls in one sample, from the second call of all: the first also pays for what is set up once."""
    run = backend.prepare(spec)
    run(1)
    return num_calls(run(1))


def _conditions(backend: Backend, device: DeviceInfo, rounds: int) -> Conditions:
    if rounds < 1:
        raise ConfigError(f"rounds: got {rounds}, expected at least 1")
    protocol = ProtocolInfo(
        warmup=WARMUP_CALLS, rounds=rounds, calls=CALLS_RULE, statistic=STATISTIC, threads=backend.runtime.threads
    )
    return Conditions(device, RuntimeInfo.of(backend.runtime, version=backend.version), protocol)


def _table_so_far(path: Path, conditions: Conditions) -> LatencyTable:
    """The table to extend, an empty one where there is none."""
    if not path.exists():
        _check_writable(path)
        return _empty(conditions)
    if path.is_dir():
        raise ConfigError(f"out: {path} is a folder, expected a file, e.g. out={path / 'table.json'}")
    table = read_table(path)
    if differences := Conditions.of(table).differences(conditions):
        raise TableError(
            f"{path}: the table was measured under other conditions: {differences}; measure under those conditions, "
            "or give another file with out="
        )
    return table


def _check_writable(path: Path) -> None:
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


def _extended(table: LatencyTable, entries: Mapping[str, Entry]) -> LatencyTable:
    return replace(table, measured_at=_now(), entries={**table.entries, **entries})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
