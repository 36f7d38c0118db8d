"""The verbs: what each is called, what it is given, and what it does."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import nas
from nas.config import jobs, measuring_jobs
from nas.config.bench_algorithms_job import BenchAlgorithmsJob
from nas.config.bench_networks_job import BenchNetworksJob
from nas.probing.bench.bench_job import BenchSearchJob

if TYPE_CHECKING:
    from nas.cli.file_faults import Writes
    from nas.cli.hydra_app import SweepOut
    from nas.space.design import Design
    from nas.space.search_space import SearchSpace

log = logging.getLogger("nas")


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of the command line.

    Args:
        line: What it does, in one line.
        job: The dataclass of its settings.
        run: Does a job and returns the lines of its summary.
        sweep_out: When --multirun gives each job its own folder as `out`: always, if `out` is given, or never.
        writes: What it writes: a fresh folder, one if it is named, a file, or nothing.
    """

    line: str
    job: type[Any]
    run: Callable[[Any], Sequence[str]]
    sweep_out: SweepOut = "always"
    writes: Writes = "folder"


def _search(job: jobs.SearchJob) -> Sequence[str]:
    if job.plan:
        from nas.stages.search_plan import plan_search

        with _progress_bar("probing") as show_progress:
            return plan_search(job, nas.build_space(job.space), on_progress=show_progress).summary()
    from nas.cli.next_recipe import with_recipe

    return with_recipe(nas.search(job).summary(), job, jobs.TrainJob, recipe_keys())


def _derive(job: jobs.DeriveJob) -> Sequence[str]:
    from nas.stages.derive import derive
    from search_spaces import all_spaces

    return derive(job, all_spaces()).summary()


def _train(job: jobs.TrainJob) -> Sequence[str]:
    return nas.train(job).summary()


def _eval(job: jobs.EvalJob) -> Sequence[str]:
    from nas.stages.evaluate import evaluate
    from search_spaces import all_spaces

    return evaluate(job, all_spaces()).summary()


def _export(job: jobs.ExportJob) -> Sequence[str]:
    from nas.stages.export import export
    from search_spaces import all_spaces

    return export(job, all_spaces()).summary()


def _profile(job: measuring_jobs.ProfileJob) -> Sequence[str]:
    from nas.stages.profiling import profile

    with _progress_bar("measuring") as show_progress:
        return profile(job, _profiled(job), on_progress=show_progress).summary()


def _profiled(job: measuring_jobs.ProfileJob) -> SearchSpace | Design:
    """The networks whose operations are measured."""
    if job.genotype is None:
        return nas.build_space(job.space)
    from nas.space.design import load_design
    from search_spaces import all_spaces

    return load_design(job.genotype, all_spaces())


def _plan(job: measuring_jobs.ProfileJob) -> Sequence[str]:
    from nas.stages.profile_plan import plan

    return plan(job, _profiled(job)).summary()


def _validate(job: measuring_jobs.ValidateJob) -> Sequence[str]:
    from nas.stages.profile_validate import validate

    with _progress_bar("timing networks") as show_progress:
        return validate(job, nas.build_space(job.space), on_progress=show_progress).summary()


def _import(job: measuring_jobs.ImportJob) -> Sequence[str]:
    from nas.stages.profile_import import import_table
    from search_spaces import PUBLISHED_TABLES, all_spaces

    return import_table(job, all_spaces(), PUBLISHED_TABLES).summary()


def _devices(job: measuring_jobs.DevicesJob) -> Sequence[str]:
    from nas.stages.profile_devices import devices
    from search_spaces import searched_spaces

    return devices(job, searched_spaces()).summary()


def _show(job: jobs.ShowJob) -> Sequence[str]:
    from nas.stages.show import show
    from search_spaces import all_spaces

    return show(job, all_spaces()).summary()


def _predict(job: jobs.PredictJob) -> Sequence[str]:
    from nas.stages.predict import predict_job
    from search_spaces import all_spaces

    return predict_job(job, all_spaces()).summary()


def _report_run(job: jobs.ReportJob) -> Sequence[str]:
    from nas.stages.report import report
    from search_spaces import all_spaces

    return report(job, all_spaces()).summary()


def _bench_search(job: BenchSearchJob) -> Sequence[str]:
    from nas.stages.bench_search import bench_search
    from search_spaces import searched_spaces

    with _progress_bar("taking steps") as show_progress:
        return bench_search(job, searched_spaces(), on_progress=show_progress).summary()


def _bench_algorithms(job: BenchAlgorithmsJob) -> Sequence[str]:
    from nas.stages.bench_algorithms import bench_algorithms
    from search_spaces import all_spaces

    with _progress_bar("searching") as show_progress:
        return bench_algorithms(job, all_spaces(), on_progress=show_progress).summary()


def _bench_networks(job: BenchNetworksJob) -> Sequence[str]:
    from nas.stages.bench_networks import bench_networks
    from search_spaces import all_spaces

    with _progress_bar("timing networks") as show_progress:
        return bench_networks(job, all_spaces(), on_progress=show_progress).summary()


VERBS: dict[str, Verb] = {
    "search": Verb("search an architecture with cross-entropy and latency", jobs.SearchJob, _search),
    "derive": Verb("read the genotype off a search checkpoint", jobs.DeriveJob, _derive),
    "train": Verb("train a derived network", jobs.TrainJob, _train),
    "eval": Verb("measure mIoU and draw predictions of a trained network", jobs.EvalJob, _eval),
    "export": Verb("write a trained network as ONNX, checked against PyTorch", jobs.ExportJob, _export),
    "profile": Verb("measure a device into a latency table", measuring_jobs.ProfileJob, _profile, sweep_out="never", writes="file"),
    "show": Verb("show a genotype, a space, or what there is", jobs.ShowJob, _show, sweep_out="given", writes="nothing"),
    "predict": Verb("predict the latency of a genotype from a table", jobs.PredictJob, _predict, writes="named folder"),
    "report": Verb("write one HTML page of a run", jobs.ReportJob, _report_run, sweep_out="given"),
    "bench": Verb("time networks side by side: genotypes and ONNX files", BenchNetworksJob, _bench_networks),
}
"""The verbs, in the order in which one uses them."""


SUB_VERBS: dict[str, dict[str, Verb]] = {
    "profile": {
        "plan": Verb(
            "what would be measured, and how long it would take",
            measuring_jobs.ProfileJob,
            _plan,
            sweep_out="never",
            writes="nothing",
        ),
        "validate": Verb("time whole networks against the table, and calibrate it", measuring_jobs.ValidateJob, _validate),
        "import": Verb(
            "read the result of a bundle, or a published table", measuring_jobs.ImportJob, _import, sweep_out="never", writes="file"
        ),
        "devices": Verb(
            "list the latency tables at hand, and what they hold",
            measuring_jobs.DevicesJob,
            _devices,
            sweep_out="never",
            writes="nothing",
        ),
    },
    "bench": {
        "search": Verb(
            "time steps of searches side by side, with their memory",
            BenchSearchJob,
            _bench_search,
            sweep_out="never",
            writes="file",
        ),
        "algorithms": Verb(
            "compare search algorithms on a space whose networks are all trained", BenchAlgorithmsJob, _bench_algorithms
        ),
    },
}
"""Verb -> its sub-verbs."""


TAKES_RECIPES = ("search", "train", "profile", "profile plan", "profile validate")
"""The verbs with a config group `recipe`."""


def recipe_keys() -> tuple[str, ...]:
    """The sections and settings that a recipe may hold: those of any verb that takes recipes."""
    return tuple(dict.fromkeys(field.name for name in TAKES_RECIPES for field in fields(verb_of(name).job)))


def verb_of(name: str) -> Verb:
    """The verb of a name, which a sub-verb's may follow."""
    first, _, sub = name.partition(" ")
    return SUB_VERBS[first][sub] if sub else VERBS[first]


@contextmanager
def _progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left, fed with (done, total); lines where the output is not a terminal."""
    if not sys.stdout.isatty():
        yield progress_lines(title)
        return
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def progress_lines(
    title: str, *, interval_s: float = 10.0, clock: Callable[[], float] = time.monotonic
) -> Callable[[int, int], None]:
    """Lines of the logger `nas` with the time left: at the first news of (done, total), then one at most every `interval_s` s."""
    from nas.runs.progress import as_clock

    began_s, told_s = clock(), None

    def tell(done: int, total: int) -> None:
        nonlocal told_s
        now_s = clock()
        if told_s is not None and (now_s - told_s < interval_s or done >= total):
            return
        told_s = now_s
        left_s = (now_s - began_s) / done * (total - done) if done else None
        log.info("%s %d/%d, ETA %s", title, done, total, as_clock(left_s))

    return tell
