"""Stage `search plan=true`: what a search needs and what fits, from short probes; nothing is trained."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence

import torch

from nas.config.jobs import SearchJob
from nas.config.settings import EXECUTION_NAMES, RELAXATION_NAMES, TrainerSettings
from nas.distributed.fabric import check_precision, make_fabric
from nas.errors import ConfigError, WorkerStoppedError
from nas.files.atomic import write_text_atomic
from nas.probing.plan_report import Forecast, PlanReport, Row, Totals
from nas.probing.search_probe import ROOM, Probe, line_through, run_probe
from nas.runs import rundir
from nas.space.search_space import SearchSpace
from nas.supernet.passes import passes_of
from nas.supernet.search_task import SearchTask
from nas.supernet.setup import search_splits
from nas.supernet.step_macs import macs_of_passes

FILE_NAME = "plan.json"
SIDE_PX = 32
"""A crop that is proposed has sides that are multiples of this."""


def plan_search(
    job: SearchJob,
    space: SearchSpace,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
) -> PlanReport:
    """Forecast the needs of `nas search` with these settings, in each relaxation, execution and checkpointing.

    Args:
        job: The settings.
        space: The search space.
        on_progress: Told how many probes of how many are done.

    Raises:
        UserError: If data, table or settings do not fit, or `out` is not empty.
        WorkerStoppedError: If no probe came as far as a step, and not for want of memory.
    """
    totals = _totals(job, space)
    if job.out is None:
        return _planned(job, space, totals, on_progress)
    with rundir.held_out(job.out, "search plan=true") as out:
        report = _planned(job, space, totals, on_progress)
        write_text_atomic(out / FILE_NAME, json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n")
    return dataclasses.replace(report, path=out / FILE_NAME)


def _planned(job: SearchJob, space: SearchSpace, totals: Totals, on_progress: Callable[[int, int], None]) -> PlanReport:
    """The forecast, from probes of each relaxation, execution and checkpointing."""
    names = sorted(RELAXATION_NAMES, key=lambda name: name != job.search.relaxation)
    settings = list(itertools.product(names, EXECUTION_NAMES, checkpointings(job.trainer)))
    rows: list[Row] = []
    for done, (relaxation, execution, checkpointing) in enumerate(settings):
        on_progress(done, len(settings))
        like = [row for row in rows if (row.relaxation, row.execution) == (relaxation, execution)]
        rows.append(_row(job, space, totals, (relaxation, execution, checkpointing), like[:1]))
    on_progress(len(settings), len(settings))
    _require_measured(rows)
    return PlanReport(totals=totals, rows=tuple(rows), overrides=recommended(job, totals, rows))


def _require_measured(rows: Sequence[Row]) -> None:
    """Refuse a plan of nothing: no probe came as far as a step, and not for want of memory.

    Raises:
        WorkerStoppedError: With what the first of them said.
    """
    if all(row.forecast is None and not row.probe.ran_out for row in rows):
        raise WorkerStoppedError(f"none of {len(rows)} probes could take a step; {rows[0].relaxation}: {rows[0].probe.reason}")


def checkpointings(trainer: TrainerSettings) -> tuple[str, ...]:
    """The ends of what `trainer.checkpointing` can do; `auto` lies between them, and compiled passes know only one."""
    return ("none", "all") if trainer.compile == "none" else ("none",)


def _totals(job: SearchJob, space: SearchSpace) -> Totals:
    """Facts that do not depend on how it is run; building the supernet refuses whatever a search would refuse."""
    train_set, val_set = search_splits(job)
    check_precision(job.trainer)
    here = dataclasses.replace(job.trainer, accelerator="cpu", precision="32-true")
    torch.manual_seed(job.seed)
    task = SearchTask(job, space, train_set=train_set, val_set=val_set, fabric=make_fabric(here))
    _, passes = passes_of(job.search, space)
    graph = task.supernet.network.graph
    cached = bool(job.data.cache)
    epochs = math.ceil(task.total_steps / task.steps_per_epoch)
    due = {epoch for epoch in range(epochs) if job.search.eval_every and (epoch + 1) % job.search.eval_every == 0}
    return Totals(
        space=job.space.name,
        data=job.data.name,
        crop=task.plan.crop,
        batch_size=job.search.batch_size,
        weights=sum(weight.numel() for weight in task.supernet.weight_parameters()),
        arch_parameters=sum(weight.numel() for weight in task.supernet.arch_parameters()),
        macs={name: macs_of_passes(space, graph, passes, relaxation=name) for name in RELAXATION_NAMES},
        steps_per_epoch=task.steps_per_epoch,
        total_steps=task.total_steps,
        warmup_steps=min(task.warmup_steps, task.total_steps),
        epochs=epochs,
        evaluations=len(due | {epochs - 1}),
        train_images=len(task.train_set),
        val_images=len(val_set),
        cache_bytes_an_image=4 * math.prod(train_set.size) if cached else 0,
    )


def _row(job: SearchJob, space: SearchSpace, totals: Totals, names: tuple[str, str, str], like: list[Row]) -> Row:
    """Probe one setting; one that differs from another in checkpointing alone is evaluated as that one is."""
    try:
        probe = run_probe(as_run(job, space, *names), evaluates=not (like and like[0].probe.evaluation_s))
    except ConfigError as error:
        probe = Probe(batch=totals.batch_size, reason=str(error))
    if probe.evaluation_s is None and like:
        peak = max(probe.peak, like[0].evaluation_peak)
        probe = dataclasses.replace(probe, evaluation_s=like[0].probe.evaluation_s, peak=peak)
    return Row(*names, probe=probe, forecast=forecast(probe, totals))


def as_run(job: SearchJob, space: SearchSpace, relaxation: str, execution: str, checkpointing: str) -> SearchJob:
    """The job in another relaxation, execution and checkpointing.

    `sampled` runs one operation for all images: where the settings leave the noise to a space that draws for each, it is for all.

    Raises:
        ConfigError: If they do not go together.
    """
    noise = "batch" if job.search.noise is None and relaxation == "sampled" and space.noise_per_image else job.search.noise
    search = dataclasses.replace(job.search, relaxation=relaxation, execution=execution, noise=noise)
    return dataclasses.replace(
        job, search=search, trainer=dataclasses.replace(job.trainer, checkpointing=checkpointing), out=None, plan=False
    )


def forecast(probe: Probe, totals: Totals) -> Forecast | None:
    """Memory and time of a whole search; None where nothing could be measured."""
    if probe.peak == 0:
        return None
    images = totals.train_images + totals.val_images
    cache = totals.cache_bytes_an_image * max(0, images - 3 * probe.batch)
    peak = probe.peak + (cache if probe.on_cpu else 0)
    known = _fits(probe, peak)
    step_s = probe.step_s if probe.step_s is not None else probe.warmup_s
    if step_s is None:
        return Forecast(peak_bytes=peak, fits=known)
    usual = totals.total_steps - totals.warmup_steps
    decode_s = probe.decode_s * images
    evaluation_s = _evaluation_s(probe, totals)
    training_s = usual * step_s + totals.warmup_steps * (probe.warmup_s if probe.warmup_s is not None else step_s)
    return Forecast(
        peak_bytes=peak,
        fits=known,
        step_s=step_s,
        warmup_step_s=probe.warmup_s,
        epoch_s=totals.steps_per_epoch * step_s,
        evaluation_s=evaluation_s,
        total_s=training_s + totals.evaluations * (evaluation_s or 0.0) + decode_s,
    )


def _fits(probe: Probe, peak: float) -> bool | None:
    """Whether a peak in bytes has room; None: how much there is could not be read, and the whole batch was not run."""
    if probe.reason:
        return False
    if probe.available is None:
        return True if probe.measured else None
    return peak <= probe.available * (1.0 if probe.measured else ROOM)


def _evaluation_s(probe: Probe, totals: Totals) -> float | None:
    """Seconds of an evaluation of all validation images."""
    if probe.evaluation_s is None:
        return None
    first, further = probe.evaluation_s
    return first + further * max(0.0, totals.val_images / min(probe.batch, totals.val_images) - 1)


def recommended(job: SearchJob, totals: Totals, rows: list[Row]) -> Mapping[str, str] | None:
    """The overrides of the fastest that fits in the relaxation asked for; else those with the largest batch that fits.

    Returns:
        None: nothing of this relaxation could be measured.
    """
    own = [row for row in rows if row.relaxation == job.search.relaxation and row.forecast is not None]
    fitting = [row for row in own if row.forecast is not None and row.forecast.fits is not False]
    if fitting:
        return min(fitting, key=_step_s).overrides()
    found = [(largest_batch(row.probe), row) for row in own]
    known = [(size, row) for size, row in found if size is not None]
    if not known:
        return None
    size, row = max(known, key=lambda pair: pair[0])
    if size >= 1:
        return {"search.batch_size": str(size), **row.overrides()}
    crop = _smaller_crop(row.probe, totals)
    return None if crop is None else {"search.crop": crop, **row.overrides()}


def _step_s(row: Row) -> float:
    return math.inf if row.forecast is None or row.forecast.step_s is None else row.forecast.step_s


def largest_batch(probe: Probe) -> int | None:
    """The most images a step that fit by the line through what was run; None: the line or the memory is not known."""
    line = line_through(probe.points)
    if line is None or probe.available is None or line[1] <= 0:
        return None
    return max(0, min(probe.batch, math.floor((ROOM * probe.available - line[0]) / line[1])))


def _smaller_crop(probe: Probe, totals: Totals) -> str | None:
    """A crop of the same shape whose maps have room: they are in proportion to its pixels. None: there is none."""
    line = line_through(probe.points)
    if line is None or probe.available is None:
        return None
    share = (ROOM * probe.available - line[0]) / (line[1] * totals.batch_size)
    sides = [int(side * math.sqrt(max(0.0, share))) // SIDE_PX * SIDE_PX for side in totals.crop]
    return f"[{sides[0]},{sides[1]}]" if min(sides) > 0 else None
