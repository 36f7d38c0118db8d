"""Time and memory of a step of FasterSeg's search against the plain supernet, which does what the official code does.

python experiments/fasterseg_step/run.py [--form full|smoke] [--repeats 5] [--out FILE.json]

A step is one architecture step and one weight step of four passes each. Each contestant is a process of its own with one thread;
they take their steps in turn, so that what else the machine does meets all of them. Where `--out` is given, all times are stored.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_step import PlainSearch
from plain_supernet import PlainSupernet
from same_search import plain_of, same_widths

import nas
from nas.config.jobs import SearchJob
from nas.config.settings import DeploySettings, LatencySettings, SearchSettings, TrainerSettings
from nas.data.dataset import Frame, SegmentationDataset
from nas.data.synthetic import SyntheticConfig
from nas.distributed.fabric import make_fabric
from nas.supernet.draw_plan import DrawPlan
from nas.supernet.passes import passes_of
from nas.supernet.search_task import SearchTask
from search_spaces.fasterseg.config import FasterSegConfig
from search_spaces.squeezenas.config import SqueezeNASSmallConfig

OFFICIAL_S = {"fasterseg": 21.1, "squeezenas": 0.91}
"""The official code's step on this class of machine, one thread."""
OFFICIAL_GB = 3.9
CONTESTANTS = ("plain", "ours", "yardstick")
BATCH = 2
HELD_OUT_NOISE = 2**31
"""What `nas.supernet.steps` adds to the step for the draws of held-out batches."""


@dataclass(frozen=True)
class Form:
    """Sizes of a benchmark; sizes are (height, width)."""

    size: tuple[int, int]
    layers: int
    filters: int
    classes: int
    yardstick_size: tuple[int, int]
    warmup: int


FORMS = {
    "full": Form(size=(64, 128), layers=16, filters=12, classes=19, yardstick_size=(128, 256), warmup=1),
    "smoke": Form(size=(32, 64), layers=3, filters=1, classes=3, yardstick_size=(32, 64), warmup=1),
}

Step = Callable[[int], list[float]]
"""Takes the step of a number; the losses of architecture and weights."""


class RandomImages(SegmentationDataset):
    """Noise with random labels, a pure function of the index."""

    def __init__(self, size: tuple[int, int], classes: int) -> None:
        self._size, self.split = size, "train"
        self.classes = tuple(f"class{k}" for k in range(classes))
        self.palette = np.zeros((classes, 3), dtype=np.uint8)

    def __len__(self) -> int:
        """Batches of both halves."""
        return 4 * BATCH

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self._size

    def name(self, index: int) -> str:
        """The index."""
        return f"noise{index}"

    def load(self, index: int) -> Frame:
        """An image and its labels."""
        generator = np.random.default_rng(index)
        image = generator.integers(0, 256, (*self._size, 3), dtype=np.uint8)
        return image, generator.integers(0, len(self.classes), self._size, dtype=np.uint8)

    def scan(self) -> None:
        """Nothing to check."""


def settings() -> SearchSettings:
    """Those of conf/recipe/fasterseg.yaml that a step depends on."""
    return SearchSettings(
        level="bilevel", batch_size=BATCH, loss="ohem", tau_end=1.0, weight_lr=0.02, weight_decay=5e-4, arch_lr=3e-4,
        arch_weight_decay=0.0, weight_lr_end=0.02,
    )  # fmt: skip


def space_config(form: Form) -> FasterSegConfig:
    """The space of a form."""
    widths = [4, 6, 8, 10, 12] if form.filters == 12 else [6, 12]
    return FasterSegConfig(layers=form.layers, filters=form.filters, widths=widths, student_width=widths[len(widths) // 2])


def task_of(config: Any, search: SearchSettings, size: tuple[int, int], classes: int) -> SearchTask:
    """A search on noise, latency apart."""
    trainer = TrainerSettings(accelerator="cpu", threads=1)
    job = SearchJob(
        space=config,
        data=SyntheticConfig(),
        search=search,
        latency=LatencySettings(table="none"),
        deploy=DeploySettings(),
        trainer=trainer,
    )
    torch.manual_seed(0)
    data = RandomImages(size, classes)
    return SearchTask(job, nas.build_space(config), train_set=data, val_set=data, fabric=make_fabric(trainer))


def batch(form: Form, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of a step."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(form.classes, (BATCH, *form.size), generator=generator)
    return torch.randn(BATCH, 3, *form.size, generator=generator), labels


def plain_step(search: PlainSearch, form: Form, held_out: Callable[[int], tuple[torch.Tensor, torch.Tensor]]) -> Step:
    """Steps of the plain supernet with the draws of a search."""
    space = nas.build_space(space_config(form))
    warmup, usual = passes_of(settings(), space)
    plan = DrawPlan(
        settings=settings(), seed=0, warmup_steps=0, total_steps=100, per_image=False, warmup_passes=warmup, passes=usual
    )

    def step(number: int) -> list[float]:
        losses = []
        for offset, take in ((HELD_OUT_NOISE, search.architecture_step), (0, search.weight_step)):
            passes = [(draw.architecture, same_widths(draw, search.plain)) for draw in plan.of_step(number, offset=offset)]
            images, labels = held_out(number) if offset else batch(form, number)
            losses.append(take(images, labels, passes))
        return losses

    return step


def ours_step(task: SearchTask, form: Form) -> Step:
    """Steps of the search."""

    def step(number: int) -> list[float]:
        row, _ = task.step(*batch(form, number), number)
        return [float(row["holdout_loss"]), float(row["loss"])]

    return step


def contestant(name: str, form: Form) -> Step:
    """What a worker does, from nothing."""
    if name == "yardstick":
        search = SearchSettings(batch_size=BATCH, relaxation="soft")
        task = task_of(SqueezeNASSmallConfig(), search, form.yardstick_size, form.classes)
        other = Form(**{**asdict(form), "size": form.yardstick_size})
        return lambda number: [float(task.step(*batch(other, number), number)[0]["loss"])]
    if name == "ours":
        return ours_step(task_of(space_config(form), settings(), form.size, form.classes), form)
    config = space_config(form)
    sets = {"teacher": (config.widths[-1], 1), "student": (config.student_width, len(config.widths))}
    torch.manual_seed(0)
    plain = PlainSupernet(layers=form.layers, filters=form.filters, widths=config.widths, classes=form.classes, sets=sets)
    return plain_step(PlainSearch(plain), form, lambda number: batch(form, number + 1000))


def compare(form: Form) -> dict[str, list[float]]:
    """Losses of a step of both with the same weights, draws and batches: architecture step, then weight step."""
    task = task_of(space_config(form), settings(), form.size, form.classes)
    plain = PlainSearch(plain_of(task.supernet, filters=form.filters, classes=form.classes))
    assert task.held_out is not None
    expected = plain_step(plain, form, task.held_out.batch)(0)
    del plain
    gc.collect()
    return {"plain": expected, "ours": ours_step(task, form)(0)}


def work(name: str, form: Form, parent: Connection) -> None:
    """In a process of its own: take a step for each number that comes, and state what it took."""
    torch.set_num_threads(1)
    if name == "losses":
        parent.send(compare(form))
        return
    step = contestant(name, form)
    while (number := parent.recv()) is not None:
        started = time.perf_counter()
        step(number)
        seconds = time.perf_counter() - started
        parent.send({"seconds": seconds, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9})


def start(name: str, form: Form) -> Connection:
    """A process for a contestant, which has what is imported here; a message to it is the number of a step, or None to end."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    context.Process(target=work, args=(name, form, theirs), daemon=True).start()
    theirs.close()
    return ours


def measure(form: Form, repeats: int) -> dict[str, dict[str, Any]]:
    """Times and peaks of all contestants, step by step in turn, after a warm-up that does not count."""
    workers = {name: start(name, form) for name in CONTESTANTS}
    results: dict[str, dict[str, Any]] = {name: {"seconds": []} for name in workers}
    for number in range(form.warmup + repeats):
        for name, worker in workers.items():
            worker.send(number)
            answer = worker.recv()
            results[name]["peak_gb"] = answer["peak_gb"]
            if number >= form.warmup:
                results[name]["seconds"].append(answer["seconds"])
    for worker in workers.values():
        worker.send(None)
    return results


def report(results: dict[str, dict[str, Any]], losses: dict[str, list[float]]) -> str:
    """The table of the README."""
    lines = ["| | median s a step | least | most | peak memory, GB |", "|---|---|---|---|---|"]
    medians = {name: statistics.median(row["seconds"]) for name, row in results.items()}
    for name, row in results.items():
        least, most = min(row["seconds"]), max(row["seconds"])
        lines.append(f"| {name} | {medians[name]:.3f} | {least:.3f} | {most:.3f} | {row['peak_gb']:.2f} |")
    official = medians["yardstick"] / OFFICIAL_S["squeezenas"] * OFFICIAL_S["fasterseg"]
    lines += [
        "",
        f"ours / plain: {medians['ours'] / medians['plain']:.3f}",
        f"ours / official by the yardstick: {medians['ours'] / official:.3f} (official: {official:.1f} s here)",
        f"memory ours / official: {results['ours']['peak_gb'] / OFFICIAL_GB:.2f}",
    ]
    for name, pair in losses.items():
        lines.append(f"losses, {name}: architecture step {pair[0]:.6f}, weight step {pair[1]:.6f}")
    return "\n".join(lines)


def main() -> None:
    """Compare the losses, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", choices=FORMS, default="full")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="file for all times")
    given = parser.parse_args()
    form = FORMS[given.form]
    losses = start("losses", form).recv()
    results = measure(form, given.repeats)
    print(report(results, losses))
    if given.out is not None:
        given.out.write_text(json.dumps({"form": given.form, "results": results, "losses": losses}, indent=2) + "\n")


if __name__ == "__main__":
    main()
