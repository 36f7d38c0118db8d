"""Does a search beat random networks of equal latency? Search, draw, train all by one recipe, evaluate, measure.

    python experiments/against_random.py RECIPE STAGE --root PATH_TO_DATA

RECIPE is a YAML file, e.g. experiments/lgcnet_camvid/recipe.yaml. Stages, in order; each skips what it finds done, so a stopped run
goes on where it was: profile, proxy (if the recipe has one), search, random, train, report.
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

import torch
import yaml
from run_folders import where

import nas
from nas.cost.expected import ExpectedLatency
from nas.cost.random_architecture import random_at_cost
from nas.space.deployment import Deployment
from nas.space.design import design_of
from nas.space.genotype import Genotype, save_genotype
from search_spaces import all_spaces

TABLE = "table.json"


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
    nas_command(["profile", space, *job.deploy, classes, f"out={job.out / TABLE}"])


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
        graph = space.graph(deploy)
        latency = ExpectedLatency(graph, table.cost)
        target = nas.predict(searched, table).ms
        for number, path in enumerate(job.random(seed)):
            generator = torch.Generator().manual_seed(1000 * seed + number)
            choices = random_at_cost(space, latency, target=target, tolerance=job.recipe.tolerance, generator=generator)
            provenance = {"random": number, "of_seed": seed}
            save_genotype(path, Genotype(searched.space, searched.space_config, deploy, choices, provenance))


def train(job: Job) -> None:
    """Train searched and random networks by the same recipe."""
    jobs = []
    for seed in job.recipe.seeds:
        paths = [job.searched(seed) / "genotype.yaml", *job.random(seed)]
        names = [f"search_seed{seed}", *(path.stem for path in job.random(seed))]
        jobs += [(path, job.out / f"train_{name}", seed) for path, name in zip(paths, names, strict=True)]
    train_all(jobs, job)


def report(job: Job) -> None:
    """Measure the trained networks and write the tables."""
    table = nas.load_table(str(job.out / TABLE))
    runs = sorted(path.parent for path in job.out.glob("*/eval.json"))
    genotypes = {run.name: nas.load_genotype(str(run)) for run in runs}
    measured = nas.measure(genotypes)
    rows = []
    for run in runs:
        rows.append(
            {
                "run": run.name,
                "miou": json.loads((run / "eval.json").read_text())["miou"],
                "predicted_ms": nas.predict(genotypes[run.name], table).ms,
                "measured_ms": measured[run.name],
                "parameters_m": sum(p.numel() for p in nas.build(genotypes[run.name]).parameters()) / 1e6,
                "train_seconds": json.loads((run / "done.json").read_text())["seconds"],
            }
        )
    (job.out / "results.json").write_text(json.dumps(rows, indent=2) + "\n")
    print("| network | mIoU | predicted ms | measured ms | M parameters | training s |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['run']} | {row['miou']:.3f} | {row['predicted_ms']:.1f} | {row['measured_ms']:.1f}"
            f" | {row['parameters_m']:.2f} | {row['train_seconds']:.0f} |"
        )
    groups = [*(f"proxy_{name}" for name in job.recipe.proxy), "train_search", "train_random"]
    for group in [*groups, *(f"train_random_seed{seed}" for seed in job.recipe.seeds)]:
        values = [row["miou"] for row in rows if row["run"].startswith(group)]
        if len(values) > 1:
            print(f"{group}: mIoU {statistics.mean(values):.3f} +- {statistics.stdev(values):.3f} (n={len(values)})")


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


def train_all(jobs: Sequence[tuple[Path, Path, int]], job: Job) -> None:
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
