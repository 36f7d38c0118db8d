"""Search: train the supernet and its architecture parameters, cross-entropy plus expected latency (LGCNet, eq. 10)."""

from __future__ import annotations

import json
import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nas.config.jobs import SearchJob
from nas.cost import CostTable
from nas.cost.frame_rate import frame_rate
from nas.cost.prediction import FILE_NAME as PREDICTION
from nas.cost.prediction import predict_on
from nas.data.data_words import data_words
from nas.distributed.fabric import make_fabric, ranks_of
from nas.errors import ConfigError
from nas.files.atomic import write_text_atomic
from nas.files.command_words import setting
from nas.files.value_text import value_text
from nas.reports.prediction_report import PredictReport
from nas.reports.run_pictures import architecture_picture
from nas.reports.run_report import read_run, write_report
from nas.runs import rundir
from nas.runs.resume_note import noting_resume
from nas.runs.run_inputs import RunInputs, data_inputs, table_inputs
from nas.runs.trackers import check_trackers, open_trackers
from nas.space.design import Design
from nas.space.genotype import Genotype
from nas.space.search_space import SearchSpace, SpaceEntry
from nas.supernet.architecture import light_share
from nas.supernet.derivation import genotype_files, shown_repairs, write_genotypes
from nas.supernet.search_task import SearchTask
from nas.supernet.setup import search_splits
from nas.training.loop import fit
from nas.training.run_checkpoints import Resumption

log = logging.getLogger("nas")

TOO_LIGHT = 0.8
"""Share of none, skip and pooling among the choices above which a search has collapsed to what costs nothing (our threshold)."""
UNDECIDED = 0.95
"""Mean entropy of the decisions above which an architecture counts as undecided (our threshold): of five options, the largest
probability is below 0.4."""
FILES = ("genotype.yaml", "metrics.jsonl", "checkpoints/", "config.yaml", "report.html")
"""Files that every search leaves in its folder."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished search.

    Args:
        out: Its folder.
        genotype: The derived architecture.
        latency: Its predicted latency in `unit`; None without a table. By the first table where there are several.
        unit: Unit of the cost table.
        predicted: By table, a line on what it costs there.
        light_share: Share of decisions for zero, skip or pooling among those that could be; None: none could.
        repairs: What derivation had to change.
        seconds: Wall time.
        others: Files of the genotypes of the other architecture sets.
        entropy: Mean entropy of the decisions at the end: 1 undecided, 0 decided; None: the network was chosen among candidates.
        band_fps: The band of frames per second that the search was to keep; None: there was none.
        data_words: Words of a command line that choose the data set of the search.
    """

    out: Path
    genotype: Genotype
    latency: float | None
    unit: str
    predicted: tuple[str, ...]
    light_share: float | None
    repairs: tuple[str, ...]
    seconds: float
    others: tuple[Path, ...] = ()
    entropy: float | None = None
    band_fps: tuple[float, float] | None = None
    data_words: tuple[str, ...] = ()

    def summary(self) -> list[str]:
        """Human lines: what came out, where it lies, what to do next."""
        lines = [f"search finished in {self.seconds:.0f} s"]
        lines.extend(f"  predicted latency   {line}" for line in self.predicted)
        if self.light_share is not None:
            lines.append(f"  light operations    {self.light_share:.0%} of the decisions that can be none, skip or pooling")
        lines.extend(f"  repaired            {repair}" for repair in shown_repairs(self.repairs))
        if self.light_share is not None and self.light_share > TOO_LIGHT:
            lines.append("  warning             more than 80 % are none, skip or pooling: lower latency.weight")
        if self.entropy is not None and self.entropy > UNDECIDED:
            lines.append(
                f"  warning             the architecture is hardly decided, entropy {self.entropy:.3f} of 1; give more "
                "search.epochs or a higher search.arch_lr"
            )
        rate = None if self.band_fps is None or self.latency is None else frame_rate(self.latency)
        if self.band_fps is not None and rate is not None and not self.band_fps[0] <= rate.fps <= self.band_fps[1]:
            lines.append(
                f"  warning             {rate} predicted, outside of "
                f"latency.band_fps={value_text(self.band_fps)}; give more search.epochs or another latency.weight"
            )
        files = [*FILES, *([] if self.latency is None else [PREDICTION])]
        lines.extend(f"  wrote               {path}" for path in (*(self.out / name for name in files), *self.others))
        lines.append(f"next: nas train {' '.join((setting('genotype', self.out / 'genotype.yaml'), *self.data_words))}")
        return lines


def search(job: SearchJob, space: SearchSpace) -> SearchResult:
    """Search an architecture.

    Raises:
        UserError: If data, table or settings do not fit.
        NonFiniteLossError: If a loss is not finite; no weight was moved by it.
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was saved.
    """
    started = time.perf_counter()
    if job.plan:
        raise ConfigError("plan: got true, expected false for a search; nas.plan(config) gives the plan")
    check_trackers(job.logger)
    train_set, val_set = search_splits(job)
    fabric = make_fabric(job.trainer)
    torch.manual_seed(job.seed)
    task = SearchTask(job, space, train_set=train_set, val_set=val_set, fabric=fabric)
    inputs = RunInputs(
        {**data_inputs(train_set, val_set), **table_inputs(task.costs.tables, space.plan(task.deploy))}, job.accept_changes
    )
    ranks = ranks_of(fabric)
    if task.warmup_steps >= task.total_steps and not job.search.candidates and ranks.is_first:
        log.warning(
            "search.warmup_epochs: got %d, which are all %d steps, and the architecture does not move in them; give fewer, or "
            "search.candidates, among which one is chosen all the same",
            job.search.warmup_epochs,
            task.total_steps,
        )
    opened, loggers = rundir.open_run(job, "search", total_steps=task.total_steps), job.logger if ranks.is_first else {}
    with ExitStack() as held:  # by the first process, for all of them
        out = Path(ranks.from_first(lambda: str(held.enter_context(opened))))
        held.enter_context(noting_resume(out))
        resume = rundir.has_checkpoint(out)
        resumption = Resumption(inputs, partial(rundir.go_on, out, job, "search"))
        with open_trackers(loggers, out, resumed=resume, draw=lambda: {"architecture": _picture(task)}) as trackers:
            fit(task, task.plan, task.train_set, fabric=fabric, out=out, resume=resume, trackers=trackers, resumption=resumption)
        result = _result(task, out, time.perf_counter() - started)
        if ranks.is_first:
            _write(task, out, result)
    return result


def _write(task: SearchTask, out: Path, result: SearchResult) -> None:
    """Files that a finished search leaves in its folder."""
    write_genotypes(out, task.derived.genotypes())
    if tables := task.costs.tables:
        _write_prediction(task, tables[0], result.genotype, out)
    rundir.mark_finished(out, {"seconds": result.seconds})
    write_report(read_run(out, _entry(task)), out)


def _result(task: SearchTask, out: Path, seconds: float) -> SearchResult:
    """Derive, predict, summarise; nothing is written."""
    derivation, predicted, tables = task.derived.first(), task.derived.latencies(), task.costs.tables
    genotypes, band = task.derived.genotypes(), task.job.latency.band_fps
    genotype = next(iter(genotypes.values()))
    return SearchResult(
        out=out,
        genotype=genotype,
        latency=predicted[0] if tables else None,
        unit=tables[0].unit if tables else "",
        predicted=task.costs.lines(predicted, at=f" at {list(task.deploy.input)}"),
        light_share=light_share(derivation.choices, task.space),
        repairs=derivation.repairs,
        seconds=seconds,
        data_words=tuple(data_words(task.job.data)),
        others=tuple(genotype_files(out, genotypes)[1:]),
        entropy=None if task.derived.chosen is not None else task.entropy(),
        band_fps=None if band is None else (band[0], band[1]),
    )


def _write_prediction(task: SearchTask, table: CostTable, genotype: Genotype, out: Path) -> None:
    """Cost of each part of the derived network by the search's first table: `predict.json`, as `nas predict` writes it."""
    design = Design(genotype, task.space)
    report = PredictReport(design=design, table=table, latency=predict_on(design.graph, table), path=None)
    write_text_atomic(out / PREDICTION, json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n")


def _picture(task: SearchTask) -> NDArray[np.uint8]:
    """The argmax architecture as it stands."""
    design = Design(task.derived.genotype(), task.space)
    parts_ms = None
    tables = task.costs.tables
    if tables and tables[0].unit == "ms":
        parts_ms = predict_on(design.graph, tables[0]).by_part
    return architecture_picture(design, parts_ms=parts_ms)


def _entry(task: SearchTask) -> dict[str, SpaceEntry]:
    """The space of a search, as one looks it up by name."""
    config, space = task.job.space, task.space
    return {config.name: SpaceEntry(type(config), lambda _: space)}
