"""Every kind of file that a command reads, made small by the commands that write it, and the commands that read it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nas.cost import load_table, save_table
from nas.measuring.journal import Conditions, TableJournal
from nas.measuring.table_filling import journal_path
from nas.worker.drift import Timing
from tests.cost.small_tables import calibration
from tests.label_trees import write_folder
from tests.poised_commands import PoisedCommands

SPACE = ("space.num_cells=3", "space.reduction_cells=[1,2]", "space.fused_cells=[0,1,2]", "space.head_channels=8")
SHAPE = ("deploy.input=[48,64]", "deploy.init_channels=4")
DATA = ("data.size=[48,64]", "data.train=2", "data.val=2", "data.test=2")
TRAINER = ("trainer.accelerator=cpu", "trainer.threads=1")
SEARCH = ("search", *SPACE, *DATA, *TRAINER, "search.batch_size=2", "search.init_channels=4", "search.log_every=1", SHAPE[1])
SEARCH = (*SEARCH, "latency.table=table.json")
TRAIN = ("train", "genotype=search/genotype.yaml", *DATA, *TRAINER, "train.batch_size=2", "train.log_every=1")
FOLDER = (
    "train",
    "genotype=own/genotype.yaml",
    "data=folder",
    "data.root=own",
    "data.size=[48,64]",
    *TRAINER,
    "train.batch_size=3",
)
FOLDER = (*FOLDER, "train.max_steps=1", "train.epochs=1", "train.eval_every=1", "out=fresh")
LISTED = (*FOLDER, "data.lists=SPLIT.txt")
PROFILE = ("profile", *SPACE, *SHAPE, "rounds=1", "max_rounds=1")
RESUME_SEARCH = (*SEARCH, "search.epochs=2", "resume=search")
RESUME_TRAIN = (*TRAIN, "train.epochs=2", "resume=train")
EVAL = ("eval", "run=train", "pictures=0", *TRAINER)
NEXT_TRAIN = (*TRAIN, "train.epochs=1", "train.max_steps=1", "out=fresh")


@dataclass(frozen=True, slots=True)
class Reader:
    """A command that reads a file.

    Args:
        kind: What the file is.
        file: The file, in the folder of inputs.
        argv: The command.
        weight: How often it is tried, relative to others: commands that take long, less often.
    """

    kind: str
    file: str
    argv: tuple[str, ...]
    weight: int = 4


READERS = (
    Reader("settings of a search", "search/config.yaml", ("report", "run=search"), 4),
    Reader("settings of a search", "search/config.yaml", RESUME_SEARCH, 3),
    Reader("settings of a search", "search/config.yaml", ("derive", "run=search"), 4),
    Reader("settings of a training", "train/config.yaml", RESUME_TRAIN, 8),
    Reader("settings of a training", "train/config.yaml", ("report", "run=train"), 4),
    Reader("settings of a training", "train/config.yaml", EVAL, 12),
    Reader("metrics", "search/metrics.jsonl", ("report", "run=search"), 8),
    Reader("metrics", "search/metrics.jsonl", RESUME_SEARCH, 3),
    Reader("metrics", "train/metrics.jsonl", RESUME_TRAIN, 4),
    Reader("checkpoint of a search", "search/checkpoints/last.pt", RESUME_SEARCH, 6),
    Reader("checkpoint of a search", "search/checkpoints/last.pt", ("derive", "run=search"), 8),
    Reader("checkpoint of a search", "search/checkpoints/best.pt", ("derive", "run=search", "checkpoint=best"), 4),
    Reader("checkpoint of a training", "train/checkpoints/last.pt", RESUME_TRAIN, 30),
    Reader(
        "checkpoint of a training", "train/checkpoints/last.pt", ("eval", "run=train", "checkpoint=last", "pictures=0", *TRAINER), 8
    ),
    Reader("checkpoint of a training", "train/checkpoints/best.pt", (*NEXT_TRAIN, "weights=train/checkpoints/best.pt"), 8),
    Reader("weights", "train/weights.safetensors", EVAL, 30),
    Reader("weights", "train/weights.safetensors", ("export", "run=train"), 2),
    Reader("weights", "train/weights.safetensors", (*NEXT_TRAIN, "weights=train/weights.safetensors"), 10),
    Reader("weights", "train/weights.safetensors", (*NEXT_TRAIN, "distill.teacher=train"), 8),
    Reader("genotype", "search/genotype.yaml", ("show", "genotype=search/genotype.yaml"), 36),
    Reader("genotype", "search/genotype.yaml", ("predict", "genotype=search", "latency.table=table.json"), 36),
    Reader("genotype", "search/genotype.yaml", NEXT_TRAIN, 8),
    Reader("genotype", "train/genotype.yaml", EVAL, 30),
    Reader("genotype", "search/genotype.yaml", ("report", "run=search"), 4),
    Reader("end of a run", "search/done.json", ("report", "run=search"), 4),
    Reader("evaluation", "train/eval.json", ("report", "run=train"), 8),
    Reader("evaluation", "train/eval.json", EVAL, 3),
    Reader("prediction", "search/predict.json", ("report", "run=search"), 8),
    Reader("latency table", "table.json", ("predict", "run=search", "latency.table=table.json"), 80),
    Reader("latency table", "table.json", RESUME_SEARCH, 4),
    Reader("latency table", "table.json", (*PROFILE, "out=table.json"), 24),
    Reader(
        "latency table",
        "table.json",
        ("profile", "validate", *SPACE, *SHAPE, "latency.table=table.json", "samples=8", "rounds=2"),
        6,
    ),
    Reader("journal of a measurement", "half.json.journal.jsonl", (*PROFILE, "out=half.json"), 30),
    Reader("result of a bundle", "result.json", ("profile", "import", "file=result.json", "out=fresh.json"), 50),
    Reader("result of a bundle", "imported.json", ("profile", "import", "file=result.json", "out=imported.json"), 16),
    Reader("published table", "lut.csv", ("profile", "import", "file=lut.csv", "out=fresh.json"), 16),
    Reader("published table", "lut.npy", ("profile", "import", "file=lut.npy", "out=fresh.json"), 16),
    Reader("bundle that is there", "b.zip", (*PROFILE, "runtime=torch-script", "runner=bundle", "out=b.zip"), 1),
    Reader("classes", "own/classes.yaml", FOLDER, 14),
    Reader("list of images", "own/train.txt", LISTED, 12),
    Reader("image, PNG", "own/images/train/f0.png", FOLDER, 12),
    Reader("image, JPEG", "own/images/train/f1.jpg", FOLDER, 12),
    Reader("labels, PNG", "own/masks/train/f0.png", FOLDER, 12),
    Reader(
        "image, PNG", "own/images/test/f0.png", ("eval", "run=train", "images=own/images/test/f0.png", "out=fresh", *TRAINER), 8
    ),
    Reader("map of classes", "map.yaml", ("eval", "run=train", "class_map=map.yaml", "pictures=0", *TRAINER), 20),
)
QUICK = (
    ("report", "run=search"),
    ("predict", "run=search", "latency.table=table.json"),
    ("show", "genotype=search/genotype.yaml"),
    EVAL,
    RESUME_TRAIN,
    FOLDER,
)
"""Commands that read most kinds of files, in a fraction of a second."""


def make_inputs(folder: Path, commands: PoisedCommands, *, with_result: bool = False) -> None:
    """One good file of every kind, in a new folder.

    Args:
        folder: The folder.
        commands: Runs the commands.
        with_result: Whether to make a bundle and let its worker measure.
    """
    folder.mkdir()
    _run(commands, folder, *PROFILE, "out=table.json")
    table = load_table(folder / "table.json")
    own = calibration("lgcnet", channels=4, input=(48, 64))
    save_table(dataclasses.replace(table, calibrations=(own,)), folder / "table.json")
    _run(commands, folder, *SEARCH, "search.epochs=1", "out=search")
    _run(commands, folder, "predict", "run=search", "latency.table=table.json")
    _run(commands, folder, *TRAIN, "train.epochs=1", "out=train")
    _run(commands, folder, *EVAL)
    _own_images(folder / "own")
    _run(commands, folder, *FOLDER)
    (folder / "map.yaml").write_text("".join(f"{name}: {name}\n" for name in _class_names(folder)), encoding="utf-8")
    _journal(folder / "table.json")
    _published(folder)
    if with_result:
        _result(folder, commands)


def _run(commands: PoisedCommands, folder: Path, *argv: str) -> None:
    ended = commands.run(folder, *argv)
    assert ended.status == 0, ended.err


def _own_images(root: Path) -> None:
    """A data set of data=folder with PNG and JPEG, lists of its images, and a network for it."""
    write_folder(root, num=3)
    for split in ("train", "val", "test"):
        png = root / "images" / split / "f1.png"
        Image.open(png).save(png.with_suffix(".jpg"))
        png.unlink()
        names = ("f0.png", "f1.jpg", "f2.png")
        lines = [f"images/{split}/{name},masks/{split}/{name[:2]}.png\n" for name in names]
        (root / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    genotype = (root.parent / "search" / "genotype.yaml").read_text(encoding="utf-8")
    (root / "genotype.yaml").write_text(genotype.replace("num_classes: 11", "num_classes: 3"), encoding="utf-8")


def _class_names(folder: Path) -> Sequence[str]:
    return list(json.loads((folder / "train" / "eval.json").read_text(encoding="utf-8"))["classes"])


def _journal(path: Path) -> None:
    """What a measurement that was stopped leaves beside its table: here one of two operations that the table lacks."""
    table = load_table(path)
    keys = list(table.entries)[-2:]
    kept = {key: entry for key, entry in table.entries.items() if key not in keys}
    assert table.reference is not None
    half = path.with_name("half.json")
    with TableJournal(journal_path(half), Conditions.of(table)) as journal:
        journal.record(Timing(table.reference.key, 0, table.reference.median_ms, 10, True))
        journal.record(Timing(keys[0], 0, 0.01, 10, False))
    save_table(dataclasses.replace(table, entries=kept), half)


def _published(folder: Path) -> None:
    """A table of latencies as FasterSeg publishes it, in both of its forms."""
    rows = {"BasicResidual1x": 0.125, "BasicResidual_downup_2x": 0.25, "FactorizedReduce": 0.02}
    shape = "H128_W256_Cin32_Cout48"
    entries = {f"{name}_{shape}_stride1" + "_dilation1" * name.startswith("Basic"): ms for name, ms in rows.items()}
    np.save(folder / "lut.npy", np.array(entries, dtype=object))
    lines = [f"{name},128,256,32,48,,1,{'1' * name.startswith('Basic')},{ms}" for name, ms in rows.items()]
    text = "\n".join(["op,H_in,W_in,C_in,C_out,kernel,stride,dilation,latency_ms", *lines, ""])
    (folder / "lut.csv").write_text(text, encoding="utf-8")


def _result(folder: Path, commands: PoisedCommands) -> None:
    _run(commands, folder, *PROFILE, "runtime=torch-script", "runner=bundle", "out=b.zip")
    with zipfile.ZipFile(folder / "b.zip") as archive:
        archive.extractall(folder / "bundle")
    worker = next((folder / "bundle").rglob("worker.py"))
    subprocess.run([sys.executable, "-I", "worker.py"], cwd=worker.parent, check=True, capture_output=True)
    (worker.parent / "result.json").rename(folder / "result.json")
    _run(commands, folder, "profile", "import", "file=result.json", "out=imported.json")
