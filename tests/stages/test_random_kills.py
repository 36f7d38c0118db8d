"""Whatever is killed at whatever moment is given again and leaves what it leaves when nothing stops it: nothing lost or doubled."""

from __future__ import annotations

import csv
import json
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nas.cost import load_table
from nas.runs.rundir import METRICS
from nas.runs.tracking import read_metrics
from nas.worker.timing_journal import JOURNAL_FILE, whole_lines
from tests.random_kills import Trials, Work
from tests.small_jobs import SMALL_SPACE, assert_same_run, random_genotype

ROUNDS = 3
SPACE = (*SMALL_SPACE, "space.guided_dim=8")
DATA = ("data.size=[48,64]", "data.train=6", "data.val=2", "data.test=3")
CPU = ("trainer.accelerator=cpu", "trainer.threads=1")
SHAPE = ("deploy.input=[48,64]", "deploy.init_channels=4")
SEARCH = (
    *("search", *SPACE, *DATA, *CPU, "search.epochs=2", "search.batch_size=2", "search.init_channels=4", "search.log_every=1"),
    *("latency.table=macs", "deploy.init_channels=4", "search.checkpoint_every=1", "resume=auto", "out=run"),
)
FASTERSEG = (
    *("search", "space=fasterseg", "space.layers=4", "space.filters=1", "space.widths=[6,12]", "search.warmup_epochs=1", *CPU),
    *("data.size=[64,64]", "data.train=4", "data.val=1", "data.test=1", "search.epochs=2", "search.batch_size=2"),
    *("search.log_every=1", "latency.table=macs", "search.checkpoint_every=1", "resume=auto", "out=run"),
)
TRAIN = (
    *("train", "genotype=genotype.yaml", *DATA, *CPU, "train.epochs=3", "train.batch_size=1", "train.accumulate=2"),
    *("train.ema=0.9", "train.checkpoint_every=1", "train.log_every=1", "resume=auto", "out=run"),
)
PROFILE = ("profile", *SPACE, *SHAPE, f"rounds={ROUNDS}", f"max_rounds={ROUNDS}")
VALIDATE = ("profile", "validate", "latency.table=table.json", *SPACE, *SHAPE, "samples=8", "rounds=1", "calibrate=false")
TIMES = ("seconds", "commit", "measured_at", "started_at", "finished_at")
"""Beginnings of the names of what differs between two runs that do the same."""


def untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: untimed(one) for name, one in value.items() if not name.startswith(TIMES)}
    return [untimed(one) for one in value] if isinstance(value, list) else value


def same_run(folder: Path, whole: Path) -> None:
    assert_same_run(folder / "run", whole / "run")
    rows = read_metrics(folder / "run" / METRICS)
    assert max(Counter((row["split"], row.get("step"), row.get("epoch")) for row in rows).values()) == 1
    same_names(folder, whole)


def same_names(folder: Path, whole: Path) -> None:
    """The same files, and JSON that says the same but for times."""
    names = [
        sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file() and "cache" not in path.parts)
        for one in (folder, whole)
    ]
    assert names[0] == names[1]
    for name in names[0]:
        if name.endswith(".json"):
            assert untimed(json.loads((folder / name).read_text())) == untimed(json.loads((whole / name).read_text())), name


def same_files(folder: Path, whole: Path) -> None:
    """The same files, all bytes but those of times."""
    same_names(folder, whole)
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and "cache" not in name.parts and path.suffix in (".html", ".png", ".onnx", ".safetensors", ".yaml"):
            assert path.read_bytes() == (whole / name).read_bytes(), name


def whole_table(folder: Path, whole: Path) -> None:
    """Every operation in every round, once."""
    table = load_table(folder / "table.json")
    assert set(table.entries) == set(load_table(whole / "table.json").entries)
    assert {entry.n for entry in table.entries.values()} == {ROUNDS}


def no_line_twice(journal: Path) -> None:
    """A journal has an operation in a round once, whatever was killed; the reference operation several times."""
    if journal.exists():
        lines = [json.loads(line) for line in whole_lines(journal.read_bytes())[1:]]
        assert max(Counter((line["key"], line["round"]) for line in lines if "key" in line).values(), default=1) == 1


def table_journal(folder: Path) -> None:
    no_line_twice(folder / "table.json.journal.jsonl")


def whole_validation(folder: Path, whole: Path) -> None:
    for one in (folder, whole):
        assert (one / "table.json").read_bytes() == (whole / "table.json").read_bytes()
        assert json.loads((one / "out" / "validate.json").read_text())["networks"] == 8
    drawn = [[row["choices"] for row in csv.DictReader((one / "out" / "networks.csv").open())] for one in (folder, whole)]
    assert drawn[0] == drawn[1]


def same_bundle(folder: Path, whole: Path) -> None:
    contents = []
    for one in (folder, whole):
        with zipfile.ZipFile(one / "bundle.zip") as file:
            contents.append({name: file.read(name) for name in file.namelist() if name != "README.txt"})
    assert list(contents[0]) == list(contents[1])
    assert json.loads(contents[0]["job.json"])["operations"] == json.loads(contents[1]["job.json"])["operations"]


def draw_genotype(folder: Path) -> None:
    random_genotype(folder / "genotype.yaml")


def unpack(folder: Path) -> None:
    (folder / "job").mkdir()
    with zipfile.ZipFile(folder / "bundle.zip") as file:
        file.extractall(folder / "job")


def worker_journal(folder: Path) -> None:
    no_line_twice(folder / "job" / JOURNAL_FILE)


def whole_result(folder: Path, whole: Path) -> None:
    timed = [json.loads((one / "job" / "result.json").read_text()) for one in (folder, whole)]
    pairs = [sorted((number, round_index) for number, round_index, *_, extra in one["timings"] if not extra) for one in timed]
    assert pairs[0] == pairs[1]
    assert len(pairs[0]) == len(set(pairs[0])) == ROUNDS * len({number for number, _ in pairs[0]})


RUN = {"writes": "run", "lock": "run/.lock", "check": same_run}
TABLE = {"writes": "table.json", "lock": ".table.json.measuring.lock", "check": whole_table, "kept": table_journal}
RESULTS = {"writes": "run", "lock": "run/.results.lock", "check": same_files}
OUT = {"writes": "out", "lock": "out/.lock", "again": False}
SEARCHED, TRAINED = ("search", "run", "run"), ("train", "run", "run")
GENOTYPE, MEASURED = ("search", "run/genotype.yaml", "genotype.yaml"), ("profile", "table.json", "table.json")
WORKS: dict[str, Work] = {
    "search": Work(words=SEARCH, **RUN),
    "search bilevel": Work(words=(*SEARCH, "search.level=bilevel", "data.train=8", "search.relaxation=sampled"), **RUN),
    "search fasterseg": Work(words=FASTERSEG, **RUN),
    "search two ranks": Work(words=(*SEARCH, "trainer.devices=2"), several=True, **RUN),
    "search reading processes": Work(words=(*SEARCH, "data.workers=1"), several=True, **RUN),
    "train": Work(words=TRAIN, prepare=draw_genotype, **RUN),
    "profile": Work(words=(*PROFILE, "out=table.json"), **TABLE),
    "profile by a worker": Work(words=(*PROFILE, "runtime=onnxruntime", "out=table.json"), several=True, **TABLE),
    "profile bundle": Work(
        words=(*PROFILE, "runtime=onnxruntime", "runner=bundle", "out=bundle.zip"), writes="bundle.zip", check=same_bundle
    ),
    "worker": Work(
        words=(),
        script="worker.py",
        writes="job",
        lock="job/lock",
        refusal="is measuring there; wait for its end",
        inputs=[("profile bundle", "bundle.zip", "bundle.zip")],
        prepare=unpack,
        check=whole_result,
        kept=worker_journal,
    ),
    "profile import": Work(
        words=("profile", "import", "file=result.json", "out=table.json"),
        inputs=[("worker", "job/result.json", "result.json")],
        writes="table.json",
        check=same_names,
    ),
    "profile validate": Work(words=(*VALIDATE, "out=out"), inputs=[MEASURED], check=whole_validation, **OUT),
    "derive": Work(words=("derive", "run=run"), inputs=[SEARCHED], **RESULTS),
    "eval": Work(words=("eval", "run=run"), inputs=[TRAINED], **RESULTS),
    "predict": Work(
        words=("predict", "genotype=genotype.yaml", "latency.table=macs", "out=out"), inputs=[GENOTYPE], check=same_files, **OUT
    ),
    "export": Work(words=("export", "run=run"), inputs=[TRAINED], **RESULTS),
    "report": Work(words=("report", "run=run"), inputs=[TRAINED], **RESULTS),
}
KILLS = {
    **{"search": 10, "search bilevel": 10, "search fasterseg": 7, "search two ranks": 7, "search reading processes": 8},
    **{"train": 12, "profile": 8, "profile by a worker": 8, "profile bundle": 3, "worker": 6, "profile import": 3},
    **{"profile validate": 3, "derive": 3, "eval": 4, "predict": 3, "export": 3, "report": 3},
}
"""Name of a work -> kills with SIGKILL; those with SIGTERM and second processes come on top."""
assert sum(KILLS.values()) >= 100
QUICK = {"profile": 1}


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    made = Trials(WORKS, tmp_path_factory.mktemp("kills"))
    yield made
    for what, times in sorted(made.figures.items()):
        sys.stdout.write(f"\n{times:4} {what}")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", QUICK)
def test_a_few_kills_at_random_moments_and_what_is_left_is_that_of_no_kill(trials, name):
    trials.kill(name, QUICK[name], seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", KILLS)
def test_a_hundred_kills_at_random_moments_and_what_is_left_is_that_of_no_kill(trials, name):
    trials.kill(name, KILLS[name], seed=0)
