"""Stage `bench algorithms`: search algorithms side by side on a benchmark, whose networks are looked up instead of trained."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.config.bench_algorithms_job import BenchAlgorithmsJob
from nas.config.jobs import SearchJob
from nas.errors import ConfigError, UserError, WorkerStoppedError
from nas.files.atomic import write_bytes_atomic, write_text_atomic
from nas.probing.algorithms.algorithms_page import HEADER, LEGEND, algorithms_chart, algorithms_csv, algorithms_page, cells
from nas.probing.algorithms.discrete import Found, run_discrete
from nas.probing.algorithms.judging import RANDOM_RUNS, Judged, judge, ranked_networks
from nas.probing.algorithms.problem import Problem, problem_at
from nas.probing.algorithms.search_pool import search_pool, without_ctrl_c
from nas.probing.algorithms.search_process import Searched, prepared, read_searched, run_and_keep
from nas.probing.algorithms.supernet_searches import Algorithm, parse_algorithm, search_job
from nas.probing.algorithms.table_agreement import check_table
from nas.reports.text_table import text_table
from nas.runs.provenance import provenance
from nas.runs.rundir import held_to_go_on
from nas.space.benchmark import NETWORKS_FILE, Benchmark, load_benchmark
from nas.space.by_name import space_config
from nas.space.space_entry import SpaceEntry
from nas.worker.rounds import OnProgress

CSV, JSON, PNG, HTML = FILES = ("bench.csv", "bench.json", "bench.png", "bench.html")
FORMAT_VERSION = 3
"""The version of `bench.json`, and of the files of searches."""
SEARCHES = "searches"
"""Folder with a file for each search in earnest."""


@dataclass(frozen=True, slots=True)
class BenchAlgorithmsResult:
    """Algorithms that were compared.

    Args:
        out: Folder of the files.
        title: What was searched.
        found: The algorithms, the best first.
    """

    out: Path
    title: str
    found: Sequence[Judged]

    def summary(self) -> list[str]:
        """Lines for the terminal: the table, what its columns are, the files."""
        rows = text_table(HEADER, [cells(one) for one in self.found])
        return [self.title, *rows, "", *LEGEND, *(f"wrote {self.out / name}" for name in FILES)]


def bench_algorithms(
    job: BenchAlgorithmsJob, spaces: Mapping[str, SpaceEntry], *, on_progress: OnProgress | None = None
) -> BenchAlgorithmsResult:
    """Run algorithms on a benchmark with several seeds each, and write what they found.

    Args:
        job: Which algorithms, on what, how often.
        spaces: The search spaces by name.
        on_progress: See `OnProgress`.

    Raises:
        UserError: If the benchmark, an algorithm, a setting or the folder cannot be used.
        ResumableError: If a search stopped; with resume=auto the same command goes on with it.
    """
    algorithms = [parse_algorithm(text) for text in job.algorithms]
    benchmark = load_benchmark(job.benchmark)
    problem, space = _problem(job, benchmark), _space(benchmark, spaces)
    check_table(benchmark, problem.runtime, space, spaces)
    _check_searches(job, problem, algorithms, space)
    shared = {
        "format_version": FORMAT_VERSION,
        "benchmark": str(job.benchmark),
        "runtime": problem.runtime,
        "limit_ms": problem.limit_ms,
        "trainings": job.trainings,
        "epochs": job.epochs,
    }
    with held_to_go_on(job.out, "bench algorithms", shared, goes_on=job.resume == "auto") as out:
        searched = _searched(job, problem, algorithms, space, out, on_progress)
        runs = _runs(job, problem, algorithms, searched)
        longest = max(run[-1].seconds for given in runs.values() for run in given)
        found = judge(problem, runs, _chance(problem, longest, job.seeds), searched)
        title = _title(problem)
        content = {
            "format_version": FORMAT_VERSION,
            "measured_by": "nas bench algorithms",
            "versions": provenance(),
            "settings": {**shared, "seeds": job.seeds},
            "title": title,
            "best": benchmark.choices(benchmark.best(problem.limit_ms, problem.runtime)),
            "algorithms": [
                {**asdict(one), "mean": one.mean, "searches": [asdict(each) for each in searched.get(one.name, ())]}
                for one in found
            ],
        }
        write_text_atomic(out / CSV, algorithms_csv(found))
        write_text_atomic(out / JSON, json.dumps(content, indent=1, allow_nan=False) + "\n")
        write_bytes_atomic(out / PNG, algorithms_chart(found, title))
        write_text_atomic(out / HTML, algorithms_page(found, title))
        return BenchAlgorithmsResult(out, title, found)


def _problem(job: BenchAlgorithmsJob, benchmark: Benchmark) -> Problem:
    runtime = job.runtime or next(iter(benchmark.runtimes))
    return problem_at(benchmark, runtime, 0.5) if job.limit_ms is None else Problem(benchmark, runtime, job.limit_ms)


def _space(benchmark: Benchmark, spaces: Mapping[str, SpaceEntry]) -> Any:  # noqa: ANN401  the config of any space
    try:
        return space_config({**benchmark.space_config, "name": benchmark.space}, spaces)
    except (UserError, TypeError) as error:
        raise ConfigError(f"{benchmark.folder / NETWORKS_FILE}: space_config: {error}") from error


def _check_searches(job: BenchAlgorithmsJob, problem: Problem, algorithms: Sequence[Algorithm], space: object) -> None:
    """Make the task of each search and throw it away, so that none is refused after others have run."""
    for one in algorithms:
        if not one.is_discrete:
            settings = search_job(problem, one, space, seed=0, epochs=job.epochs, out=Path())
            try:
                prepared(settings)
            except UserError as error:
                raise ConfigError(f"algorithms: got {one.text!r}: {error}") from error


def _title(problem: Problem) -> str:
    benchmark = problem.benchmark
    best = benchmark.miou().mean(axis=1)[benchmark.best(problem.limit_ms, problem.runtime)]
    return (
        f"{benchmark.space}, at most {problem.limit_ms:.3f} ms on {problem.runtime}: {len(set(problem.allowed.values()))} of "
        f"{len(benchmark.networks)} networks, the best {100 * best:.2f} mIoU"
    )


def _chance(problem: Problem, seconds: float, first_seed: int) -> list[list[Found]]:
    """Runs of random search that are at least so long, with other seeds than those that are judged."""
    shortest = min(problem.benchmark.networks[number].training_s[-1] for number in problem.allowed.values())
    trainings = max(1, int(seconds / shortest) + 1)
    return [run_discrete("random", problem, trainings=trainings, seed=first_seed + seed) for seed in range(RANDOM_RUNS)]


def _searched(
    job: BenchAlgorithmsJob,
    problem: Problem,
    algorithms: Sequence[Algorithm],
    space: object,
    out: Path,
    on_progress: OnProgress | None,
) -> dict[str, list[Searched]]:
    """Algorithm -> what its searches in earnest found, by seed; none is made again where its file is there."""
    files: dict[str, list[Path]] = {}
    missing = {}
    for one in algorithms:
        if one.is_discrete:
            continue
        folder = out / SEARCHES / re.sub(r"[^\w.+=,-]", "_", one.text)
        files[one.text] = [folder / f"{seed}.json" for seed in range(job.seeds)]
        for seed, kept in enumerate(files[one.text]):
            if not kept.is_file():
                settings = search_job(problem, one, space, seed=seed, epochs=job.epochs, out=kept.with_suffix(""))
                missing[kept] = (settings, f"{one.text} with seed {seed}")
    ranked = [problem.benchmark.choices(number) for number in ranked_networks(problem.benchmark)]
    _search(missing, ranked, job.processes, on_progress, total=sum(map(len, files.values())))
    return {name: [read_searched(kept) for kept in paths] for name, paths in files.items()}


def _search(
    missing: Mapping[Path, tuple[SearchJob, str]],
    ranked: Sequence[Mapping[str, str]],
    processes: int,
    on_progress: OnProgress | None,
    *,
    total: int,
) -> None:
    """Search what is missing, and write its files."""
    if not missing:
        return
    try:
        with search_pool(processes) as pool:
            with without_ctrl_c():
                running = [pool.submit(run_and_keep, settings, kept, name, ranked) for kept, (settings, name) in missing.items()]
            for done, finished in enumerate(as_completed(running), start=1 + total - len(missing)):
                finished.result()
                if on_progress is not None:
                    on_progress(done, total)
    except BrokenProcessPool as error:
        raise WorkerStoppedError(
            "a process that searches has gone, of too little memory perhaps; the same command goes on with resume=auto"
        ) from error


def _runs(
    job: BenchAlgorithmsJob, problem: Problem, algorithms: Sequence[Algorithm], searched: Mapping[str, Sequence[Searched]]
) -> dict[str, list[list[Found]]]:
    """Algorithm -> what each of its runs would have given back after each training."""
    return {
        one.text: [run_discrete(one.base, problem, trainings=job.trainings, seed=seed) for seed in range(job.seeds)]
        if one.is_discrete
        else [[Found(each.seconds, problem.benchmark.number_of(each.choices))] for each in searched[one.text]]
        for one in algorithms
    }
