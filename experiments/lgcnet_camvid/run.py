"""LGCNet on CamVid, small enough for a CPU: validate the proxy, search, and compare with random architectures of equal latency.

Stages, in order; each skips what it finds done, so a stopped run goes on where it was:

    python experiments/lgcnet_camvid/run.py profile|proxy|search|random|train|report --root PATH_TO_CAMVID
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

import nas
from nas.cost.expected import ExpectedLatency
from nas.genotype import Deploy, Genotype, genotype_space, load_genotype, save_genotype
from nas.random_architecture import random_at_cost
from search_spaces import all_spaces

SIZE = "[180,240]"
DEPLOY = [f"deploy.input={SIZE}", "deploy.init_channels=16"]
TABLE = "table.json"
SEARCH = [
    "search.epochs=32",
    "search.warmup_epochs=24",
    "search.warmup_relaxation=sampled",
    "search.batch_size=4",
    "search.relaxation=hard",
    "search.tau_start=1.0",
    "search.tau_end=0.2",
    "search.arch_lr=3e-2",
    "search.communication_lr=1e-4",
    "search.weight_lr=0.05",
    "search.eval_every=4",
    "latency.weight=0.12",
]
TRAIN = ["train.epochs=15", "train.batch_size=8", "train.loss=cross_entropy", "train.lr=0.05", "train.eval_every=5"]
SEEDS = (0, 1)
PROXY_SEEDS = (0, 1, 2)
RANDOM = 3
TOLERANCE = 0.05
ROUNDS = 30


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("profile", "proxy", "search", "random", "train", "report"))
    parser.add_argument("--root", required=True, help="folder of CamVid")
    parser.add_argument("--out", default="runs/lgcnet_camvid", type=Path, help="folder of all runs")
    parser.add_argument("--jobs", default=2, type=int, help="trainings at a time, one thread each")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    stages = {
        "profile": profile,
        "proxy": proxy,
        "search": search,
        "random": draw_random,
        "train": train,
        "report": report,
    }
    stages[arguments.stage](arguments)


def profile(arguments: argparse.Namespace) -> None:
    """Measure this machine for the deployed shape."""
    nas_command(["profile", "space=lgcnet", *DEPLOY, "num_classes=11", f"out={arguments.out / TABLE}"])


def proxy(arguments: argparse.Namespace) -> None:
    """Train a network of convolutions only and one of skips only: a proxy in which they score alike is none."""
    jobs = []
    for name in ("conv_3x3", "skip_connect"):
        path = arguments.out / f"all_{name}.yaml"
        save_genotype(path, uniform_genotype(name))
        jobs += [(path, arguments.out / f"proxy_{name}_seed{seed}", seed) for seed in PROXY_SEEDS]
    train_all(jobs, arguments)


def search(arguments: argparse.Namespace) -> None:
    """Search with two seeds."""
    commands = []
    for seed in SEEDS:
        out = arguments.out / f"search_seed{seed}"
        if not (out / "genotype.yaml").exists():
            table = f"latency.table={arguments.out / TABLE}"
            commands.append(["search", "space=lgcnet", *data(arguments), table, *DEPLOY, *SEARCH, f"seed={seed}", f"out={out}"])
    run_all(commands, arguments.jobs)


def draw_random(arguments: argparse.Namespace) -> None:
    """For each searched network, random architectures whose predicted latency is within 5 % of its own."""
    table = nas.load_table(str(arguments.out / TABLE))
    for seed in SEEDS:
        searched = load_genotype(str(arguments.out / f"search_seed{seed}"), all_spaces())
        space = genotype_space(searched, all_spaces())
        deploy = searched.deploy
        graph = space.graph(input_size=deploy.input, init_channels=deploy.init_channels, num_classes=deploy.num_classes)
        latency = ExpectedLatency(graph, table.cost)
        target = nas.predict(searched, table).ms
        for number in range(RANDOM):
            generator = torch.Generator().manual_seed(1000 * seed + number)
            choices = random_at_cost(space, latency, target=target, tolerance=TOLERANCE, generator=generator)
            path = arguments.out / f"random_seed{seed}_{number}.yaml"
            save_genotype(path, with_choices(searched, choices, {"random": number, "of_seed": seed}))


def train(arguments: argparse.Namespace) -> None:
    """Train searched and random networks by the same recipe."""
    jobs = []
    for seed in SEEDS:
        jobs.append((arguments.out / f"search_seed{seed}" / "genotype.yaml", arguments.out / f"train_search_seed{seed}", seed))
        for number in range(RANDOM):
            path = arguments.out / f"random_seed{seed}_{number}.yaml"
            jobs.append((path, arguments.out / f"train_random_seed{seed}_{number}", seed))
    train_all(jobs, arguments)


def report(arguments: argparse.Namespace) -> None:
    """Measure the trained networks and write the tables."""
    table = nas.load_table(str(arguments.out / TABLE))
    runs = sorted(path.parent for path in arguments.out.glob("*/eval.json"))
    genotypes = {run.name: load_genotype(str(run), all_spaces()) for run in runs}
    measured = measure(genotypes)
    rows = []
    for run in runs:
        metrics = json.loads((run / "eval.json").read_text())
        network = nas.build(genotypes[run.name])
        rows.append(
            {
                "run": run.name,
                "miou": metrics["miou"],
                "predicted_ms": nas.predict(genotypes[run.name], table).ms,
                "measured_ms": measured[run.name],
                "parameters_m": sum(p.numel() for p in network.parameters()) / 1e6,
                "train_seconds": json.loads((run / "done.json").read_text())["seconds"],
            }
        )
    (arguments.out / "results.json").write_text(json.dumps(rows, indent=2) + "\n")
    print("| network | mIoU | predicted ms | measured ms | M parameters | training s |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['run']} | {row['miou']:.3f} | {row['predicted_ms']:.1f} | {row['measured_ms']:.1f}"
            f" | {row['parameters_m']:.2f} | {row['train_seconds']:.0f} |"
        )
    for group in (
        "proxy_conv_3x3",
        "proxy_skip_connect",
        "train_search",
        "train_random_seed0",
        "train_random_seed1",
        "train_random",
    ):
        values = [row["miou"] for row in rows if row["run"].startswith(group)]
        if len(values) > 1:
            print(f"{group}: mIoU {statistics.mean(values):.3f} +- {statistics.stdev(values):.3f} (n={len(values)})")


def measure(genotypes: Mapping[str, Genotype]) -> dict[str, float]:
    """Median ms from image to labels, one thread, one call of every network in turn."""
    torch.set_num_threads(1)
    networks = {name: nas.build(genotype).eval() for name, genotype in genotypes.items()}
    samples: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        for number in range(ROUNDS + 3):
            for name, network in networks.items():
                image = torch.zeros(1, 3, *genotypes[name].deploy.input)
                started = time.perf_counter()
                network.label_map(image)
                if number >= 3:
                    samples[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in samples.items()}


def uniform_genotype(option: str) -> Genotype:
    """All cell edges the same operation, the lightest fusion cell."""
    entry = all_spaces()["lgcnet"]
    space = entry.build(entry.config())
    choices = {}
    for choice in space.choices():
        fusion = "interpolate" if "interpolate" in choice.options else "conv_1x1"
        choices[choice.name] = option if choice.name.startswith("cells.") else fusion
    return Genotype(
        space="lgcnet",
        space_config=dataclasses.asdict(space.config),
        deploy=Deploy((180, 240), 16, 11),
        choices=choices,
        provenance={"all_cells": option},
    )


def with_choices(genotype: Genotype, choices: Mapping[str, str], provenance: Mapping[str, Any]) -> Genotype:
    """Another architecture of the same space and deployment."""
    return Genotype(
        space=genotype.space,
        space_config=genotype.space_config,
        deploy=genotype.deploy,
        choices=choices,
        provenance=provenance,
    )


def data(arguments: argparse.Namespace) -> list[str]:
    """Overrides of the data set."""
    return ["data=camvid", f"data.root={arguments.root}", f"data.size={SIZE}"]


def train_all(jobs: Sequence[tuple[Path, Path, int]], arguments: argparse.Namespace) -> None:
    """Train and evaluate (genotype, out, seed)."""
    commands = []
    for genotype, out, seed in jobs:
        if not (out / "done.json").exists():
            commands.append(["train", f"genotype={genotype}", *data(arguments), *TRAIN, f"seed={seed}", f"out={out}"])
    run_all(commands, arguments.jobs)
    run_all(
        [["eval", f"run={out}", *data(arguments)] for _, out, _ in jobs if not (out / "eval.json").exists()],
        arguments.jobs,
    )


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
