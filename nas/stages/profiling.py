"""Stage `profile`: measure every operation that a network of a space can need, into a latency table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.config.jobs import ProfileJob
from nas.devices.this_machine import DeviceInfo, current_clocks
from nas.measuring.backends.backend import Backend
from nas.measuring.effort import Effort
from nas.measuring.journal import TableJournal
from nas.measuring.profile_target import conditions_of, is_in_process, target_of, wanted_by
from nas.measuring.table_filling import Observed, ProfileResult, fill_table
from nas.ops.spec import OpSpec
from nas.space.search_space import SearchSpace
from nas.worker.rounds import OnProgress, measure_rounds

if TYPE_CHECKING:
    from nas.measuring.runners.profile_there import BundleResult

ReadClocks = Callable[[], str | None]
"""Reads what the device's clocks are at this moment."""

_log = logging.getLogger(__name__)


def profile(job: ProfileJob, space: SearchSpace, *, on_progress: OnProgress | None = None) -> ProfileResult | BundleResult:
    """Measure the operations of a space at the deployed shape, on this machine or on another one.

    Args:
        job: What to measure, how, where, and where to write.
        space: The search space.
        on_progress: See `OnProgress`.

    Raises:
        ConfigError: If a setting is wrong or missing.
        TableError: If the table or journal at the target is of another device, runtime or protocol, or malformed.
        ResumableError: If the worker or the connection to it stopped; the same call goes on.
    """
    wanted = wanted_by(job, space)
    if not is_in_process(job):
        from nas.measuring.runners.profile_there import profile_far

        return profile_far(job, wanted.specs, on_progress=on_progress)
    target = target_of(job)
    return profile_specs(
        wanted.specs,
        target.backend,
        device=target.device,
        path=target.path,
        effort=target.effort,
        read_clocks=lambda: current_clocks(job.accelerator or "cpu"),
        on_progress=on_progress,
    )


def profile_specs(
    specs: Iterable[OpSpec],
    backend: Backend,
    *,
    device: DeviceInfo,
    path: Path,
    effort: Effort | None = None,
    read_clocks: ReadClocks | None = None,
    on_progress: OnProgress | None = None,
) -> ProfileResult:
    """Measure what a table lacks of `specs` in this process and add it; see `fill_table`.

    Args:
        specs: The operations; repetitions and free ones are left out.
        backend: What executes them.
        device: What it executes them on.
        path: The table's file, new or to be extended.
        effort: How long to measure; None: the default.
        read_clocks: See `ReadClocks`; None: they are not known.
        on_progress: See `OnProgress`.

    Raises:
        ConfigError: If `path` cannot be used.
        TableError: If table or journal are of another device, runtime or protocol, or malformed.
    """
    effort = effort or Effort()

    def take(plan: Sequence[OpSpec], reference: OpSpec, journal: TableJournal) -> Observed:
        by_key = {spec.key: spec for spec in (*plan, reference)}
        before = read_clocks() if read_clocks is not None else None
        _log.info("%d operations in %d to %d rounds", len(plan), effort.rounds, effort.max_rounds)
        if journal.num_samples:
            _log.info("%d samples are there from a stopped run", journal.num_samples)
        with backend.measuring():
            measure_rounds(
                [spec.key for spec in plan],
                reference.key,
                lambda key: backend.prepare(by_key[key]),
                log=journal,
                rounds=effort.as_rounds,
                on_progress=on_progress,
                on_round=lambda index, count: _log.info(
                    "round %d of at most %d done, over %d operations", index + 1, effort.max_rounds, count
                ),
            )
        after = read_clocks() if read_clocks is not None else None
        return Observed(clocks_before=before, clocks_after=after)

    return fill_table(specs, conditions_of(backend, device, effort), take, path=path, effort=effort)
