"""Mutated files of a bundle: the worker refuses each in one line, or measures what the job states; nothing outside changes."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import os
import random
import shutil
import sys
import warnings
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nas.worker import main as worker
from nas.worker.interface import Operation, Run, Runtime, Setup
from nas.worker.job import JOB_VERSION, job_id
from tests.measuring.runners.children import in_child, tree

CONTENT = {f"{number:04d}.onnx": f"graph {number} ".encode() * 50 for number in range(3)}
WRONG: list[Any] = [None, True, False, 0, -1, 1.5, 10**9, 10**400, 1e300, [], {}, [1], {"a": 1}, [[[[]]]]]
WRONG += ["", "x", "\x1b[2J\n", "\ud800", "/tmp/up", "../up", "x" * 10**5, "0000.onnx", "0000.\0", "\u0661" * 4 + ".onnx"]
CONSTANTS = ["NaN", "-Infinity", "1e999", "9" * 100_000, "[" * 100_000, '{"a":' * 100_000, '"\\ud800"', "01", "'x'"]
MOST_MB, MOST_S = 300, 20


class OwnGraphs(Runtime):
    """Refuses a file that is not the graph of the operation's number in its key."""

    version = "1.0"

    def __init__(self, setup: Setup) -> None:
        del setup

    def open(self, operation: Operation) -> Run:
        content = Path(operation.path).read_bytes()
        assert content == CONTENT[operation.key.replace("op", "000") + ".onnx"], "another graph was opened"
        return lambda calls: 1.0 + 0 * calls


def job() -> dict[str, Any]:
    def one(name: str, content: bytes) -> dict[str, Any]:
        stated = {"graph": name, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        return {"key": f"op{int(name[:4])}", **stated, "inputs": [["x0", [1, 2, 3, 4]]], "output": [1, 2], "output_type": "float32"}

    fields = {
        "format_version": JOB_VERSION,
        "device": None,
        "runtime": {"backend": "fake", "precision": "fp32", "batch": 1, "threads": 1},
        "accelerator": "cpu",
        "protocol": {"rounds": [2, 3], "program_rounds": [1, 1], "ci": 0.02},
        "energy": False,
        "reference": 0,
        "planned": 3,
        "operations": [one(name, content) for name, content in CONTENT.items()],
    }
    return {"id": job_id(fields), **fields}


def packed(members: dict[str, bytes] = CONTENT, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


Place = tuple[Any, ...]


def places(raw: Any, place: Place = ()) -> list[Place]:
    children = list(raw.items()) if isinstance(raw, dict) else list(enumerate(raw)) if isinstance(raw, list) else []
    return [inner for name, child in children for inner in [(*place, name), *places(child, (*place, name))]]


def at(raw: Any, place: Place) -> Any:
    for name in place:
        raw = raw[name]
    return raw


def changed_value(raw: Any, draw: random.Random) -> str:
    """Another value at a random place, a value lost, or one said twice; a job's id fits in half of the cases."""
    raw = copy.deepcopy(raw)
    place = draw.choice(places(raw))
    around, kind = at(raw, place[:-1]), draw.randrange(5)
    if kind == 0:
        del around[place[-1]]
    elif kind == 1 and isinstance(around, dict):
        around[draw.choice(["", "id", "x" * 300, "\x00"])] = around.pop(place[-1])
    elif kind == 2:
        around[place[-1]] = copy.deepcopy(at(raw, draw.choice(places(raw))))
    elif kind == 3:
        around[place[-1]] = "@@"
        return json.dumps(raw).replace('"@@"', draw.choice(CONSTANTS))
    else:
        around[place[-1]] = copy.deepcopy(draw.choice(WRONG))
    if "id" in raw and isinstance(raw, dict) and draw.random() < 0.5:
        with contextlib.suppress(TypeError):
            raw["id"] = job_id(raw)
    return json.dumps(raw)


def garbled(content: bytes, draw: random.Random) -> bytes:
    """A few bytes overwritten, dropped, doubled or cut off."""
    for _ in range(draw.randrange(1, 4)):
        place, length = draw.randrange(len(content) + 1), draw.randrange(1, 8)
        piece = content[place : place + length]
        new = draw.choice([b"", piece * 2, piece[::-1], bytes(draw.randrange(256) for _ in piece), b"\xff" * length])
        content = content[:place] + (new + content[place + length :] if draw.random() < 0.9 else b"")
    return content


def other_archive(draw: random.Random) -> bytes:
    """An archive with other members, other packing or members that are no graphs."""
    members = dict(CONTENT)
    name = draw.choice(list(members))
    kind = draw.randrange(7)
    if kind == 0:
        members[name] = draw.choice([b"", b"other", members["0001.onnx"], bytes(30_000_000)])
    elif kind == 1:
        del members[name]
    elif kind == 2:
        return packed(method=draw.choice([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED]))
    elif kind == 3:
        members.update({"/tmp/up": b"x", "../up": b"x", "a/../../up": b"x", "graph.onnx": b"x"})
    stream = io.BytesIO(packed(members))
    if kind > 3:
        with zipfile.ZipFile(stream, "a") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            info = zipfile.ZipInfo(name if kind == 4 else "link")
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    return garbled(stream.getvalue(), draw) if draw.random() < 0.3 else stream.getvalue()


def mutate(folder: Path, whole: dict[str, bytes], draw: random.Random) -> str:
    """Change one file of a folder; returns which."""
    name = draw.choice(["job.json", "job.json", "graphs.zip", "graphs.zip", "journal.jsonl", "notes.jsonl", "lock", "result.json"])
    content, path = whole[name], folder / name
    if draw.random() < 0.06:
        path.unlink()
        precious = folder.parent / "precious"
        draw.choice([path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to(precious), lambda: None])()
        return name
    if name == "graphs.zip":
        new = other_archive(draw) if draw.random() < 0.6 else garbled(content, draw)
    elif name in ("journal.jsonl", "notes.jsonl") and draw.random() < 0.7:
        lines = content.decode().splitlines()
        number = draw.randrange(len(lines))
        lines[number] = changed_value(json.loads(lines[number]), draw)
        new = "".join(f"{line}\n" for line in lines).encode()
    elif name in ("job.json", "result.json") and draw.random() < 0.8:
        new = changed_value(json.loads(content), draw).encode()
    else:
        new = garbled(content, draw)
    path.write_bytes(new)
    return name


def run(folder: Path, outcome: Path) -> None:
    """Run the worker here; its exit status and what it says go into a file."""
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    sys.argv, worker.RUNTIMES = [str(folder / "worker.py")], {"fake": OwnGraphs}  # type: ignore[misc]
    with contextlib.redirect_stdout(said):
        status = worker.main([])
    said.flush()
    outcome.write_text(json.dumps([status, said.buffer.getvalue().decode()]))  # type: ignore[attr-defined]


def half(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(lines[: len(lines) // 2 + 1])


@pytest.mark.parametrize(("seed", "count"), [(1, 50), pytest.param(2, 3000, marks=pytest.mark.slow)])
def test_every_mutation_is_refused_in_one_line_or_changes_nothing_that_is_measured(seed: int, count: int, tmp_path: Path) -> None:
    around, outcome = tmp_path / "around", tmp_path / "outcome.json"
    folder = around / "run"
    folder.mkdir(parents=True)
    (around / "precious").write_text("mine")
    (folder / "job.json").write_text(json.dumps(job()))
    (folder / "graphs.zip").write_bytes(packed())
    assert in_child(lambda: run(folder, outcome)).kind == "done"
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert json.loads(outcome.read_text())[0] == 0
    whole["journal.jsonl"] = half(whole["journal.jsonl"])
    draw, ends = random.Random(seed), Counter[str]()
    for number in range(count):
        shutil.rmtree(folder)
        folder.mkdir()
        for name, content in whole.items():
            if name != "result.json" or draw.random() < 0.3:
                (folder / name).write_bytes(content)
        (folder / "result.json").touch()
        outcome.unlink(missing_ok=True)
        name = mutate(folder, whole, draw)
        where = f"seed {seed}, mutation {number} of {name}"
        ended = in_child(lambda: run(folder, outcome), timeout=MOST_S)
        assert ended.kind == "done", (where, ended)
        assert ended.grown_mb < MOST_MB, (where, ended)
        status, said = json.loads(outcome.read_text())
        ends[f"{name} {status}"] += 1
        assert status in (0, 2), (where, said)
        refusals = [line for line in said.splitlines() if line.startswith("worker: ")]
        assert len(refusals) == (status == 2), (where, said)
        assert all(line.isprintable() and len(line) < 1200 for line in said.splitlines()), (where, said)
        outside = {name: content for name, content in tree(around).items() if not name.startswith("run")}
        assert outside == {"precious": b"mine"}, where
        assert not ({path.name for path in folder.iterdir()} - {*whole, "worker.py"}), where
        if status == 0:
            result = json.loads((folder / "result.json").read_text())
            assert result["graphs"] == [one["sha256"] for one in result["job"]["operations"]], where
    assert {name.split()[0] for name in ends} == set(whole) - {"worker.py"}, ends
    assert ends["graphs.zip 2"] > 0.4 * sum(end for name, end in ends.items() if name.startswith("graphs.zip"))
