"""Searches and trainings of a second or two, for the tests of the stages; and what two runs have in common."""

from __future__ import annotations

import dataclasses
import json
import resource
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

import nas
from nas.config.jobs import SearchJob, TrainJob
from nas.config.settings import DeploySettings, LatencySettings, SearchSettings, TrainerSettings
from nas.config.train_settings import DistillSettings, TrainSettings
from nas.cost import Entry, LatencyTable, MacsTable, ProtocolInfo, RuntimeInfo, save_table
from nas.data import build_dataset
from nas.data.batches import file_handles
from nas.data.synthetic import SyntheticConfig
from nas.devices.runtime_name import RuntimeName
from nas.devices.this_machine import DeviceInfo
from nas.distributed.fabric import make_fabric
from nas.ops import OpSpec
from nas.runs.checkpoint import load_checkpoint
from nas.runs.tracking import read_metrics
from nas.space.deployment import Deployment
from nas.space.genotype import Genotype, save_genotype
from nas.supernet.search_task import SearchTask
from search_spaces import SEARCH_SPACES
from search_spaces.lgcnet.config import LGCNetConfig

CHECKOUT = Path(__file__).resolve().parent.parent
SIZE = (48, 64)
SPACE = {"num_cells": 3, "reduction_cells": [1, 2], "fused_cells": [0, 1, 2], "head_channels": 8, "guided_dim": 8}
SMALL_SPACE = ["space.num_cells=3", "space.reduction_cells=[1,2]", "space.fused_cells=[0,1,2]", "space.head_channels=8"]
STEPS_PER_EPOCH = 3
SEARCH = {"epochs": 2, "batch_size": 2, "init_channels": 4, "log_every": 1, "recalibrate": 1}
TRAINER = {"accelerator": "cpu", "threads": 1}


def space_config(**changes: Any) -> LGCNetConfig:
    return LGCNetConfig(**{**SPACE, **changes})


def data_config(**changes: Any) -> SyntheticConfig:
    return SyntheticConfig(**{"size": list(SIZE), "train": 6, "val": 2, "test": 3, **changes})


def search_job(out: Path | str | None = None, **changes: Any) -> SearchJob:
    """Two epochs of three steps; keys with two underscores reach into a section, e.g. `latency__weight=0.0`."""
    sections = _sections(changes)
    return SearchJob(
        space=space_config(**sections.pop("space", {})),
        data=data_config(**sections.pop("data", {})),
        search=SearchSettings(**{**SEARCH, **sections.pop("search", {})}),
        latency=LatencySettings(**{"table": "macs", **sections.pop("latency", {})}),
        deploy=DeploySettings(**{"init_channels": 4, **sections.pop("deploy", {})}),
        trainer=TrainerSettings(**{**TRAINER, **sections.pop("trainer", {})}),
        out=None if out is None else str(out),
        **sections,
    )


def train_job(genotype: Path | str, out: Path | str | None = None, **changes: Any) -> TrainJob:
    """Two epochs of three steps; keys as for `search_job`."""
    sections = _sections(changes)
    return TrainJob(
        genotype=str(genotype),
        data=data_config(**sections.pop("data", {})),
        train=TrainSettings(**{"epochs": 2, "batch_size": 2, "log_every": 1, **sections.pop("train", {})}),
        distill=DistillSettings(**sections.pop("distill", {})),
        trainer=TrainerSettings(**{**TRAINER, **sections.pop("trainer", {})}),
        out=None if out is None else str(out),
        **sections,
    )


def allow_open_files(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let the arithmetic of open files find so many allowed and none in use."""
    limit = resource.getrlimit
    monkeypatch.setattr(file_handles, "_in_use", lambda: 0)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (count, count) if which == resource.RLIMIT_NOFILE else limit(which))


def overrides(job: Any) -> list[str]:
    """The command line of a job: every setting that is not the default."""
    given, default = dict(_flat(job)), dict(_flat(_default(job)))
    return [f"{key}={json.dumps(value)}" for key, value in given.items() if value != default[key]]


def search_task(job: SearchJob) -> SearchTask:
    """The task of a search as `nas.search.search` makes it."""
    fabric = make_fabric(job.trainer)
    torch.manual_seed(job.seed)
    splits = {f"{split}_set": build_dataset(job.data, split) for split in ("train", "val")}
    return SearchTask(job, nas.build_space(job.space), **splits, fabric=fabric)


def batch(seed: int = 0, *, num: int = 2) -> tuple[Tensor, Tensor]:
    """Random images and labels, a tenth of them void."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(11, (num, *SIZE), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.1] = 255
    return torch.randn(num, 3, *SIZE, generator=generator), labels


def random_genotype(path: Path, *, seed: int = 0, init_channels: int = 4) -> Genotype:
    """A valid architecture of the small space, drawn from a seed and written to a file."""
    config = space_config()
    space = SEARCH_SPACES["lgcnet"].build(config)
    choices = space.random_choices(torch.Generator().manual_seed(seed))
    deploy = Deployment(SIZE, init_channels, 11)
    genotype = Genotype("lgcnet", dataclasses.asdict(config), deploy, choices, {"seed": seed, "data": "synthetic"})
    save_genotype(path, genotype)
    return genotype


def made_up_table(path: Path, specs: Sequence[OpSpec] = ()) -> LatencyTable:
    """A latency table, without specs for the small space: a microsecond each, and 10 for every million of MACs."""
    specs = specs or nas.build_space(search_job().space).plan(Deployment(SIZE, 4, 11))
    macs = MacsTable()
    costs = {spec.key: 1e-3 + 1e-2 * macs.cost(spec) for spec in specs if spec.kind not in ("none", "identity")}
    table = LatencyTable(
        device=DeviceInfo(name="some-board"),
        runtime=RuntimeInfo.of(RuntimeName(backend="torch-eager"), version="1"),
        protocol=ProtocolInfo(warmup=1, rounds=1, calls="1", statistic="median", threads=1),
        measured_at="2026-01-01T00:00:00+00:00",
        entries={key: Entry(cost, cost, cost, 1) for key, cost in costs.items()},
    )
    save_table(table, path)
    return table


def rows(run: Path, split: str | None = None) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without wall times."""
    kept = [
        {k: v for k, v in row.items() if not k.startswith("seconds") and k != "data_share"}
        for row in read_metrics(run / "metrics.jsonl")
    ]
    return [row for row in kept if split in (None, row["split"])]


def assert_same_run(run: Path, other: Path) -> None:
    """Everything that a run leaves behind but wall times and what follows from their number of digits."""
    assert rows(run) == rows(other)
    for name in ("last", "best"):
        states = [load_checkpoint(folder / "checkpoints" / f"{name}.pt") for folder in (run, other)]
        for state in states:
            state["loop"].pop("metrics_offset")
            state.get("provenance", {}).pop("commit", None)
        assert_same_state(*states, where=name)
    if (run / "weights.safetensors").exists():
        assert (run / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    documents = [yaml.safe_load((folder / "genotype.yaml").read_text()) for folder in (run, other)]
    for document in documents:
        document["provenance"].pop("commit", None)
    assert documents[0] == documents[1]


def assert_same_state(one: Any, other: Any, where: str = "state") -> None:
    """Bitwise equality of nested states."""
    assert type(one) is type(other), where
    if isinstance(one, Tensor):
        assert one.dtype == other.dtype, where
        assert torch.equal(one, other), where
    elif isinstance(one, Mapping):
        assert list(one) == list(other), where
        for key in one:
            assert_same_state(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same_state(*pair, f"{where}.{index}")
    else:
        assert one == other, where


def _sections(changes: Mapping[str, Any]) -> dict[str, Any]:
    sections: dict[str, Any] = {}
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            sections.setdefault(section, {})[name] = value
        else:
            sections[key] = value
    return sections


def _default(job: Any) -> Any:
    if isinstance(job, SearchJob):
        return SearchJob(space=LGCNetConfig(), data=SyntheticConfig())
    return TrainJob(data=SyntheticConfig())


def _flat(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from _flat(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value
