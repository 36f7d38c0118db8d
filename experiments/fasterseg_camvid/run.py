"""FasterSeg's co-search on CamVid: teacher and student from one supernet, both trained, the student with the teacher and without.

    python experiments/fasterseg_camvid/run.py --root PATH_TO_CAMVID            # two seeds, on a CPU
    python experiments/fasterseg_camvid/run.py --root PATH_TO_CAMVID --seeds 1  # the part of one seed
    python experiments/fasterseg_camvid/run.py --form smoke --out SOME_FOLDER   # two steps each, for the tests

A stopped command goes on where it was. Writes report.md and report.json beside the runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from run_folders import where

import nas
from nas.runs.tracking import read_metrics

TRAININGS = ("teacher", "student", "distilled")
"""What is trained of each search: its two networks, and the student once more with the teacher."""


@dataclass(frozen=True, slots=True)
class Form:
    """A size of the experiment, as overrides of the stages.

    Args:
        space: Of the space.
        deploy: Of the deployed networks.
        data: Of the data.
        profile: Of the profile.
        search: Of the search.
        train: Of the trainings.
        test: Of the evaluations.
    """

    space: tuple[str, ...]
    deploy: tuple[str, ...]
    data: tuple[str, ...]
    profile: tuple[str, ...]
    search: tuple[str, ...]
    train: tuple[str, ...]
    test: tuple[str, ...] = ()


FORMS = {
    "reduced": Form(
        space=("space.layers=8", "space.filters=4"),
        deploy=("deploy.input=[120,160]", "deploy.init_channels=8"),
        data=("data=camvid", "data.size=[120,160]"),
        profile=("num_classes=11",),
        search=("recipe=fasterseg_camvid",),
        train=("recipe=fasterseg_camvid",),
    ),
    "smoke": Form(
        space=("space.layers=4", "space.filters=3", "space.widths=[4,8,12]"),
        deploy=("deploy.input=[32,64]", "deploy.init_channels=3"),
        data=("data=synthetic", "data.size=[32,64]", "data.train=4", "data.val=2", "data.test=2"),
        profile=("num_classes=11", "rounds=1", "max_rounds=1"),
        search=(
            "search.epochs=2",
            "search.warmup_epochs=1",
            "search.batch_size=2",
            "search.max_steps=2",
            "search.eval_every=0",
            "search.recalibrate=1",
        ),
        train=("train.epochs=1", "train.batch_size=2", "train.max_steps=2"),
        test=("pictures=0",),
    ),
}


@dataclass(frozen=True, slots=True)
class Job:
    """What a run of this script was asked for.

    Args:
        form: The size of the experiment.
        root: Folder of the data set.
        out: Folder of all runs.
    """

    form: Form
    root: str | None
    out: Path

    @property
    def table(self) -> Path:
        """The latency table of all searches."""
        return self.out / "table.json"

    @property
    def data(self) -> list[str]:
        """Overrides of the data."""
        return [*self.form.data, *([f"data.root={self.root}"] if self.root else [])]

    def folder(self, seed: int, name: str) -> Path:
        """Where the search or a training of a seed lies."""
        return self.out / f"seed_{seed}" / name


def main(argv: Sequence[str] | None = None) -> None:
    """Profile, search, train, evaluate, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", default="reduced", choices=list(FORMS))
    parser.add_argument("--root", help="folder of CamVid")
    parser.add_argument("--out", default="runs/fasterseg_camvid", type=Path, help="folder of all runs")
    parser.add_argument("--seeds", default="0,1", help="seeds, with commas")
    given = parser.parse_args(argv)
    if given.root is None and given.form != "smoke":
        parser.error(f"--form {given.form} needs --root, the folder of CamVid")
    job = Job(FORMS[given.form], given.root, given.out)
    seeds = [int(seed) for seed in given.seeds.split(",")]
    job.out.mkdir(parents=True, exist_ok=True)
    profile(job)
    for seed in seeds:
        search(job, seed)
        for name in TRAININGS:
            train(job, seed, name)
            evaluate(job, seed, name)
    report(job, seeds)


def profile(job: Job) -> None:
    """Measure the latency table, unless it is there."""
    if not job.table.exists():
        part = job.table.with_suffix(".part")
        run(["profile", "space=fasterseg", *job.form.space, *job.form.deploy, *job.form.profile, f"out={part}"])
        part.rename(job.table)


def search(job: Job, seed: int) -> None:
    """The co-search of a seed, or the rest of it."""
    folder = job.folder(seed, "search")
    if not (folder / "done.json").exists():
        settings = [*job.form.space, *job.data, *job.form.deploy, *job.form.search, f"latency.table={job.table}"]
        run(["search", "space=fasterseg", *settings, f"seed={seed}", where(folder)])


def train(job: Job, seed: int, name: str) -> None:
    """A training of a seed, or the rest of it."""
    folder = job.folder(seed, name)
    if (folder / "done.json").exists():
        return
    searched = job.folder(seed, "search")
    genotype = searched / ("genotype_teacher.yaml" if name == "teacher" else "genotype.yaml")
    distill = [f"distill.teacher={job.folder(seed, 'teacher')}"] if name == "distilled" else []
    run(["train", f"genotype={genotype}", *job.data, *job.form.train, *distill, f"seed={seed}", where(folder)])


def evaluate(job: Job, seed: int, name: str) -> None:
    """MIoU of a training on the test split."""
    folder = job.folder(seed, name)
    if not (folder / "eval.json").exists():
        run(["eval", f"run={folder}", *job.data, *job.form.test])


def report(job: Job, seeds: Sequence[int]) -> None:
    """Accuracy, size and latency of all networks, as Markdown and JSON."""
    genotypes = {f"{seed} {name}": nas.load_genotype(str(job.folder(seed, name))) for seed in seeds for name in TRAININGS}
    table = nas.load_table(job.table)
    measured = nas.measure({key: one for key, one in genotypes.items() if "distilled" not in key}, level=table)
    rows = []
    for seed in seeds:
        for name in TRAININGS:
            folder = job.folder(seed, name)
            genotype = genotypes[f"{seed} {name}"]
            last = [row for row in read_metrics(folder / "metrics.jsonl") if row["split"] == "val"][-1]
            rows.append(
                {
                    "seed": seed,
                    "network": name,
                    "branches": genotype.choices["branches"],
                    "predicted_ms": nas.predict(genotype, table).ms,
                    "measured_ms": measured[f"{seed} {name.replace('distilled', 'student')}"],
                    "val_miou": last["miou"],
                    "test_miou": json.loads((folder / "eval.json").read_text())["miou"],
                }
            )
    text = markdown(rows, seeds)
    (job.out / "report.json").write_text(json.dumps(rows, indent=2) + "\n")
    (job.out / "report.md").write_text(text)
    print(text)


def markdown(rows: Sequence[dict], seeds: Sequence[int]) -> str:
    """The table, and what the teacher gains the student."""
    lines = ["| seed | network | branches | predicted ms | measured ms | mIoU val | mIoU test |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        numbers = " | ".join(f"{row[key]:.3f}" for key in ("predicted_ms", "measured_ms", "val_miou", "test_miou"))
        lines.append(f"| {row['seed']} | {row['network']} | {row['branches']} | {numbers} |")
    of = {(row["seed"], row["network"]): row["test_miou"] for row in rows}
    gains = ", ".join(f"{of[seed, 'distilled'] - of[seed, 'student']:+.3f}" for seed in seeds)
    return "\n".join([*lines, "", f"Gain from distillation in test mIoU, by seed: {gains}."]) + "\n"


def run(command: Sequence[str]) -> None:
    """Run one nas command and show it."""
    print("nas", *command, flush=True)
    subprocess.run([sys.executable, "-m", "nas", *command], check=True)


if __name__ == "__main__":
    main()
