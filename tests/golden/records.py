"""What a finished command leaves behind, as plain data that is the same for every run of the same code."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from nas.cli import main
from tests.golden.stored import DIGEST

WALL_TIME = ("seconds", "data_share")
VARYING = ("commit", "version")
"""Of the provenance: which version of the code wrote the file."""


def run_in(folder: Path, *argv: str) -> str:
    """Run a command that must succeed in a folder; returns what it prints."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as out:
        status = main(list(argv))
    assert status == 0, out.getvalue()
    return out.getvalue()


def rows(run: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without wall times."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if not key.startswith(WALL_TIME)} for line in lines]


def genotype(path: Path) -> dict[str, Any]:
    """A genotype's file without the version of the code that wrote it."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["provenance"] = {key: value for key, value in document["provenance"].items() if key not in VARYING}
    return document


def genotypes(folder: Path) -> dict[str, Any]:
    """All genotypes in a folder, by file name."""
    return {path.name: genotype(path) for path in sorted(folder.glob("genotype*.yaml"))}


def checkpoint(path: Path) -> dict[str, str]:
    """A hash for each part of a checkpoint: of every tensor's place, type, shape and bytes, and of every number and text."""
    state = torch.load(path, weights_only=True)
    parts = {**state["state"], "format_version": state["format_version"]}
    for newer_or_varying in ("provenance", "planned_steps", "inputs"):
        parts.pop(newer_or_varying, None)
    parts["loop"] = {key: value for key, value in parts["loop"].items() if key != "metrics_offset"}
    return {key: digest(parts[key]) for key in sorted(parts)}


def weights(path: Path) -> str:
    """A hash of the tensors of a safetensors file."""
    return digest(load_file(path))


def digest(value: Any) -> str:
    """A hash of nested data, with keys in sorted order."""
    total = hashlib.sha256()
    _feed(total, "", value)
    return DIGEST + total.hexdigest()


def _feed(total: Any, where: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            _feed(total, f"{where}/{key}", value[key])
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _feed(total, f"{where}/{index}", item)
    elif isinstance(value, torch.Tensor):
        total.update(f"{where} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray):
        total.update(f"{where} {value.dtype} {value.shape}\n".encode())
        total.update(np.ascontiguousarray(value).tobytes())
    else:
        total.update(f"{where} {value!r}\n".encode())


def picture(path: Path) -> str:
    """A hash of the decoded pixels."""
    with Image.open(path) as image:
        return digest(np.asarray(image))


def vector_picture(path: Path) -> str:
    """A hash of an SVG without its date and the names that Matplotlib makes up for clipping paths and marks."""
    text = re.sub(r"<dc:date>.*?</dc:date>", "", path.read_text(encoding="utf-8"))
    return digest(re.sub(r'(?<=[#"])[mp][0-9a-f]{10}(?=[)"])', "made-up", text))


def files(folder: Path) -> list[str]:
    """Everything that lies in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def headings(path: Path) -> dict[str, Any]:
    """The sections of a report, and how many pictures and tables there are."""
    text = path.read_text(encoding="utf-8")
    found = [re.sub(r"<[^>]+>", "", heading).strip() for heading in re.findall(r"<h[2-6][^>]*>(.*?)</h[2-6]>", text, re.DOTALL)]
    return {"sections": found, **{tag: len(re.findall(f"<{tag}[ >]", text)) for tag in ("img", "svg", "table")}}


def stable(text: str) -> str:
    """What a command prints without the version of the code, the commit and times."""
    text = re.sub(r"^(  commit +)[0-9a-f]{40}\S*", r"\1COMMIT", text, flags=re.MULTILINE)
    text = re.sub(r"^(  version +)[0-9]\S*", r"\1VERSION", text, flags=re.MULTILINE)
    text = re.sub(r"\b\d+ days?\b", "N days", text)
    return re.sub(r"ETA \S+,|finished in \d+ (s|min)\b", "TIME", text)


def search(run: Path) -> dict[str, Any]:
    """A finished search."""
    return {
        "metrics": rows(run),
        "genotypes": genotypes(run),
        "predicted": json.loads(predicted.read_text()) if (predicted := run / "predict.json").is_file() else None,
        "checkpoint": checkpoint(run / "checkpoints" / "last.pt"),
        "report": headings(run / "report.html"),
        "files": files(run),
    }


def training(run: Path) -> dict[str, Any]:
    """A finished training."""
    return {
        "metrics": rows(run),
        "genotypes": genotypes(run),
        "weights": weights(run / "weights.safetensors"),
        "checkpoint": checkpoint(run / "checkpoints" / "last.pt"),
        "files": files(run),
    }


def evaluation(folder: Path) -> dict[str, Any]:
    """An evaluation: every number, and the pictures' pixels."""
    pictures = sorted((folder / "predictions").glob("*.png"))
    report = json.loads((folder / "eval.json").read_text(encoding="utf-8"))
    return {
        "eval": {key: value for key, value in report.items() if key not in ("weights_sha256", "data_settings")},
        "pictures": {path.name: picture(path) for path in pictures},
    }


def words(*groups: Sequence[str]) -> list[str]:
    """One command line of several groups; of a setting that is given twice the last counts."""
    merged = {word.partition("=")[0]: word for group in groups for word in group}
    return list(merged.values())
