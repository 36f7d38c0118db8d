"""Stage `bench algorithms`: search algorithms side by side on a benchmark, whose networks are looked up instead of trained."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from nas.config.bench_algorithms_job import BenchAlgorithmsJob
from nas.data.synthetic import SyntheticConfig
from nas.files.atomic import write_bytes_atomic, write_text_atomic
from nas.probing.algorithms.algorithms_page import HEADER, LEGEND, algorithms_chart, algorithms_csv, algorithms_page, cells
from nas.probing.algorithms.discrete import Found, run_discrete
from nas.probing.algorithms.judging import RANDOM_RUNS, Judged, judge
from nas.probing.algorithms.problem import Problem, problem_at
from nas.probing.algorithms.scenes_on_disk import write_scenes
from nas.probing.algorithms.supernet_searches import Algorithm, parse_algorithm, run_search, search_command
from nas.reports.text_table import text_table
from nas.runs.provenance import provenance
from nas.runs.rundir import held_to_go_on
from nas.space.benchmark import Benchmark, read_benchmark
from nas.space.design import load_design
from nas.space.genotype import FILE_NAME
from nas.space.search_space import SpaceEntry
from nas.worker.rounds import OnProgress

CSV, JSON, PNG, HTML = FILES = ("bench.csv", "bench.json", "bench.png", "bench.html")
FORMAT_VERSION = 1
"""The version of `bench.json`."""
SCENES, SEARCHES = "scenes", "searches"
"""Folders of the images, and of a run for each search in earnest."""


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
    benchmark = read_benchmark(Path(job.benchmark))
    problem = _problem(job, benchmark)
    shared = {
        "benchmark": str(job.benchmark),
        "runtime": problem.runtime,
        "limit_ms": problem.limit_ms,
        "trainings": job.trainings,
        "epochs": job.epochs,
    }
    with held_to_go_on(job.out, "bench algorithms", shared, goes_on=job.resume == "auto") as out:
        runs = _runs(job, problem, algorithms, spaces, out, on_progress)
        longest = max(run[-1].seconds for given in runs.values() for run in given)
        found = judge(problem, runs, _chance(problem, longest, job.seeds))
        title = _title(problem)
        content = {
            "format_version": FORMAT_VERSION,
            "measured_by": "nas bench algorithms",
            "versions": provenance(),
            "settings": {**shared, "seeds": job.seeds},
            "title": title,
            "best": benchmark.choices(benchmark.best(problem.limit_ms, problem.runtime)),
            "algorithms": [{**asdict(one), "mean": one.mean} for one in found],
        }
        write_text_atomic(out / CSV, algorithms_csv(found))
        write_text_atomic(out / JSON, json.dumps(content, indent=1, allow_nan=False) + "\n")
        write_bytes_atomic(out / PNG, algorithms_chart(found, title))
        write_text_atomic(out / HTML, algorithms_page(found, title))
        return BenchAlgorithmsResult(out, title, found)


def _problem(job: BenchAlgorithmsJob, benchmark: Benchmark) -> Problem:
    runtime = job.runtime or next(iter(benchmark.runtimes))
    return problem_at(benchmark, runtime, 0.5) if job.limit_ms is None else Problem(benchmark, runtime, job.limit_ms)


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


def _runs(
    job: BenchAlgorithmsJob,
    problem: Problem,
    algorithms: Sequence[Algorithm],
    spaces: Mapping[str, SpaceEntry],
    out: Path,
    on_progress: OnProgress | None,
) -> dict[str, list[list[Found]]]:
    """Algorithm -> what each of its runs would have given back after each training."""
    runs = {
        one.text: [run_discrete(one.base, problem, trainings=job.trainings, seed=seed) for seed in range(job.seeds)]
        for one in algorithms
        if one.is_discrete
    }
    searches = [(one, seed) for one in algorithms if not one.is_discrete for seed in range(job.seeds)]
    if searches:
        write_scenes(SyntheticConfig(**problem.benchmark.training["data"]), out / SCENES)
    with ThreadPoolExecutor(job.processes) as pool:
        running = {pool.submit(_search, job, problem, one, seed, spaces, out): (one.text, seed) for one, seed in searches}
        found = {}
        try:
            for done, finished in enumerate(as_completed(running), start=1):
                found[running[finished]] = finished.result()
                if on_progress is not None:
                    on_progress(done, len(searches))
        finally:
            pool.shutdown(cancel_futures=True)
    for one in algorithms:
        if not one.is_discrete:
            runs[one.text] = [[found[one.text, seed]] for seed in range(job.seeds)]
    return runs


def _search(
    job: BenchAlgorithmsJob, problem: Problem, algorithm: Algorithm, seed: int, spaces: Mapping[str, SpaceEntry], out: Path
) -> Found:
    """What a search found; it is not made again where its file is there."""
    folder = out / SEARCHES / re.sub(r"[^\w.+=,-]", "_", algorithm.text) / str(seed)
    kept = folder.with_suffix(".json")
    if kept.is_file():
        return Found(**json.loads(kept.read_text(encoding="utf-8")))
    shutil.rmtree(folder, ignore_errors=True)  # of a search that was stopped: its cost is not known
    seconds = run_search(search_command(problem, algorithm, seed=seed, epochs=job.epochs, data=out / SCENES, out=folder))
    choices = load_design(str(folder / FILE_NAME), spaces).genotype.choices
    found = Found(seconds, problem.benchmark.number_of(choices))
    write_text_atomic(kept, json.dumps(asdict(found)) + "\n")
    return found
