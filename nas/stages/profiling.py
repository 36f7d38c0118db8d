"""Stage `profile`: measure every operation that a network of a space can need, into a latency table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nas.config.measuring_jobs import ProfileJob
from nas.cost.lookup import WORK_FOLDER, tell_hidden
from nas.cost.profile_command import space_overrides
from nas.data.classes.class_set import CAMVID
from nas.data.data_words import OPEN_DATA
from nas.files.command_words import setting
from nas.measuring.runners.bundle import BundleResult, write_bundle
from nas.measuring.runners.open_runner import open_runner
from nas.measuring.runners.request import request_of
from nas.measuring.table_filling import ProfileResult, check_energies, fill_table
from nas.measuring.wanted_operations import wanted_by
from nas.space.deployment import Deployment
from nas.space.design import Design
from nas.space.search_space import SearchSpace
from nas.worker.rounds import OnProgress


def profile(
    job: ProfileJob, networks: SearchSpace | Design, *, on_progress: OnProgress | None = None
) -> ProfileResult | BundleResult:
    """Measure the operations of a space or of one network at the deployed shape, here or elsewhere, or write a bundle that does.

    Args:
        job: What to measure, how, where, and where to write.
        networks: The search space, or the design of `genotype`.
        on_progress: See `OnProgress`.

    Raises:
        UserError: If a setting is wrong or missing, the place refuses, or the table or journal at the target is of another
            device, runtime or protocol, or malformed.
        ResumableError: If the worker or the connection to it stopped; the same call goes on.
    """
    wanted, request = wanted_by(job, networks), request_of(job)
    specs = wanted.specs
    if job.runner == "bundle":
        return write_bundle(specs, request, out=job.out)
    with open_runner(job, request) as runner:
        conditions = runner.conditions
        path = WORK_FOLDER / conditions.device.name / f"{request.runtime}.json" if job.out is None else Path(job.out)
        if job.energy:
            check_energies(path, conditions, specs)
        result = fill_table(specs, runner, path=path, on_progress=on_progress)
    tell_hidden(path)
    return replace(result, next_words=_next_words(job, networks, wanted.deployment))


def _next_words(job: ProfileJob, networks: SearchSpace | Design, deployment: Deployment) -> tuple[str, ...]:
    """A search of the space and shape that were measured, or the prediction of the network.

    Drawn scenes, the data of a search that names none, have 11 classes.
    """
    if isinstance(networks, Design):
        words = ("nas predict", setting("genotype", job.genotype))
        if deployment == networks.deployment:
            return words
        shape = (("deploy.input", deployment.input), ("deploy.init_channels", deployment.init_channels))
        return (*words, *(setting(*one) for one in shape), setting("num_classes", deployment.num_classes))
    if job.space is None:
        return ("nas search",)
    channels = job.deploy.init_channels
    return (
        "nas search",
        setting("space", job.space.name),
        *space_overrides(job.space),
        setting("deploy.input", job.deploy.input),
        *([] if channels is None else [setting("deploy.init_channels", channels)]),
        *([] if deployment.num_classes == len(CAMVID.names) else [OPEN_DATA]),
    )
