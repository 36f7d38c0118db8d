"""Train and time every network of `space=mini`: a benchmark of search algorithms (`nas.space.benchmark`).

    python experiments/mini/run.py --jobs 2                       # some three core-hours
    python experiments/mini/run.py --form smoke --out SOME_FOLDER  # a space of a few networks, for the tests

A stopped command goes on with the next training or table. Writes OUT/benchmark (networks.json.gz and a latency table a runtime),
and what says how well the benchmark tells networks apart: summary.json and chart.png.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import write_report
from training import train_together

from nas.config.jobs import TrainJob
from nas.config.train_settings import TrainSettings
from nas.cost.genotype_latency import predict
from nas.cost.latency_table import read_table
from nas.data.synthetic import SyntheticConfig
from nas.files.atomic import write_bytes_atomic, write_text_atomic
from nas.files.strict_json import parse_strict
from nas.reports.network_summary import count_macs, count_parameters
from nas.space.benchmark import FORMAT_VERSION, NETWORKS_FILE, read_benchmark
from nas.space.deployment import Deployment
from nas.space.design import Design
from nas.space.distinct import distinct_networks
from nas.space.genotype import Genotype, save_genotype
from nas.space.search_space import SearchSpace
from search_spaces import SEARCH_SPACES

SPACE = "mini"


@dataclass(frozen=True, slots=True)
class Form:
    """Size of the experiment.

    Args:
        space: Settings of the space that differ from its own.
        deploy: What networks are timed for.
        data: The scenes.
        train: The training, but for its epochs.
        seeds: Epochs of the trainings -> their seeds.
        together: Networks that are trained on the same batches.
        runtimes: What times the networks.
        rounds: Rounds over operations and over networks.
    """

    space: dict[str, Any]
    deploy: Deployment
    data: SyntheticConfig
    train: TrainSettings
    seeds: dict[int, tuple[int, ...]]
    together: int
    runtimes: tuple[str, ...]
    rounds: int


_TRAIN = TrainSettings(batch_size=16, loss="cross_entropy", lr=0.05, eval_every=0)
FORMS = {
    "full": Form(
        space={},
        deploy=Deployment((192, 256), 16, 11),
        data=SyntheticConfig(size=[32, 40], train=1024, val=512),
        train=_TRAIN,
        seeds={3: (0, 1), 10: (0, 1, 2, 3, 4)},
        together=16,
        runtimes=("onnxruntime", "torch-eager"),
        rounds=10,
    ),
    "smoke": Form(
        space={"ops": ["none", "skip_connect"]},
        deploy=Deployment((32, 48), 4, 11),
        data=SyntheticConfig(size=[16, 24], train=4, val=2),
        train=replace(_TRAIN, batch_size=2),
        seeds={1: (0, 1), 2: (0, 1, 2)},
        together=9,
        runtimes=("torch-eager",),
        rounds=1,
    ),
}


@dataclass(frozen=True, slots=True)
class Task:
    """Trainings on the same batches.

    Args:
        form: Name of the form.
        epochs: Length.
        seed: Seed.
        numbers: Networks.
    """

    form: str
    epochs: int
    seed: int
    numbers: tuple[int, ...]

    @property
    def file_name(self) -> str:
        """The file of its scores."""
        return f"{self.epochs}_{self.seed}_{self.numbers[0]:03d}.json"


def main(argv: Sequence[str] | None = None) -> None:
    """Train and time what is not there yet, and write the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", choices=FORMS, default="full")
    parser.add_argument("--out", type=Path, default=Path("runs") / "mini")
    parser.add_argument("--jobs", type=int, default=1, help="processes that train")
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    train_all(given.form, given.out / "trained", jobs=given.jobs)
    folder = given.out / "benchmark"
    folder.mkdir(exist_ok=True)
    write_benchmark(FORMS[given.form], given.out, folder)
    print(json.dumps(write_report(read_benchmark(folder), given.out), indent=1))


def architectures(form: Form) -> list[list[dict[str, str]]]:
    """The architectures of the space, those of one network together."""
    return [[dict(one) for one in alike] for alike in distinct_networks(_space(form), form.deploy)]


def _space(form: Form) -> SearchSpace:
    entry = SEARCH_SPACES[SPACE]
    return entry.build(entry.config(**form.space))


def design_of(form: Form, choices: dict[str, str]) -> Design:
    """The network of an architecture."""
    space = _space(form)
    return Design(Genotype(SPACE, asdict(space.config), form.deploy, choices, {}), space)


def train_all(name: str, folder: Path, *, jobs: int) -> None:
    """Train every network for every budget and seed; what a file of the folder has is not trained again."""
    folder.mkdir(exist_ok=True)
    form = FORMS[name]
    count = len(architectures(form))
    groups = -(-count // form.together)
    tasks = [
        Task(name, epochs, seed, tuple(range(first, count, groups)))
        for epochs in reversed(form.seeds)  # the longest first: they alone say what the networks are worth
        for first in range(groups)
        for seed in form.seeds[epochs]
    ]
    missing = [task for task in tasks if not (folder / task.file_name).is_file()]
    print(f"{len(tasks) - len(missing)} of {len(tasks)} files of trainings are there", flush=True)
    for task, found in _trained(missing, jobs=jobs):
        write_text_atomic(folder / task.file_name, json.dumps(dict(zip(task.numbers, found, strict=True))) + "\n")
        print(f"trained {task.file_name}", flush=True)


def _trained(tasks: Sequence[Task], *, jobs: int) -> Iterator[tuple[Task, list[tuple[float, float]]]]:
    """Tasks with their scores, as they end."""
    if jobs == 1:
        yield from ((task, train_task(task)) for task in tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(train_task, task): task for task in tasks}
        yield from ((running[finished], finished.result()) for finished in as_completed(running))


def train_task(task: Task) -> list[tuple[float, float]]:
    """The scores and CPU seconds of the networks of a task, in its order."""
    form = FORMS[task.form]
    job = TrainJob(genotype=SPACE, data=form.data, train=replace(form.train, epochs=task.epochs), seed=task.seed)
    alike = architectures(form)
    return train_together([design_of(form, alike[number][0]) for number in task.numbers], job)


def trainings_of(form: Form, folder: Path) -> dict[tuple[int, int, int], tuple[float, float]]:
    """(epochs, seed, network) -> validation mIoU, CPU seconds."""
    scores = {}
    for epochs, seeds in form.seeds.items():
        for seed in seeds:
            for path in folder.glob(f"{epochs}_{seed}_*.json"):
                for number, found in json.loads(path.read_text(encoding="utf-8")).items():
                    scores[epochs, seed, int(number)] = tuple(found)
    return scores


def run(command: Sequence[str]) -> None:
    """Run a command of nas."""
    subprocess.run([sys.executable, "-m", "nas", *command], check=True)


def time_all(form: Form, out: Path, runtime: str) -> tuple[Path, list[float], dict[str, Any]]:
    """The latency table of the space's operations, the median ms of each whole network, and what they were timed on."""
    files = []
    for number, alike in enumerate(architectures(form)):
        files.append(out / "networks" / f"{number:03d}.yaml")
        save_genotype(files[-1], design_of(form, alike[0]).genotype)
    table, bench = out / "benchmark" / f"{runtime}.json", out / f"bench_{runtime}"
    deployed = (f"runtime={runtime}", f"rounds={form.rounds}")
    height, width = form.deploy.input
    if not table.is_file():
        shape = (f"deploy.input=[{height},{width}]", f"deploy.init_channels={form.deploy.init_channels}")
        space = [f"space.{key}=[{','.join(value)}]" for key, value in form.space.items()]
        run(["profile", f"space={SPACE}", *space, *shape, f"num_classes={form.deploy.num_classes}", *deployed, f"out={table}"])
    if not (bench / "bench.json").is_file():
        networks = f"networks=[{','.join(map(str, files))}]"
        run(
            [
                "bench",
                networks,
                f"num_classes={form.deploy.num_classes}",
                *deployed,
                f"latency.table={table}",
                "bench.processing=false",
                f"out={bench}",
            ]
        )
    content: Any = parse_strict((bench / "bench.json").read_text(encoding="utf-8"))
    (block,) = content["blocks"]
    times = {one["network"]: one["median_ms"] for one in block["networks"]}
    return table, [times[str(path)] for path in files], content


def write_benchmark(form: Form, out: Path, folder: Path) -> None:
    """Time the networks where they were not yet, and write networks.json.gz."""
    (out / "networks").mkdir(exist_ok=True)
    space, alike = _space(form), architectures(form)
    options = {name: list(given) for name, given in space.genotype_choices().items() if len(given) > 1}
    designs = [design_of(form, choices[0]) for choices in alike]
    trainings = trainings_of(form, out / "trained")
    measured, predicted, facts = [], [], {}
    for runtime in form.runtimes:
        path, times, content = time_all(form, out, runtime)
        table = read_table(path)
        measured.append(times)
        predicted.append([round(predict(design, table).ms, 6) for design in designs])
        facts[runtime] = _facts(content)
    networks = [
        {
            "architectures": ["".join(str(options[name].index(one[name])) for name in options) for one in alike[number]],
            "parameters": sum(count_parameters(design.graph.deployed()).values()),
            "macs": sum(count_macs(design.graph).values()),
            "miou": [[round(trainings[epochs, seed, number][0], 6) for seed in seeds] for epochs, seeds in form.seeds.items()],
            "training_s": [
                round(fmean(trainings[epochs, seed, number][1] for seed in seeds), 3) for epochs, seeds in form.seeds.items()
            ],
            "measured_ms": [round(times[number], 6) for times in measured],
            "predicted_ms": [times[number] for times in predicted],
        }
        for number, design in enumerate(designs)
    ]
    training = {key: value for key, value in asdict(form.train).items() if key != "epochs"}
    content = {
        "format_version": FORMAT_VERSION,
        "space": SPACE,
        "space_config": asdict(space.config),
        "deploy": asdict(form.deploy),
        "training": {"data": asdict(form.data), "train": training},
        "budgets": list(form.seeds),
        "seeds": list(form.seeds.values()),
        "runtimes": facts,
        "decisions": options,
        "networks": networks,
    }
    text = json.dumps(content, separators=(",", ":"))
    write_bytes_atomic(folder / NETWORKS_FILE, gzip.compress(text.encode(), mtime=0))


def _facts(content: dict[str, Any]) -> dict[str, Any]:
    """What the networks were timed on."""
    (block,) = content["blocks"]
    runtime = block["runtime"]
    return {
        "device": block["device"]["name"],
        "threads": runtime["threads"],
        "version": runtime["version"],
        "measured_at": content["measured_at"],
        "noise_floor": block["noise_floor"],
    }


if __name__ == "__main__":
    main()
