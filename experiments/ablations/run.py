"""The ablations of LGCNet, one command a table: search, train and evaluate every row with several seeds, then write the table.

    python experiments/ablations/run.py VI --root PATH_TO_CAMVID              # the reduced form, on a CPU
    python experiments/ablations/run.py VI --form full --root PATH --dry-run  # the paper's size: what would be run

Rows are Hydra multiruns over the seeds. Tables share the runs of equal rows; a stopped command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from run_folders import begun, where
from tables import TABLES, Row, Table

import nas
from nas.cost.deployed import expected_latency
from nas.cost.random_architecture import random_at_cost
from nas.space.design import design_of
from nas.space.genotype import Genotype, save_genotype
from search_spaces import all_spaces


@dataclass(frozen=True, slots=True)
class Form:
    """A size of the experiment.

    Args:
        data: Overrides of the data set, beside its root.
        deploy: Overrides of the deployed network.
        classes: Number of classes.
        search: Overrides of the search.
        train: Overrides of the training.
        space: Overrides of the space in every row.
        profile: Overrides of the measurement.
        test: Overrides of the evaluation, in place of those of the data: at the size that latency is measured at.
        split: The split that is evaluated; its labels are there.
    """

    data: tuple[str, ...]
    deploy: tuple[str, ...]
    classes: int
    search: tuple[str, ...]
    train: tuple[str, ...]
    space: tuple[str, ...] = ()
    profile: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    split: str = "test"


FORMS: dict[str, Form] = {
    "reduced": Form(
        data=("data=camvid", "data.size=[180,240]"),
        deploy=("deploy.input=[180,240]", "deploy.init_channels=16"),
        classes=11,
        search=("recipe=lgcnet_ablations",),
        train=("recipe=lgcnet_ablations",),
    ),
    "full": Form(
        data=("data=cityscapes", "data.size=[1024,2048]"),
        deploy=("deploy.input=[769,1537]",),
        classes=19,
        search=("recipe=lgcnet_cityscapes",),
        train=("recipe=lgcnet_cityscapes",),
        test=("data.size=[769,1537]",),  # predictions are then resized to the 1024x2048 of the labels
        split="val",  # the labels of test are not public
    ),
    "smoke": Form(
        data=("data=synthetic", "data.size=[33,47]", "data.train=4", "data.val=2", "data.test=2"),
        deploy=("deploy.input=[33,47]", "deploy.init_channels=2"),
        classes=11,
        search=("search.max_steps=2", "search.batch_size=2", "search.init_channels=2", "search.relaxation=sampled"),
        train=("train.max_steps=2", "train.batch_size=2", "train.loss=cross_entropy"),
        space=("space.head_channels=4",),
        profile=("rounds=1", "max_rounds=1"),
    ),
}
"""reduced: the proxy of experiments/lgcnet_camvid; full: the paper's size; smoke: two steps, for the tests."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a run of this script was asked for."""

    form: Form
    root: str | None
    out: Path
    seeds: tuple[int, ...]
    jobs: int
    dry_run: bool

    @property
    def table(self) -> Path:
        """The latency table that all rows add to."""
        return self.out / "table.json"

    def data(self) -> list[str]:
        """Overrides of the data set."""
        return [*self.form.data, *([f"data.root={self.root}"] if self.root else [])]

    def test(self) -> list[str]:
        """Overrides of the evaluation."""
        changed = {override.split("=")[0] for override in self.form.test}
        kept = [override for override in self.data() if override.split("=")[0] not in changed]
        return [*kept, *self.form.test, f"split={self.form.split}"]

    def folder(self, row: Row) -> Path:
        """Where a row's runs lie, the same for equal rows of different tables."""
        slug = "_".join(o.replace("space.", "").replace("latency.", "") for o in row.overrides) or "lgcnet"
        return self.out / "".join(c if c.isalnum() or c in "._-" else "-" for c in slug) / (row.random or "search")


def main(argv: Sequence[str] | None = None) -> None:
    """Run one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--form", default="reduced", choices=list(FORMS))
    parser.add_argument("--root", help="folder of the data set")
    parser.add_argument("--out", default="runs/ablations", type=Path, help="folder of all runs")
    parser.add_argument("--seeds", default="0,1", help="seeds, with commas")
    parser.add_argument("--jobs", default=2, type=int, help="rows at a time, one thread each")
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    given = parser.parse_args(argv)
    if given.root is None and given.form != "smoke":
        parser.error(f"--form {given.form} needs --root, the folder of the data set")
    seeds = tuple(int(seed) for seed in given.seeds.split(","))
    job = Job(FORMS[given.form], given.root, given.out, seeds, given.jobs, given.dry_run)
    table = TABLES[given.table]
    job.out.mkdir(parents=True, exist_ok=True)
    for row in table.rows:
        profile(row, job)
    with ThreadPoolExecutor(job.jobs) as pool:
        list(pool.map(lambda row: search(row, job), table.rows))
    with ThreadPoolExecutor(job.jobs) as pool:
        list(pool.map(lambda row: train(row, job), table.rows))
    if not job.dry_run:
        report(given.table, table, job)


def profile(row: Row, job: Job) -> None:
    """Measure what the table still lacks for a row's space."""
    space = [override for override in row.overrides if override.startswith("space.")]
    command = ["profile", "space=lgcnet", *job.form.space, *space, *job.form.deploy, f"num_classes={job.form.classes}"]
    run([*command, *job.form.profile, f"out={job.table}"], job)


def search(row: Row, job: Job) -> None:
    """Search with every seed, as one multirun; or draw at random."""
    missing = [seed for seed in job.seeds if not (job.folder(row) / str(seed) / "genotype.yaml").exists()]
    if not missing:
        return
    if row.random is not None:
        search(Row("LGCNet", row.overrides), job)
        for seed in missing if not job.dry_run else ():
            draw(row, job, seed)
        return
    settings = [*job.form.space, *job.data(), f"latency.table={job.table}", *job.form.deploy, *job.form.search]
    changed = {override.split("=")[0] for override in row.overrides}
    settings = [setting for setting in settings if setting.split("=")[0] not in changed]
    command = ["space=lgcnet", *settings, *row.overrides]
    stopped = [seed for seed in missing if begun(job.folder(row) / str(seed))]
    for seed in stopped:
        run(["search", *command, f"seed={seed}", where(job.folder(row) / str(seed))], job)
    if fresh := [seed for seed in missing if seed not in stopped]:
        sweep = [f"seed={','.join(map(str, fresh))}", f"hydra.sweep.dir={job.folder(row)}", "hydra.sweep.subdir=${seed}"]
        run(["search", "--multirun", *command, *sweep], job)


def draw(row: Row, job: Job, seed: int) -> None:
    """A random architecture of the searched one's space; `fast`: no slower than it, and no more than 10 % faster."""
    searched = nas.load_genotype(str(job.folder(Row("LGCNet", row.overrides)) / str(seed)))
    space = design_of(searched, all_spaces()).space
    generator = torch.Generator().manual_seed(1000 + seed)
    if row.random == "any":
        choices = space.random_choices(generator)
    else:
        deploy, table = searched.deploy, nas.load_table(job.table)
        target = 0.95 * nas.predict(searched, table).ms
        latency = expected_latency(space, deploy, table, given=str(job.table))
        choices = random_at_cost(space, latency, target=target, tolerance=0.05, generator=generator)
    genotype = Genotype(searched.space, searched.space_config, searched.deploy, choices, {"random": row.random, "seed": seed})
    folder = job.folder(row) / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    save_genotype(folder / "genotype.yaml", genotype)


def train(row: Row, job: Job) -> None:
    """Train and evaluate the network of every seed."""
    for seed in job.seeds:
        folder = job.folder(row) / str(seed)
        out = folder / "train"
        if not (out / "done.json").exists():
            genotype = folder / "genotype.yaml"
            run(["train", f"genotype={genotype}", *job.data(), *job.form.train, f"seed={seed}", where(out)], job)
        if not (out / "eval.json").exists():
            run(["eval", f"run={out}", *job.test(), "pictures=0", "trainer.threads=1"], job)


def report(name: str, table: Table, job: Job) -> None:
    """The table in the paper's layout, as Markdown and JSON, and a plot."""
    genotypes = {f"{job.folder(row)}/{seed}": _genotype(row, job, seed) for row in table.rows for seed in job.seeds}
    measured = nas.measure(genotypes)
    rows = []
    for row in table.rows:
        keys = [f"{job.folder(row)}/{seed}" for seed in job.seeds]
        evaluated = [json.loads((Path(key) / "train" / "eval.json").read_text()) for key in keys]
        rows.append(
            {
                "label": row.label,
                "miou": [100 * one["miou"] for one in evaluated],
                "ms": [measured[key] for key in keys],
                "parameters_m": [_parameters(genotypes[key]) for key in keys],
                "paper": row.paper,
            }
        )
    (job.out / f"{name}.json").write_text(json.dumps({"title": table.title, "seeds": job.seeds, "rows": rows}, indent=2) + "\n")
    text = markdown(table, rows)
    (job.out / f"{name}.md").write_text(text)
    plot(job.out / f"{name}.png", table, rows, split=job.form.split)
    print(text)


def markdown(table: Table, rows: Sequence[dict]) -> str:
    """The table with mean and standard deviation over the seeds."""
    lines = [
        f"| {table.column} | mIoU, % | parameters, M | measured ms | FPS | paper: mIoU, FPS |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        fps = [1000 / ms for ms in row["ms"]]
        paper = "-" if row["paper"] is None else f"{row['paper'][0]:.1f}, {row['paper'][1]:.1f}"
        cells = [_spread(row["miou"], 1), _spread(row["parameters_m"], 2), _spread(row["ms"], 1), _spread(fps, 0)]
        lines.append(f"| {row['label']} | {' | '.join(cells)} | {paper} |")
    return "\n".join(lines) + "\n"


def plot(path: Path, table: Table, rows: Sequence[dict], *, split: str) -> None:
    """MIoU against measured latency, one colour a row, one mark a seed."""
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "0"}):
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.subplots()
        for i, row in enumerate(rows):
            axes.scatter(row["ms"], row["miou"], color=f"C{i}", s=45, label=row["label"])
        axes.set_xlabel("measured latency, ms")
        axes.set_ylabel(f"{split} mIoU, %")
        axes.set_title(table.title)
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize=8)
        figure.savefig(path, dpi=110)


def run(command: Sequence[str], job: Job) -> None:
    """Run one nas command and show it."""
    print("nas", *command, flush=True)
    if not job.dry_run:
        subprocess.run([sys.executable, "-m", "nas", *command], check=True)


def _genotype(row: Row, job: Job, seed: int) -> Genotype:
    return nas.load_genotype(str(job.folder(row) / str(seed)))


def _parameters(genotype: Genotype) -> float:
    return sum(p.numel() for p in nas.build(genotype).parameters()) / 1e6


def _spread(values: Sequence[float], digits: int) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} +- {deviation:.{digits}f}"


if __name__ == "__main__":
    main()
