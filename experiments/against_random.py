"""Does a search beat random networks of equal latency, and hand-made ones? Search, draw, train all by one recipe, measure.

    python experiments/against_random.py RECIPE STAGE --root PATH_TO_DATA

RECIPE is a YAML file, e.g. experiments/lgcnet_camvid/recipe.yaml. Stages, in order; each skips what it finds done, so a stopped run
goes on where it was: profile, proxy (if the recipe has one), search, random, train, report. The last one writes results.json,
summary.json and chart.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from matplotlib.figure import Figure
from run_folders import where
from scipy.stats import permutation_test

import nas
from nas.cost.deployed import expected_latency
from nas.cost.random_architecture import random_at_cost
from nas.reports.picture_bytes import figure_bytes
from nas.space.deployment import Deployment
from nas.space.design import design_of
from nas.space.genotype import Genotype, save_genotype
from search_spaces import all_spaces

TABLE = "table.json"
HAND_MADE = "train_by_hand_"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is compared and how.

    Args:
        space: Search space.
        num_classes: Classes of the data.
        data: Overrides of the data set.
        deploy: input and init_channels of the deployed network.
        search: Overrides of the search.
        train: Overrides of the training, the same for all networks.
        seeds: Seeds of the searches and of their controls.
        random: Controls of each search.
        tolerance: How far their predicted latency may be from the searched one's, as a share.
        proxy: Networks that are known to be strong or weak; a recipe in which they score alike tells nothing. Name -> what the
            names of decisions begin with -> options, of which each decision takes the first that it offers.
        proxy_seeds: Seeds of their trainings.
        runtime: Where latencies are those of.
        calibrate: Random networks of the space that the table is calibrated on; 0: none.
        hand_made: Published networks that are trained alike.
        hand_made_seeds: Seeds of their trainings.
    """

    space: str
    num_classes: int
    data: list[str]
    deploy: dict[str, Any]
    search: list[str]
    train: list[str]
    seeds: list[int]
    random: int
    tolerance: float
    proxy: dict[str, dict[str, list[str]]] = dataclasses.field(default_factory=dict)
    proxy_seeds: list[int] = dataclasses.field(default_factory=list)
    runtime: str = "torch-eager"
    calibrate: int = 0
    hand_made: list[str] = dataclasses.field(default_factory=list)
    hand_made_seeds: list[int] = dataclasses.field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """What a run of this script was asked for."""

    recipe: Recipe
    root: str | None
    out: Path
    jobs: int

    @property
    def data(self) -> list[str]:
        """Overrides of the data set."""
        return [*self.recipe.data, *([f"data.root={self.root}"] if self.root else [])]

    @property
    def deploy(self) -> list[str]:
        """Overrides of the deployed network."""
        return [f"deploy.{key}={value}".replace(" ", "") for key, value in self.recipe.deploy.items()]

    def searched(self, seed: int) -> Path:
        """Folder of a search."""
        return self.out / f"search_seed{seed}"

    def random(self, seed: int) -> list[Path]:
        """Genotypes of the controls of a search."""
        return [self.out / f"random_seed{seed}_{number}.yaml" for number in range(self.recipe.random)]


def main(argv: Sequence[str] | None = None) -> None:
    """Run one stage."""
    stages: dict[str, Callable[[Job], None]] = {
        "profile": profile,
        "proxy": proxy,
        "search": search,
        "random": draw_random,
        "train": train,
        "report": report,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("stage", choices=stages)
    parser.add_argument("--root", help="folder of the data set")
    parser.add_argument("--out", type=Path, help="folder of all runs; runs/NAME_OF_THE_RECIPE'S_FOLDER unless given")
    parser.add_argument("--jobs", default=2, type=int, help="runs at a time, one thread each")
    given = parser.parse_args(argv)
    recipe = Recipe(**yaml.safe_load(given.recipe.read_text()))
    if given.root is None and "data=synthetic" not in recipe.data:
        parser.error("--root, the folder of the data set, is needed with real images")
    job = Job(recipe, given.root, given.out or Path("runs") / given.recipe.parent.name, given.jobs)
    job.out.mkdir(parents=True, exist_ok=True)
    stages[given.stage](job)


def profile(job: Job) -> None:
    """Measure this machine for the deployed shape."""
    space, classes = f"space={job.recipe.space}", f"num_classes={job.recipe.num_classes}"
    nas_command(["profile", space, *job.deploy, classes, f"runtime={job.recipe.runtime}", f"out={job.out / TABLE}"])
    validated = job.out / "validate"
    if job.recipe.calibrate and not validated.exists():
        given = [f"latency.table={job.out / TABLE}", f"samples={job.recipe.calibrate}", f"out={validated}"]
        nas_command(["profile", "validate", space, *job.deploy, classes, *given])


def proxy(job: Job) -> None:
    """Train networks that are known to be strong or weak."""
    jobs = []
    for name in job.recipe.proxy:
        path = job.out / f"all_{name}.yaml"
        save_genotype(path, uniform_genotype(job.recipe, name))
        jobs += [(path, job.out / f"proxy_{name}_seed{seed}", seed) for seed in job.recipe.proxy_seeds]
    train_all(jobs, job)


def search(job: Job) -> None:
    """Search with every seed."""
    commands = []
    for seed in job.recipe.seeds:
        out = job.searched(seed)
        if not (out / "genotype.yaml").exists():
            settings = [*job.data, f"latency.table={job.out / TABLE}", *job.deploy, *job.recipe.search]
            commands.append(["search", f"space={job.recipe.space}", *settings, f"seed={seed}", where(out)])
    run_all(commands, job.jobs)


def draw_random(job: Job) -> None:
    """For each searched network, random architectures of nearly its predicted latency."""
    table = nas.load_table(str(job.out / TABLE))
    for seed in job.recipe.seeds:
        searched = nas.load_genotype(str(job.searched(seed)))
        space = design_of(searched, all_spaces()).space
        deploy = searched.deploy
        latency = expected_latency(space, deploy, table, given=str(job.out / TABLE))
        target = nas.predict(searched, table).ms
        for number, path in enumerate(job.random(seed)):
            generator = torch.Generator().manual_seed(1000 * seed + number)
            choices = random_at_cost(space, latency, target=target, tolerance=job.recipe.tolerance, generator=generator)
            provenance = {"random": number, "of_seed": seed}
            save_genotype(path, Genotype(searched.space, searched.space_config, deploy, choices, provenance))


def train(job: Job) -> None:
    """Train searched, random and hand-made networks by the same recipe."""
    jobs: list[tuple[Path | str, Path, int]] = []
    for seed in job.recipe.seeds:
        paths = [job.searched(seed) / "genotype.yaml", *job.random(seed)]
        names = [f"search_seed{seed}", *(path.stem for path in job.random(seed))]
        jobs += [(path, job.out / f"train_{name}", seed) for path, name in zip(paths, names, strict=True)]
    for seed in job.recipe.hand_made_seeds:
        jobs += [(name, job.out / f"{train_name(name)}_seed{seed}", seed) for name in job.recipe.hand_made]
    train_all(jobs, job)


def report(job: Job) -> None:
    """Measure the trained networks and write the tables."""
    table = nas.load_table(str(job.out / TABLE))
    runs = sorted(path.parent for path in job.out.glob("*/eval.json"))
    genotypes = {run.name: nas.load_genotype(str(run)) for run in runs}
    measured = nas.measure(genotypes, runtime=job.recipe.runtime)
    rows = []
    for run in runs:
        rows.append(
            {
                "run": run.name,
                "miou": json.loads((run / "eval.json").read_text())["miou"],
                "predicted_ms": None if run.name.startswith(HAND_MADE) else nas.predict(genotypes[run.name], table).ms,
                "measured_ms": measured[run.name],
                "parameters_m": sum(p.numel() for p in nas.build(genotypes[run.name]).parameters()) / 1e6,
                "train_seconds": json.loads((run / "done.json").read_text())["seconds"],
            }
        )
    (job.out / "results.json").write_text(json.dumps(rows, indent=2) + "\n")
    print("| network | mIoU | predicted ms | measured ms | M parameters | training s |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        predicted = "-" if row["predicted_ms"] is None else f"{row['predicted_ms']:.1f}"
        print(
            f"| {row['run']} | {row['miou']:.3f} | {predicted} | {row['measured_ms']:.1f}"
            f" | {row['parameters_m']:.2f} | {row['train_seconds']:.0f} |"
        )
    summary = summary_of(job, rows)
    (job.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    for name, group in summary.items():
        if isinstance(group, dict) and group["runs"] > 1:
            print(f"{name}: mIoU {group['mean']:.3f} +- {group['deviation']:.3f} (n={group['runs']}), {group['ms']:.1f} ms")
            if "p" in group:
                print(
                    f"  searched ones are {group['gain']:+.3f} above: p = {group['p']:.3g} (permutations of the means, one-sided)"
                )
    print(f"searches and trainings took {summary['hours']:.1f} h, each on one thread")
    (job.out / "chart.png").write_bytes(figure_bytes(chart(job, rows), dpi=120))


def summary_of(job: Job, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means with standard deviations of groups of runs, and whether searched networks are above the others.

    The p-value is that of a permutation test of the difference of means, one-sided.
    """
    searched = [row["miou"] for row in rows if row["run"].startswith("train_search")]
    names = [
        *(f"proxy_{name}" for name in job.recipe.proxy),
        "train_search",
        "train_random",
        *map(train_name, job.recipe.hand_made),
    ]
    hours = sum(seconds_of(path) for path in job.out.glob("*/done.json")) / 3600
    summary: dict[str, Any] = {"hours": hours}
    for name in [*names, *(f"train_random_seed{seed}" for seed in job.recipe.seeds)]:
        group = [row for row in rows if row["run"].startswith(f"{name}_")]
        if not group:
            continue
        values = [row["miou"] for row in group]
        summary[name] = {
            "runs": len(values),
            "mean": statistics.mean(values),
            "deviation": statistics.stdev(values) if len(values) > 1 else None,
            "ms": statistics.mean(row["measured_ms"] for row in group),
        }
        if not name.startswith("train_search") and len(searched) > 1 and len(values) > 1:
            summary[name]["gain"] = statistics.mean(searched) - statistics.mean(values)
            summary[name]["p"] = float(
                permutation_test((searched, values), difference_of_means, alternative="greater", n_resamples=99_999, rng=0).pvalue
            )
    return summary


def difference_of_means(one: Any, other: Any, axis: int = -1) -> Any:  # noqa: ANN401
    """Mean of one minus mean of the other."""
    return np.mean(one, axis=axis) - np.mean(other, axis=axis)


def seconds_of(path: Path) -> float:
    """Seconds of a finished run."""
    return float(json.loads(path.read_text())["seconds"])


def chart(job: Job, rows: Sequence[dict[str, Any]]) -> Figure:
    """Test mIoU over measured ms: searched, random and hand-made networks."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for label, prefix, marker in (("random", "train_random", "x"), ("searched", "train_search", "o")):
        group = [row for row in rows if row["run"].startswith(prefix)]
        axes.plot([row["measured_ms"] for row in group], [100 * row["miou"] for row in group], marker, label=label)
    for name in job.recipe.hand_made:
        group = [row for row in rows if row["run"].startswith(f"{train_name(name)}_")]
        if group:
            miou = [100 * row["miou"] for row in group]
            x, y = statistics.mean(row["measured_ms"] for row in group), statistics.mean(miou)
            axes.errorbar(x, y, yerr=[[y - min(miou)], [max(miou) - y]], fmt="s", color="tab:gray", capsize=3)
            axes.annotate(name.rpartition("/")[2], (x, y), xytext=(5, 3), textcoords="offset points", fontsize=8)
    axes.set(xlabel=f"measured ms ({job.recipe.runtime}, one thread)", ylabel="test mIoU, %")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def train_name(name: str) -> str:
    """What the folders of a published network's trainings begin with."""
    return f"{HAND_MADE}{name.replace('/', '_')}"


def uniform_genotype(recipe: Recipe, name: str) -> Genotype:
    """A network of the proxy."""
    entry = all_spaces()[recipe.space]
    space = entry.build(entry.config())
    choices = {}
    for choice in space.choices():
        wanted = next(options for prefix, options in recipe.proxy[name].items() if choice.name.startswith(prefix))
        choices[choice.name] = next(option for option in wanted if option in choice.options)
    height, width = recipe.deploy["input"]
    deploy = Deployment((height, width), recipe.deploy["init_channels"], recipe.num_classes)
    return Genotype(recipe.space, dataclasses.asdict(space.config), deploy, choices, {"all": name})


def train_all(jobs: Sequence[tuple[Path | str, Path, int]], job: Job) -> None:
    """Train and evaluate (genotype, out, seed)."""
    commands = []
    for genotype, out, seed in jobs:
        if not (out / "done.json").exists():
            commands.append(["train", f"genotype={genotype}", *job.data, *job.recipe.train, f"seed={seed}", where(out)])
    run_all(commands, job.jobs)
    run_all([["eval", f"run={out}", *job.data] for _, out, _ in jobs if not (out / "eval.json").exists()], job.jobs)


def run_all(commands: Sequence[Sequence[str]], jobs: int) -> None:
    """Run nas commands, some at a time, one thread each."""
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(nas_command, commands))


def nas_command(command: Sequence[str]) -> None:
    """Run one nas command and show it."""
    print("nas", *command, flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "nas", *command], check=True, env=environment)


if __name__ == "__main__":
    main()
