"""Stage `profile`: measure every operation that a network of a space can need, into a latency table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nas.config.measuring_jobs import ProfileJob
from nas.cost.lookup import WORK_FOLDER, tell_hidden
from nas.cost.profile_command import space_overrides
from nas.data.classes.class_set import CAMVID
from nas.files.command_words import setting
from nas.measuring.runners.bundle import BundleResult, write_bundle
from nas.measuring.runners.open_runner import open_runner
from nas.measuring.runners.request import request_of
from nas.measuring.table_filling import OPEN_DATA, ProfileResult, check_energies, fill_table
from nas.measuring.wanted_operations import wanted_by
from nas.space.search_space import SearchSpace
from nas.worker.rounds import OnProgress


def profile(job: ProfileJob, space: SearchSpace, *, on_progress: OnProgress | None = None) -> ProfileResult | BundleResult:
    """Measure the operations of a space at the deployed shape, on this machine or on another one, or write a bundle that does.

    Args:
        job: What to measure, how, where, and where to write.
        space: The search space.
        on_progress: See `OnProgress`.

    Raises:
        UserError: If a setting is wrong or missing, the place refuses, or the table or journal at the target is of another
            device, runtime or protocol, or malformed.
        ResumableError: If the worker or the connection to it stopped; the same call goes on.
    """
    specs, request = wanted_by(job, space).specs, request_of(job)
    if job.runner == "bundle":
        return write_bundle(specs, request, out=job.out)
    with open_runner(job, request) as runner:
        conditions = runner.conditions
        path = WORK_FOLDER / conditions.device.name / f"{request.runtime}.json" if job.out is None else Path(job.out)
        if job.energy:
            check_energies(path, conditions, specs)
        result = fill_table(specs, runner, path=path, on_progress=on_progress)
    tell_hidden(path)
    return result if job.space is None else replace(result, search_words=_search_words(job))


def _search_words(job: ProfileJob) -> tuple[str, ...]:
    """Space and shape of what was measured; drawn scenes, the data of a search that names none, have 11 classes."""
    channels = job.deploy.init_channels
    return (
        setting("space", job.space.name),
        *space_overrides(job.space),
        setting("deploy.input", job.deploy.input),
        *([] if channels is None else [setting("deploy.init_channels", channels)]),
        *([] if job.num_classes == len(CAMVID.names) else [OPEN_DATA]),
    )
