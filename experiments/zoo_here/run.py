"""Every hand-made and published network, timed here beside ten random ones of lgcnet; predicted against measured.

    python experiments/zoo_here/run.py                      # two runtimes, two sizes; some two hours of one idle core
    python experiments/zoo_here/run.py --form smoke --out SOME_FOLDER  # two networks at one small size, for the tests

Operations are measured into one table a runtime, then whole networks in interleaved rounds (`nas bench`), a few networks a bench:
those of one bench must fit into memory together. A stopped command goes on where it was: with the table's journal, or with the next
bench. Writes results.csv, summary.json and two charts into the folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from agreement import Row, agreement_of, write_charts, write_rows

from nas.config.measuring_jobs import ProfileJob
from nas.cost.latency_table import read_table
from nas.errors import ConfigError
from nas.files.atomic import write_text_atomic
from nas.files.shipped import published_genotypes
from nas.files.strict_json import parse_strict
from nas.measuring.fit_calibration import terms_of
from nas.measuring.runners.open_runner import open_runner
from nas.measuring.runners.request import request_of
from nas.measuring.table_filling import fill_table
from nas.ops.spec import OpSpec
from nas.space.deployment import Deployment
from nas.space.design import Design, load_design
from nas.space.genotype import Genotype, save_genotype
from search_spaces import SEARCH_SPACES, all_spaces

RANDOM_NETWORKS = 10
CLASSES = 19


@dataclass(frozen=True, slots=True)
class Form:
    """Size of the experiment.

    Args:
        runtimes: What runs the networks.
        sizes: (height, width) of the images in pixels.
        rounds: Rounds over operations, fewest and most.
        bench_rounds: Rounds over whole networks.
        together: Networks of one bench.
        networks: Published networks; None: all.
        channels: Initial channels of the random networks.
    """

    runtimes: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    rounds: tuple[int, int]
    bench_rounds: int
    together: int
    networks: tuple[str, ...] | None
    channels: int


FORMS = {
    "full": Form(("onnxruntime", "torch-eager"), ((360, 480), (512, 1024)), (5, 5), 3, 8, None, 40),
    "smoke": Form(("torch-eager",), ((64, 96),), (1, 1), 1, 3, ("squeezenas/lat_small", "zoo/fast_scnn"), 4),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is not measured yet, and write what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", choices=FORMS, default="full")
    parser.add_argument("--out", type=Path, default=Path("runs") / "zoo_here")
    given = parser.parse_args(argv)
    form: Form = FORMS[given.form]
    given.out.mkdir(parents=True, exist_ok=True)
    names = [*(form.networks or published_genotypes()), *_random_networks(given.out, form)]
    rows: list[Row] = []
    for runtime in form.runtimes:
        table = given.out / f"table_{runtime}.json"
        for size in form.sizes:
            _profile(names, runtime, size, form, table)
            for folder in _benches(names, table, size, form, runtime):
                rows += _rows(folder, table, runtime, size)
    write_rows(given.out / "results.csv", rows)
    summary = agreement_of(rows)
    write_text_atomic(given.out / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_charts(given.out, rows)
    print(json.dumps(summary, indent=1))


def _random_networks(out: Path, form: Form) -> list[str]:
    """Files of random networks of lgcnet, always the same ones."""
    entry = SEARCH_SPACES["lgcnet"]
    space = entry.build(entry.config())
    files = []
    for seed in range(RANDOM_NETWORKS if form.networks is None else 2):
        path = out / f"lgcnet_{seed}.yaml"
        choices = space.random_choices(torch.Generator().manual_seed(seed))
        deployment = Deployment(form.sizes[0], form.channels, CLASSES)
        save_genotype(path, Genotype("lgcnet", asdict(space.config), deployment, choices, {"seed": seed}))
        files.append(str(path))
    return files


def _design(name: str, size: tuple[int, int]) -> Design:
    """A network at a size that it takes, for Cityscapes' classes."""
    design = load_design(name, all_spaces())
    return design.deployed(Deployment(size, design.deployment.init_channels, CLASSES))


def _taking(names: Sequence[str], size: tuple[int, int]) -> list[str]:
    """The networks that take a size; the others are told."""
    taking = []
    for name in names:
        try:
            _design(name, size).graph.specs()
        except ConfigError as error:
            print(f"{name} at {size[0]}x{size[1]}: {error}")
        else:
            taking.append(name)
    return taking


def _profile(names: Sequence[str], runtime: str, size: tuple[int, int], form: Form, table: Path) -> None:
    """Measure the operations of all networks at a size that the table lacks."""
    specs: set[OpSpec] = set()
    for name in _taking(names, size):
        specs |= set(_design(name, size).graph.specs())
    job = ProfileJob(runtime=runtime, rounds=form.rounds[0], max_rounds=form.rounds[1], out=str(table))
    with open_runner(job, request_of(job)) as runner:
        result = fill_table(specs, runner, path=table, on_progress=_tell)
    print("\n".join(result.summary()))


def _tell(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        print(f"{done} of {total}", flush=True)


def run(command: Sequence[str]) -> None:
    """Run a command of nas."""
    subprocess.run([sys.executable, "-m", "nas", *command], check=True)


def _benches(names: Sequence[str], table: Path, size: tuple[int, int], form: Form, runtime: str) -> list[Path]:
    """The folders of the benches of all networks at a size; those that are not there are made."""
    taking = _taking(names, size)
    folders = []
    for number, first in enumerate(range(0, len(taking), form.together)):
        folder = table.parent / f"bench_{runtime}_{size[0]}x{size[1]}_{number}"
        if not (folder / "bench.json").is_file():
            run(
                [
                    "bench",
                    f"networks=[{','.join(taking[first : first + form.together])}]",
                    f"bench.sizes=[[{size[0]},{size[1]}]]",
                    f"num_classes={CLASSES}",
                    f"runtime={runtime}",
                    f"rounds={form.bench_rounds}",
                    f"latency.table={table}",
                    f"out={folder}",
                ]
            )
        folders.append(folder)
    return folders


def _rows(folder: Path, table: Path, runtime: str, size: tuple[int, int]) -> list[Row]:
    """What was measured of each network beside the terms of the table."""
    content = parse_strict((folder / "bench.json").read_text(encoding="utf-8"))
    costs = read_table(table)
    rows = []
    for block in content["blocks"]:
        speed = 1 / (block["slowdown_since_table"] or 1.0)
        for one in block["networks"]:
            design = _design(one["network"], size)
            terms = terms_of(design.graph, costs)
            published = design.genotype.provenance.get("published") or {}
            rows.append(
                Row(
                    network=Path(one["network"]).stem if one["network"].endswith(".yaml") else one["network"],
                    runtime=runtime,
                    size=size,
                    macs=one["macs"],
                    measured_ms=one["median_ms"],
                    p10_ms=one["p10_ms"],
                    p90_ms=one["p90_ms"],
                    speed=speed,
                    terms=terms,
                    miou_val=published.get("cityscapes_val"),
                    miou_test=published.get("cityscapes_test"),
                    fps_3090=published.get("fps_3090_512x1024"),
                )
            )
    return rows


if __name__ == "__main__":
    main()
