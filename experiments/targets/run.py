"""Are latency targets met? Searches under targets at shares of the uniform network's expected latency, predicted against measured.

    python experiments/targets/run.py --root PATH_TO_CAMVID          # three targets, two seeds, on a CPU
    python experiments/targets/run.py --root PATH_TO_CAMVID --runtimes torch-eager,onnxruntime   # a target for each runtime
    python experiments/targets/run.py --form smoke --out SOME_FOLDER  # two steps, for the tests

A stopped command goes on where it was. Writes targets.md and targets.json beside the runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ablations"))

from run import FORMS, Form  # the recipe is that of the ablations
from run_folders import where

import nas
from nas.cost.deployed import deployed_costs, named
from nas.runs.tracking import read_metrics
from nas.space.deployment import Deployment
from nas.space.weights import uniform as uniform_weights
from search_spaces import SEARCH_SPACES

SHARES = (0.5, 0.7, 0.9)


@dataclass(frozen=True, slots=True)
class Job:
    """What a run of this script was asked for.

    Args:
        form: The size of the experiment.
        root: Folder of the data set.
        out: Folder of all runs.
        seeds: Seeds of the searches.
        shares: Targets as shares of the uniform network's expected latency.
        runtimes: What has a table, and a target, each.
    """

    form: Form
    root: str | None
    out: Path
    seeds: tuple[int, ...]
    shares: tuple[float, ...]
    runtimes: tuple[str, ...]

    def table(self, runtime: str) -> Path:
        """The latency table of a runtime, for all searches."""
        return self.out / f"table_{runtime}.json"

    def folder(self, share: float, seed: int) -> Path:
        """Where a search lies."""
        return self.out / f"share_{share:g}" / str(seed)


def main(argv: Sequence[str] | None = None) -> None:
    """Profile, search, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", default="reduced", choices=["reduced", "smoke"])
    parser.add_argument("--root", help="folder of CamVid")
    parser.add_argument("--out", default="runs/targets", type=Path, help="folder of all runs")
    parser.add_argument("--seeds", default="0,1", help="seeds, with commas")
    parser.add_argument(
        "--shares", default=",".join(map(str, SHARES)), help="targets as shares of the uniform network, with commas"
    )
    parser.add_argument("--runtimes", default="torch-eager", help="runtimes that a network must be fast enough on, with commas")
    given = parser.parse_args(argv)
    if given.root is None and given.form != "smoke":
        parser.error(f"--form {given.form} needs --root, the folder of CamVid")
    seeds = tuple(int(seed) for seed in given.seeds.split(","))
    shares = tuple(float(share) for share in given.shares.split(","))
    job = Job(FORMS[given.form], given.root, given.out, seeds, shares, tuple(given.runtimes.split(",")))
    job.out.mkdir(parents=True, exist_ok=True)
    for runtime in job.runtimes:
        profile(job, runtime)
    uniform = [uniform_ms(job, runtime) for runtime in job.runtimes]
    for share in job.shares:
        for seed in job.seeds:
            search(job, share, seed, targets=[share * ms for ms in uniform])
    report(job, uniform)


def profile(job: Job, runtime: str) -> None:
    """Measure and calibrate the table of a runtime, unless it is there."""
    if job.table(runtime).exists():
        return
    form = job.form
    words = ["space=lgcnet", *form.space, *form.deploy, f"num_classes={form.classes}"]
    part = job.out / f"{job.table(runtime).name}.part"
    run(["profile", *words, *form.profile, f"runtime={runtime}", f"out={part}"])
    samples = [] if form is not FORMS["smoke"] else ["samples=8", "rounds=1", "calibrate=false"]
    run(["profile", "validate", *words, *samples, f"latency.table={part}", f"out={job.out / f'validate_{runtime}'}"])
    part.rename(job.table(runtime))


def uniform_ms(job: Job, runtime: str) -> float:
    """Expected latency of uniform architecture parameters in ms."""
    settings = dict(map(_setting, (*job.form.space, *job.form.deploy)))
    entry = SEARCH_SPACES["lgcnet"]
    config = entry.config(**{key.removeprefix("space."): v for key, v in settings.items() if key.startswith("space.")})
    space = entry.build(config)
    height, width = settings["deploy.input"]
    deploy = Deployment((height, width), settings["deploy.init_channels"], job.form.classes)
    costs = deployed_costs(space, deploy, given=str(job.table(runtime)), targets=[None])
    return costs.of(uniform_weights(space.choices()))[0]


def search(job: Job, share: float, seed: int, *, targets: Sequence[float]) -> None:
    """One search under a target for each runtime, or the rest of it."""
    folder = job.folder(share, seed)
    if (folder / "done.json").exists():
        return
    data = [*job.form.data, *([f"data.root={job.root}"] if job.root else [])]
    settings = [*job.form.space, *data, *job.form.deploy, *job.form.search]
    tables = ",".join(str(job.table(runtime)) for runtime in job.runtimes)
    limits = ",".join(map(repr, targets))
    latency = [f"latency.table=[{tables}]", f"latency.target_ms=[{limits}]"]
    run(["search", "space=lgcnet", *settings, *latency, f"seed={seed}", where(folder)])


def report(job: Job, uniform: Sequence[float]) -> None:
    """Predicted and measured ms against the target, as Markdown and JSON."""
    runs = [(share, seed) for share in job.shares for seed in job.seeds]
    genotypes = {str(job.folder(*one)): nas.load_genotype(str(job.folder(*one))) for one in runs}
    rows = []
    for number, runtime in enumerate(job.runtimes):
        measured = nas.measure(genotypes, runtime=runtime)
        levelled = nas.measure(genotypes, runtime=runtime, level=nas.load_table(job.table(runtime)))
        for share, seed in runs:
            folder = job.folder(share, seed)
            facts = genotypes[str(folder)].provenance
            last = [row for row in read_metrics(folder / "metrics.jsonl") if row["split"] == "train"][-1]
            rows.append(
                {
                    "runtime": runtime,
                    "share": share,
                    "seed": seed,
                    "target_ms": facts[named("target_latency", number)],
                    "expected_ms": last[named("expected_latency", number)],
                    "predicted_ms": facts[named("expected_latency", number)],
                    "measured_ms": measured[str(folder)],
                    "levelled_ms": levelled[str(folder)],
                    "multiplier": last[named("multiplier", number)],
                }
            )
    text = markdown(rows)
    document = {"uniform_ms": dict(zip(job.runtimes, uniform, strict=True)), "rows": rows}
    (job.out / "targets.json").write_text(json.dumps(document, indent=2) + "\n")
    (job.out / "targets.md").write_text(text)
    print(text)


def markdown(rows: Sequence[dict]) -> str:
    """The table, and how many of its rows hold what is asked for."""
    heads = ("runtime", "share", "seed", "target ms", "expected", "predicted", "measured now", "at the table's speed", "multiplier")
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        ms = [f"{row[key]:.3f}" for key in ("target_ms", "expected_ms", "predicted_ms")]
        ms += [f"{row[key]:.3f} ({row[key] / row['predicted_ms'] - 1:+.1%})" for key in ("measured_ms", "levelled_ms")]
        lines.append(f"| {row['runtime']} | {row['share']:g} | {row['seed']} | {' | '.join(ms)} | {row['multiplier']:.3f} |")
    below = sum(row["predicted_ms"] <= row["target_ms"] for row in rows)
    near, levelled = (sum(abs(row[key] / row["predicted_ms"] - 1) <= 0.1 for row in rows) for key in ("measured_ms", "levelled_ms"))
    lines += ["", f"Predicted at or below the target: {below} of {len(rows)}."]
    lines.append(f"Within 10 % of the prediction: {near} as measured now, {levelled} at the table's speed.")
    return "\n".join(lines) + "\n"


def run(command: Sequence[str]) -> None:
    """Run one nas command and show it."""
    print("nas", *command, flush=True)
    subprocess.run([sys.executable, "-m", "nas", *command], check=True)


def _setting(override: str) -> tuple[str, Any]:
    """Key and value of an override such as `deploy.input=[33,47]`."""
    key, _, value = override.partition("=")
    return key, json.loads(value)


if __name__ == "__main__":
    main()
