"""Commands that succeed, what disks and users do to them, and how they end."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nas.runs.checkpoint import load_checkpoint
from tests.forked_commands import Ended, ForkedCommands
from tests.small_jobs import made_up_table, overrides, random_genotype, search_job, train_job

LONGEST = 900
"""Characters of a message."""
_Place = tuple[Path, dict[str, Any]]
SMALL = ("deploy.input=[48,64]", "deploy.init_channels=4")
SEARCH = [word for word in overrides(search_job()) if not word.startswith("latency.table")]
TRAIN = [word for word in overrides(train_job("g")) if not word.startswith("genotype")]


class Command(NamedTuple):
    """A verb that succeeds.

    `words` has its settings; `inputs` those that name something which is there, below the folder `in`; `out` is what it writes.
    """

    words: tuple[str, ...]
    inputs: dict[str, str]
    out: str = "out"
    runs: bool = False


COMMANDS = {
    "search": Command(tuple(SEARCH), {"latency.table": "table.json"}, runs=True),
    "train": Command(tuple(TRAIN), {"genotype": "genotype.yaml", "encoder_weights": "run/weights.safetensors"}, runs=True),
    "derive": Command((), {"run": "search", "table": "table.json"}),
    "eval": Command(("pictures=1",), {"run": "run"}),
    "export": Command((), {"run": "run"}),
    "profile": Command((*SMALL, "rounds=2", "max_rounds=2"), {"genotype": "genotype.yaml"}, "out.json"),
    "bundle": Command((*SMALL, "runner=bundle", "device=board", "runtime=torch-script"), {"genotype": "genotype.yaml"}, "out.zip"),
    "profile import": Command((), {"file": "lut.csv"}, "out.json"),
    "predict": Command((), {"genotype": "genotype.yaml", "latency.table": "table.json"}),
    "report": Command((), {"run": "search"}),
    "show": Command((), {"genotype": "genotype.yaml"}, "out.png"),
}
PARTS = {"run": ("config.yaml", "weights.safetensors", "genotype.yaml"), "search": ("config.yaml", "checkpoints/last.pt")}
"""Files of a run that verbs read."""


class Bench:
    """A folder with inputs, and commands that meet faults."""

    def __init__(self, base: Path, commands: ForkedCommands) -> None:
        self.base, self.given, self.commands = base, base / "in", commands
        self.given.mkdir()
        random_genotype(self.given / "genotype.yaml")
        made_up_table(self.given / "table.json")
        (self.given / "lut.csv").write_text(
            "op,H_in,W_in,C_in,C_out,kernel,stride,dilation,latency_ms\nBasicResidual1x,128,256,32,48,,1,1,0.125\n"
        )

    def make_inputs(self, verb: str) -> None:
        """The runs that a verb reads."""
        for name, folder in (("train", "run"), ("search", "search")):
            if (self.given / folder).exists() or not any(path.startswith(folder) for path in COMMANDS[verb].inputs.values()):
                continue
            command = COMMANDS[name]
            inputs = [f"{key}=in/{path}" for key, path in command.inputs.items() if key != "encoder_weights"]
            made = self.commands.run(self.base, name, *command.words, *inputs, f"out=in/{folder}")
            assert made.status == 0, made.err

    def run(
        self,
        verb: str,
        out: str | Path | None = None,
        inputs: dict[str, str] | None = None,
        extra: tuple[str, ...] = (),
        **wrong: Any,
    ) -> Ended:
        """Run a verb, with other inputs and more settings where given; see `tests/forked_commands.py` for what may be wrong."""
        self.make_inputs(verb)
        command = COMMANDS[verb]
        inputs = inputs or {}
        given = {key: inputs.get(key, f"in/{path}") for key, path in command.inputs.items()}
        words = [f"{key}={path}" for key, path in given.items()]
        out = out or command.out
        return self.commands.run(self.base, *_words(verb), *command.words, *words, *extra, f"out={out}", **wrong)


def _words(verb: str) -> list[str]:
    return ["profile"] if verb == "bundle" else verb.split()


INPUT_FAULTS = (
    "no rights",
    "dangling link",
    "circular link",
    "name too long",
    "below a file",
    "pipe",
    "device",
    "folder",
    "nothing",
)
PART_FAULTS = ("no rights", "pipe", "folder", "circular link")


def out_fault(bench: Bench, verb: str, fault: str) -> tuple[Ended, Path]:
    """Run a command whose `out` meets a fault; how it ended, and where it should have written."""
    name = COMMANDS[verb].out
    folder = fault_folder(bench, verb, fault)
    folder.mkdir()
    if fault in FULL:
        return _on_full_disk(bench, verb, folder, folder / name, FULL[fault]), folder / name
    if fault in FAILING:
        number, after = FAILING[fault]
        return bench.run(verb, folder / name, failing=[number, str(folder), after]), folder / name
    out, wrong = PLACES[fault](folder, name)
    return bench.run(verb, out, **wrong), out


def fault_folder(bench: Bench, verb: str, fault: str) -> Path:
    """The folder in which a command meets a fault of `out`."""
    return bench.base / f"{verb} {fault}".replace(" ", "-")


def _read_only_parent(folder: Path, name: str) -> _Place:
    folder.chmod(0o555)
    return folder / name, {"modes": True}


def _read_only_folder(folder: Path, name: str) -> _Place:
    (folder / "out").mkdir()
    (folder / "out").chmod(0o555)
    return (folder / "out" / name if "." in name else folder / "out"), {"modes": True}


def _long_name(folder: Path, name: str) -> _Place:
    return folder / ("n" * 300 + Path(name).suffix), {}


def _dangling_link(folder: Path, name: str) -> _Place:
    (folder / "link").symlink_to("nothing/there")
    return folder / "link" / name, {}


def _circular_link(folder: Path, name: str) -> _Place:
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    return folder / "one" / name, {}


def _below_a_file(folder: Path, name: str) -> _Place:
    (folder / "file").write_text("kept")
    return folder / "file" / name, {}


def _removed(folder: Path, name: str) -> _Place:
    return folder / name, {"removed": str(folder if "." in name else folder / name)}


def _metrics_removed(folder: Path, name: str) -> _Place:
    return folder / name, {"removed": str(folder / name / "metrics.jsonl")}


def _limited(folder: Path, name: str) -> _Place:
    return folder / name, {"file_bytes": 5000}


METRICS_REMOVED = "metrics removed in mid-run"
PLACES: dict[str, Callable[[Path, str], _Place]] = {
    "read-only parent": _read_only_parent,
    "read-only folder": _read_only_folder,
    "name too long": _long_name,
    "dangling link": _dangling_link,
    "circular link": _circular_link,
    "below a file": _below_a_file,
    "removed in mid-run": _removed,
    METRICS_REMOVED: _metrics_removed,
    "limit of 5000 bytes": _limited,
}
"""Fault of `out` -> makes it, and says what `out` is and what else is wrong; see `tests/forked_commands.py`."""
FULL = {"no byte left": 0, "16 KB left": 16 << 10}
"""Fault of the disk -> bytes that are free."""
FAILING = {"quota at once": (errno.EDQUOT, 0), "quota later": (errno.EDQUOT, 2), "disk broken later": (errno.EIO, 3)}
"""Fault of the disk -> the error of the system, and after how many writes it begins."""
OUT_FAULTS = tuple(name for name in (*PLACES, *FULL, *FAILING) if name != METRICS_REMOVED)


def _on_full_disk(bench: Bench, verb: str, folder: Path, out: Path, free: int) -> Ended:
    size = 64 << 10
    if not _mount(folder, size):
        pytest.skip("mounting is not allowed here")
    try:
        (folder / "filler").write_bytes(bytes(size - free))
        return bench.run(verb, out)
    finally:
        # What is left is looked at later.
        kept = folder.with_name(f"{folder.name}-kept")
        shutil.copytree(folder, kept, symlinks=True)
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607
        shutil.rmtree(folder)
        kept.rename(folder)


def _mount(folder: Path, size: int) -> bool:
    return ctypes.CDLL(None).mount(b"none", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode()) == 0


def input_fault(bench: Bench, verb: str, key: str, fault: str) -> Ended:
    """Run a command of which an input meets a fault."""
    bench.make_inputs(verb)
    good = bench.given / COMMANDS[verb].inputs[key]
    folder = bench.base / f"{verb} {key} {fault}".replace(" ", "-")
    folder.mkdir()
    bad = folder / good.name
    wrong: dict[str, Any] = {}
    if fault == "no rights":
        (shutil.copytree if good.is_dir() else shutil.copy)(good, bad)
        bad.chmod(0)
        wrong["modes"] = True
    elif fault == "dangling link":
        bad.symlink_to("nothing")
    elif fault == "circular link":
        bad.symlink_to("other")
        (folder / "other").symlink_to(bad.name)
    elif fault == "name too long":
        bad = folder / ("n" * 300 + good.suffix)
    elif fault == "below a file":
        bad = bench.given / "genotype.yaml" / good.name
    elif fault == "pipe":
        os.mkfifo(bad)
    elif fault == "device":
        bad = Path("/dev/zero")
    elif fault == "folder":
        bad.mkdir()
    return bench.run(verb, folder / COMMANDS[verb].out, {key: str(bad)}, **wrong)


def part_fault(bench: Bench, verb: str, key: str, part: str, fault: str) -> tuple[Ended, Path]:
    """Run a command that reads a run of which a file meets a fault; how it ended, and where it may have written."""
    folder = bench.base / f"{verb} {part} {fault}".replace(" ", "-").replace("/", "-")
    run = folder / "run"
    bench.make_inputs(verb)
    shutil.copytree(bench.given / COMMANDS[verb].inputs[key], run)
    bad = run / part
    wrong: dict[str, Any] = {}
    if fault == "no rights":
        bad.chmod(0)
        wrong["modes"] = True
    else:
        bad.unlink()
    if fault == "pipe":
        os.mkfifo(bad)
    elif fault == "folder":
        bad.mkdir()
    elif fault == "circular link":
        bad.symlink_to(bad.name)
    out = folder / COMMANDS[verb].out
    return bench.run(verb, out, {key: str(run)}, **wrong), out


def complaint(ended: Ended, verb: str, written: Path | None = None) -> str | None:
    """What is wrong with the end of a command that met a fault; None: nothing.

    Args:
        ended: Its end.
        verb: The verb.
        written: What it may have written before the fault could strike, or in spite of it.
    """
    if ended.status is None:
        return "hangs"
    if "Traceback" in ended.err:
        return f"traceback: {ended.err.strip().splitlines()[-1]}"
    if ended.status == 0 and written is not None and written.exists():
        return None
    said = [line for line in ended.err.splitlines() if line.startswith(f"nas {' '.join(_words(verb))}: ")]
    last = ended.err.rstrip("\n").rpartition("\n")[2]
    if ended.status not in (1, 2) or len(said) != 1 or last != said[0] or len(last) > LONGEST:
        return f"status {ended.status}: {ended.out[-200:]!r} {ended.err[-600:]!r}"
    return None


def left_behind(folder: Path) -> list[str]:
    """Files that are half written, temporary, or locks."""
    found = []
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        if path.name.endswith((".tmp", ".lock")) or path.parent.name.startswith("tmp"):
            found.append(str(path))
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".pt":
            load_checkpoint(path)
    return found
