"""How often a step waits for the device: every value that it takes to the host is counted, on the CPU as on a GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nas.data import build_dataset
from nas.distributed.fabric import make_fabric
from nas.metrics import confusion_counts, confusion_matrix
from nas.space.design import load_design
from nas.supernet.search_task import SearchTask
from nas.training.train_setup import make_task
from search_spaces import all_spaces
from tests.small_jobs import batch, made_up_table, random_genotype, search_job, search_task, train_job

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.bincount.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.equal.default,
    aten.is_nonzero.default,
}
"""Operations for which the host waits on a GPU."""


class Waits(TorchDispatchMode):
    """Counts them, but for those of what lives on the CPU: the optimisers' counts of steps, the data loader's seed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        picked = func is aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        if (func in WAITING or picked) and not _on_host():
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


def _telling(found: list[str], name: str) -> Any:  # noqa: ANN401
    original = getattr(Tensor, name)

    def told(tensor: Tensor, *args: object) -> Any:  # noqa: ANN401
        found.append(name)
        return original(tensor, *args)

    return told


def _on_host() -> bool:
    frame = sys._getframe()
    while frame is not None:
        path = Path(frame.f_code.co_filename).as_posix()
        if "/torch/optim/" in path or "/torch/utils/data/" in path:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The waits of the block."""
    waits = Waits()
    for name in ("tolist", "cpu", "numpy"):
        monkeypatch.setattr(Tensor, name, _telling(waits.found, name))
    with waits:
        yield waits.found
    monkeypatch.undo()


def test_the_count_sees_what_a_host_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.tensor([1.0, 2.0])
    with counted(monkeypatch) as found:
        x.tolist(), float(x[0]), bool(x[0] > 0), x[x > 1], x.cpu(), torch.bincount(x.long())
    assert len(found) == 6


def copies_of(task: SearchTask, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    task.step(*batch(), 0)
    with counted(monkeypatch) as found:
        task.step(*batch(), 1)
    return found


@pytest.mark.parametrize(
    ("settings", "copies"),
    [
        ({}, 1),
        ({"search__relaxation": "hard"}, 1),
        ({"search__loss": "ohem"}, 1),
        ({"search__execution": "reference", "trainer__checkpointing": "all"}, 1),
        ({"search__noise": "image"}, 1),
        ({"search__relaxation": "sampled"}, 2),
        ({"search__level": "bilevel"}, 2),
    ],
    ids=str,
)
def test_a_search_step_copies_once_and_once_more_for_what_it_draws_or_for_a_second_level(
    settings: dict[str, Any], copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert copies_of(search_task(search_job(**settings)), monkeypatch) == ["tolist"] * copies


def test_targets_take_one_copy_more_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up_table(tmp_path / "one.json")
    (tmp_path / "two.json").write_text((tmp_path / "one.json").read_text().replace("some-board", "other-board"))
    tables = [str(tmp_path / "one.json"), str(tmp_path / "two.json")]
    for given in (tables[:1], tables):
        job = search_job(latency__table=given, latency__target_ms=[100.0] * len(given))
        assert copies_of(search_task(job), monkeypatch) == ["tolist"] * 2


def test_a_training_step_copies_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_genotype(tmp_path / "g.yaml")
    job = train_job(tmp_path / "g.yaml", train__accumulate=2, train__batch_size=1, train__ema=0.9)
    splits = {f"{split}_set": build_dataset(job.data, split) for split in ("train", "val")}
    design = load_design(job.genotype, all_spaces())
    task = make_task(job, design, all_spaces(), **splits, fabric=make_fabric(job.trainer))
    task.step(*batch(), 0)
    with counted(monkeypatch) as found:
        task.step(*batch(), 0)
    assert found == ["tolist"]


def test_the_counts_of_a_step_are_the_confusion_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, label = (torch.randint(5, (3, 9, 7), generator=generator) for _ in range(2))
    label[torch.rand(label.shape, generator=generator) < 0.2] = 255
    assert torch.equal(confusion_counts(prediction, label, 5), confusion_matrix(prediction, label, 5))
