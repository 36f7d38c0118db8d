"""A search in earnest, in a process that does one after another: what it found and what it took."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time

import torch

from nas.config.jobs import SearchJob
from nas.data.dataset import SegmentationDataset
from nas.distributed.fabric import make_fabric
from nas.errors import ConfigError, ResumableError, UserError, WorkerStoppedError
from nas.files.atomic import write_text_atomic
from nas.runs.tracking import read_metrics
from nas.space.by_name import build_space
from nas.space.weights import one_hot
from nas.supernet.search_task import SearchTask
from nas.supernet.setup import search_splits
from nas.training.loop import fit
from search_spaces import all_spaces

RANKED_SHARE = 0.25
"""Share of the validation images on which networks are ranked in the supernet."""


@dataclass(frozen=True, slots=True)
class Searched:
    """A finished search.

    Args:
        seconds: CPU seconds of its steps, its evaluation and its derivation.
        choices: The derived architecture, decision -> option.
        predicted_ms: Predicted latency of its network in ms.
        entropy: Mean entropy of the decisions at the end: 1 undecided, 0 decided.
        gap: MIoU of the supernet as it is sampled at the end minus that of its argmax network; None where a space's derived
            networks are not in its supernet.
        losses: Loss that the supernet has at the end with each network that it was to rank.
    """

    seconds: float
    choices: Mapping[str, str]
    predicted_ms: float
    entropy: float
    gap: float | None
    losses: tuple[float, ...] = ()


def prepared(job: SearchJob) -> SearchTask:
    """The task of a search, as `nas search` makes it.

    Raises:
        UserError: If table or settings do not fit.
    """
    train_set, val_set = _splits(job)
    fabric = make_fabric(job.trainer)
    torch.manual_seed(job.seed)
    return SearchTask(job, build_space(job.space, all_spaces()), train_set=train_set, val_set=val_set, fabric=fabric)


def run_search(job: SearchJob, ranked: Sequence[Mapping[str, str]] = ()) -> Searched:
    """Search on one thread. The scenes are drawn before the seconds are counted, and kept for the next search.

    Args:
        job: The settings; its folder is removed.
        ranked: Architectures, decision -> option, that the supernet ranks at the end, which is not in the seconds.

    Raises:
        UserError: If settings do not fit.
        ResumableError: If the search cannot go on.
    """
    out = Path(str(job.out))
    shutil.rmtree(out, ignore_errors=True)  # of a search that was stopped: its cost is not known
    out.mkdir(parents=True)
    task = prepared(job)
    for split in _splits(job):
        for index in range(len(split)):
            split.load(index)
    start = process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        fit(task, task.plan, task.train_set, fabric=task.fabric, out=out, resume=False)
    choices = dict(task.derived.first().choices)
    seconds = process_time() - start
    last = {row["split"]: row["miou"] for row in read_metrics(out / "metrics.jsonl") if row["split"] in ("val", "val_argmax")}
    gap = last["val"] - last["val_argmax"] if "val_argmax" in last else None
    decisions, name = task.space.choices(), task.derived.first_set
    fixed = {choice.name: choice.options[0] for choice in decisions}
    each = [one_hot({**fixed, **one}, decisions, device=task.fabric.device, architecture=name) for one in ranked if gap is not None]
    task.model.eval()
    losses = tuple(task.evaluation.losses(each, share=RANKED_SHARE))
    found = Searched(seconds, choices, task.derived.latencies()[0], task.entropy(), gap, losses)
    shutil.rmtree(out)
    return found


def run_and_keep(job: SearchJob, kept: Path, name: str, ranked: Sequence[Mapping[str, str]]) -> Searched:
    """Search in a process of the pool, and write a file of what was found.

    Args:
        job: The settings.
        kept: The file, as `read_searched` reads it.
        name: Names the search in messages.
        ranked: See `run_search`.

    Raises:
        ConfigError: If settings do not fit.
        WorkerStoppedError: If the search cannot go on.
    """
    try:
        found = run_search(job, ranked)
    except UserError as error:
        raise ConfigError(f"{name}: {_first_line(error)}") from error
    except ResumableError as error:
        raise WorkerStoppedError(f"{name}: {_first_line(error)}") from error
    except Exception as error:
        error.add_note(name)
        raise
    write_text_atomic(kept, json.dumps(asdict(found)) + "\n")
    return found


def read_searched(kept: Path) -> Searched:
    """What a search found, from its file."""
    content = json.loads(kept.read_text(encoding="utf-8"))
    return Searched(**{**content, "losses": tuple(content["losses"])})


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


_KEPT: dict[str, tuple[SegmentationDataset, SegmentationDataset]] = {}
"""The splits of the last search, with the scenes that they have drawn."""


def _splits(job: SearchJob) -> tuple[SegmentationDataset, SegmentationDataset]:
    """The splits of a search, those of the last one if it reads the same data."""
    key = repr(job.data)
    if key not in _KEPT:
        _KEPT.clear()
        _KEPT[key] = search_splits(job)
    return _KEPT[key]
