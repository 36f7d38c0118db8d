"""Scenarios for two processes on the loopback, and for one: the same function in each, on its part of the data.

As a program it is one of the processes: `python -m tests.distributed.two_processes FOLDER`, with gloo between CPUs.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

import nas
import nas.distributed.ranks
from nas.config.jobs import SearchJob
from nas.config.settings import DeploySettings, LatencySettings, SearchSettings, TrainerSettings
from nas.data import build_dataset
from nas.data.batches.loader import BatchPart
from nas.distributed.fabric import Replicas, make_fabric, ranks_of
from nas.distributed.ranks import Ranks
from nas.distributed.synced_batch_norm import SyncedBatchNorm2d, synchronise_batch_norms
from nas.distributed.world import world
from nas.errors import RanksDifferError, UserError
from nas.losses import cross_entropy, ohem
from nas.losses.distillation import distillation
from nas.space.design import load_design
from nas.supernet.search_task import SearchTask
from nas.training.train_setup import make_task
from search_spaces import SEARCH_SPACES, all_spaces
from search_spaces.fasterseg.config import FasterSegConfig
from tests.small_jobs import CHECKOUT, SIZE, TRAINER, data_config, random_genotype, search_job, train_job

COUNT = 2
IMAGES = 4
STEPS = 3


def fabric_of(precision: str = "64-true") -> Fabric:
    """As `nas.distributed.fabric.make_fabric` makes it, in float64 too."""
    if world().count == 1:
        return Fabric(accelerator="cpu", precision=precision)
    fabric = Fabric(accelerator="cpu", strategy=Replicas(), devices=COUNT, precision=precision)
    fabric.launch()
    return fabric


def uneven_batch(step: int) -> tuple[Tensor, Tensor]:
    """Random images of which the first half has few labels, the second many: a mean of means would be another loss."""
    generator = torch.Generator().manual_seed(100 + step)
    labels = torch.randint(11, (IMAGES, *SIZE), generator=generator)
    void = torch.rand(labels.shape, generator=generator, dtype=torch.float32)
    labels[: IMAGES // 2][void[: IMAGES // 2] < 0.9] = 255
    labels[IMAGES // 2 :][void[IMAGES // 2 :] < 0.1] = 255
    return torch.randn(IMAGES, 3, *SIZE, generator=generator, dtype=torch.float32), labels


def my_images(ranks: Ranks, step: int, *, passes: int = 1) -> tuple[Tensor, Tensor]:
    """This process's part of the batch."""
    part = BatchPart(ranks.number, ranks.count, passes).of(torch.arange(IMAGES).numpy()[None])[0]
    images, labels = uneven_batch(step)
    return images[part].to(torch.get_default_dtype()), labels[part]


def splits_of(job: Any) -> dict[str, Any]:
    return {f"{split}_set": build_dataset(job.data, split) for split in ("train", "val")}


def searched(job: SearchJob, precision: str, *, frozen_norms: bool = False) -> dict[str, Any]:
    """Some steps of a search: scalars, gradients of the last step, all state, logits and latency."""
    torch.manual_seed(job.seed)
    fabric = fabric_of(precision)
    task = SearchTask(job, nas.build_space(job.space), **splits_of(job), fabric=fabric)
    if frozen_norms:
        task.model.eval()
        task.model.train = lambda: None  # type: ignore[method-assign]
    rows = [task.step(*my_images(task.ranks, step), step)[0] for step in range(STEPS)]
    gradients = {name: p.grad.clone() for name, p in task.supernet.named_parameters() if p.grad is not None}
    return {
        "rows": rows,
        "gradients": gradients,
        "state": {name: value.clone() for name, value in task.supernet.state_dict().items()},
        "logits": task.derived.guided_logits(),
        "expected": task.expected_latencies(),
        "choices": dict(task.derived.first().choices),
    }


def evaluation() -> dict[str, Any]:
    """What an evaluation before the first step finds, of statistics estimated anew."""
    job = wide_job()
    torch.manual_seed(job.seed)
    task = SearchTask(job, nas.build_space(job.space), **splits_of(job), fabric=fabric_of("32-true"))
    return {"found": task.evaluate(0)}


def wide_job(**changes: Any) -> SearchJob:
    job = {"search__batch_size": IMAGES, "data__train": 8, "data__val": 5, "search__recalibrate": 2, "search__relaxation": "soft"}
    return search_job(**{**job, **changes})


def soft_search() -> dict[str, Any]:
    return searched(wide_job(search__noise="image"), "64-true")


def soft_search_in_float32() -> dict[str, Any]:
    return searched(wide_job(search__grad_clip=1.0), "32-true", frozen_norms=True)


def sampled_search() -> dict[str, Any]:
    return searched(wide_job(search__relaxation="sampled", search__warmup_epochs=1), "64-true", frozen_norms=True)


def two_level_search() -> dict[str, Any]:
    return searched(wide_job(search__level="bilevel", search__relaxation="sampled", data__train=12, search__loss="ohem"), "64-true")


def search_of_many_passes() -> dict[str, Any]:
    """FasterSeg: four passes a step, of two architecture sets at drawn widths, on two levels."""
    job = SearchJob(
        space=FasterSegConfig(layers=3, filters=2, widths=[6, 9, 12], student_width=6),
        data=data_config(train=8),
        search=SearchSettings(batch_size=IMAGES, level="bilevel", loss="ohem", epochs=4, recalibrate=0),
        latency=LatencySettings(table="none"),
        deploy=DeploySettings(),
        trainer=TrainerSettings(**TRAINER),
    )
    return searched(job, "64-true")


def search_without_synced_norms() -> dict[str, Any]:
    return searched(wide_job(trainer__sync_batch_norm=False), "64-true")


def trained(folder: Path, **changes: Any) -> dict[str, Any]:
    """Some steps of a training: scalars, all state with the average of the weights, and what an evaluation finds."""
    path = folder / f"genotype_{world().number}.yaml"
    random_genotype(path)
    job = train_job(path, **{"train__batch_size": IMAGES, "data__train": 8, "data__val": 5, **changes})
    fabric = fabric_of()
    task = make_task(job, load_design(path, SEARCH_SPACES), SEARCH_SPACES, **splits_of(job), fabric=fabric)
    rows = [task.step(*my_images(task.ranks, step, passes=job.train.accumulate), step)[0] for step in range(STEPS)]
    state = {name: value.clone() for name, value in task.result.state_dict().items()}
    task.result.float()
    return {"rows": rows, "state": state, "evaluation": task.evaluate(0)}


def training(folder: Path) -> dict[str, Any]:
    return trained(folder, train__ema=0.9, train__class_weights=[1.0 + k for k in range(11)])


def accumulating_training(folder: Path) -> dict[str, Any]:
    return trained(folder, train__batch_size=IMAGES // 2, train__accumulate=2, train__loss="cross_entropy", train__grad_clip=1.0)


def losses() -> dict[str, Any]:
    """Each loss, summed over the parts, and the gradients of this part."""
    ranks = ranks_of(fabric_of())
    _, labels = my_images(ranks, 0)
    generator = torch.Generator().manual_seed(7)
    logits, others = torch.randn(2, IMAGES, 11, *SIZE, generator=generator, dtype=torch.float64)
    mine = slice(ranks.number * len(labels), (ranks.number + 1) * len(labels))
    weights = torch.linspace(0.5, 3.0, 11, dtype=torch.float64)
    found = {}
    for name, loss in {
        "cross_entropy": lambda x: cross_entropy(x, labels, ranks=ranks),
        "weighted": lambda x: cross_entropy(x, labels, weights=weights, ranks=ranks),
        "ohem": lambda x: ohem(x, labels, ranks=ranks),
        "ohem_few": lambda x: ohem(x, labels, threshold=0.001, min_kept_share=0.3, ranks=ranks),
        "distillation": lambda x: distillation(x, others[mine], labels, temperature=2.0, ranks=ranks),
        "void": lambda x: cross_entropy(x, torch.full_like(labels, 255), ranks=ranks),
    }.items():
        x = logits[mine].clone().requires_grad_()
        value = loss(x)
        value.backward()
        found[name] = (ranks.sum(value.detach()), x.grad)
    return found


def norms() -> dict[str, Any]:
    """A synchronised batch norm on parts of different sizes, 3 and 2 images, twice; then with momentum None."""
    ranks = ranks_of(fabric_of())
    mine = slice(0, 5) if ranks.count == 1 else [slice(0, 3), slice(3, 5)][ranks.number]
    generator = torch.Generator().manual_seed(3)
    holder = nn.Sequential(nn.BatchNorm2d(6)).double()
    with torch.no_grad():
        holder[0].weight.copy_(torch.rand(6, generator=generator))
        holder[0].bias.copy_(torch.rand(6, generator=generator))
    synchronise_batch_norms(holder, ranks)
    assert isinstance(holder[0], SyncedBatchNorm2d) is (ranks.count > 1)
    found = {}
    for momentum in (0.1, 0.1, None):
        x = 5 + torch.randn(5, 6, 7, 3, generator=generator, dtype=torch.float64)
        weigh = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        holder[0].momentum = momentum
        part = x[mine].clone().requires_grad_()
        holder.zero_grad()
        output = holder(part)
        (weigh[mine] * output**2).sum().backward()
        ranks.sum_of_gradients(holder.parameters())
        found = {"output": output.detach(), "grad": part.grad, "weight": holder[0].weight.grad, "bias": holder[0].bias.grad}
    return found | {"state": holder.state_dict(), "evaluated": holder.eval()(x[mine]).detach()}


def averaged_statistics() -> dict[str, Any]:
    """Running statistics of batch norms that see their own part, averaged."""
    ranks = ranks_of(fabric_of())
    norm = nn.BatchNorm2d(3).double()
    norm(my_images(ranks, 0)[0])
    own = {name: value.clone() for name, value in norm.state_dict().items()}
    ranks.average_of_statistics(norm)
    return {"own": own, "averaged": norm.state_dict()}


def agreements() -> dict[str, Any]:
    """What ranks tell each other, and what they say when they differ."""
    ranks = ranks_of(fabric_of())
    found: dict[str, Any] = {"any": [ranks.any(ranks.number == 1), ranks.any(False)]}
    found["text"] = ranks.from_first(lambda: f"Größe {ranks.number}")
    try:
        ranks.from_first(lambda: (_ for _ in ()).throw(UserError("wrong")))
    except UserError as error:
        found["refused"] = str(error)
    ranks.require_same({"a": torch.ones(3), "b": [torch.arange(2)]})
    try:
        ranks.require_same({"a": torch.ones(3), "b": [torch.tensor([0.0, 1.0 + 1e-7 * ranks.number])]})
    except RanksDifferError as error:
        found["differ"] = str(error)
    return found


def refusals() -> dict[str, Any]:
    """What is refused with two processes."""
    found = {}
    for name, make in {
        "batch": lambda: searched(wide_job(search__batch_size=3), "32-true"),
        "devices": lambda: make_fabric(TrainerSettings(**TRAINER, devices=3)),
        "alone": lambda: make_fabric(TrainerSettings(**TRAINER), alone="nas eval"),
    }.items():
        try:
            make()
        except UserError as error:
            found[name] = str(error)
    return found


SCENARIOS = {
    one.__name__: one
    for one in (
        soft_search,
        evaluation,
        soft_search_in_float32,
        sampled_search,
        two_level_search,
        search_of_many_passes,
        search_without_synced_norms,
        training,
        accumulating_training,
        losses,
        norms,
        averaged_statistics,
        agreements,
        refusals,
    )
}
OF_FOLDER = ("training", "accumulating_training")
IN_FLOAT32 = ("soft_search_in_float32", "evaluation")


def run_scenario(name: str, folder: Path) -> Any:
    """A scenario in this process, in the precision that it is for."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32 if name in IN_FLOAT32 else torch.float64)
    try:
        return SCENARIOS[name](*([folder] if name in OF_FOLDER else []))
    finally:
        torch.set_default_dtype(torch.float32)


def run_in_two_processes(folder: Path) -> dict[str, list[Any]]:
    """All scenarios in two processes: name -> what each of them found."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "test"}
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.distributed.two_processes", str(folder)],
            cwd=CHECKOUT,
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(COUNT)
    ]
    errors = [process.communicate(timeout=250)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return {name: [torch.load(folder / f"{name}.{rank}.pt", weights_only=True) for rank in range(COUNT)] for name in SCENARIOS}


def main(folder: Path) -> None:
    """One of the processes."""
    assert all_spaces()
    nas.distributed.ranks.BUCKET = 1000  # so that the gradients of small networks take several collectives
    for name in SCENARIOS:
        torch.save(run_scenario(name, folder), folder / f"{name}.{world().number}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
