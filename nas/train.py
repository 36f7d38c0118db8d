"""Train: a derived or published network, from scratch or from weights."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from nas import rundir
from nas.checkpoint import save_weights
from nas.config import TrainJob
from nas.data import build_dataset
from nas.data.dataset import SegmentationDataset
from nas.errors import ConfigError, NonFiniteLossError
from nas.evaluate import confusion_over, load_into
from nas.genotype import Genotype, build_network, load_genotype, save_genotype
from nas.loop import LoopPlan, Row, clip_gradients, fit, make_fabric
from nas.losses import LOSSES
from nas.metrics import confusion_matrix, mean_iou
from nas.network import Network
from nas.ops.modules import predicted_labels
from nas.schedules import poly
from nas.space import SpaceEntry


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished training.

    Args:
        out: Its folder.
        parameters: Number of parameters of the network.
        val_miou: mIoU on the validation split after the last step.
        data: Name of the data set.
        seconds: Wall time.
    """

    out: Path
    parameters: int
    val_miou: float
    data: str
    seconds: float

    def summary(self) -> list[str]:
        """Human lines: what came out, where it lies, what to do next."""
        return [
            f"training finished in {self.seconds:.0f} s",
            f"  parameters          {self.parameters / 1e6:.3f} M",
            f"  validation mIoU     {self.val_miou:.4f}",
            *(f"  wrote               {self.out / name}" for name in ("weights.safetensors", "metrics.jsonl", "checkpoints/")),
            f"next: nas eval run={self.out} data={self.data}",
        ]


def train(job: TrainJob, spaces: Mapping[str, SpaceEntry]) -> TrainResult:
    """Train the network of a genotype.

    Raises:
        UserError: If genotype, weights, data or settings do not fit.
        NonFiniteLossError: If a loss is not finite; no weight was moved by it.
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was saved.
    """
    started = time.perf_counter()
    if job.train.loss not in LOSSES:
        raise ConfigError(f"train.loss: got {job.train.loss!r}, expected one of {', '.join(LOSSES)}")
    genotype = load_genotype(job.genotype, spaces)
    train_set, val_set = build_dataset(job.data, "train"), build_dataset(job.data, "val")
    train_set.scan()
    val_set.scan()
    fabric = make_fabric(job.trainer)
    torch.manual_seed(job.seed)
    network = build_network(genotype, spaces, len(train_set.classes))
    if job.weights is not None:
        load_into(network, job.weights)
    task = TrainTask(job, network, train_set=train_set, val_set=val_set, fabric=fabric)
    # After all that may refuse the input: the same command, with the same out, can then be given again.
    out = rundir.open_run(job, "train")
    if job.resume is not None:
        _check_same_network(genotype, load_genotype(out, spaces), out)
    save_genotype(out / "genotype.yaml", genotype)
    fit(task, task.plan, train_set, fabric=fabric, out=out, resume=job.resume is not None)
    save_weights(out / "weights.safetensors", network.state_dict())
    result = _result(job, task, out, seconds=time.perf_counter() - started)
    rundir.mark_finished(out, {"seconds": result.seconds, "val_miou": result.val_miou})
    return result


class TrainTask:
    """State and step of a training; see `nas.loop.Task`.

    Args:
        job: The settings.
        network: The derived network.
        train_set: Training split.
        val_set: Validation split.
        fabric: Devices and precision.
    """

    def __init__(
        self,
        job: TrainJob,
        network: Network,
        *,
        train_set: SegmentationDataset,
        val_set: SegmentationDataset,
        fabric: Fabric,
    ) -> None:
        self.job, self.network, self.val_set, self.fabric = job, network, val_set, fabric
        self.num_classes = len(train_set.classes)
        self.plan = _plan(job, train_set.size)
        self.total_steps = self.plan.total_steps(train_set)
        self.loss = LOSSES[job.train.loss]
        self.last_miou = float("nan")
        optimizer = torch.optim.SGD(
            network.parameters(), lr=job.train.lr, momentum=job.train.momentum, weight_decay=job.train.weight_decay
        )
        self.model, self.optimizer = fabric.setup(network, optimizer)

    def step(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """One step of SGD under the poly schedule."""
        self.model.train()
        lr = poly(step / self.total_steps, start=self.job.train.lr, power=self.job.train.power)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        logits = self.model(images)
        loss = self.loss(logits, labels)
        value = float(loss.detach())
        if not torch.isfinite(torch.tensor(value)):
            raise NonFiniteLossError(f"got loss {value}")
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        clip_gradients(self.network.parameters(), self.job.train.grad_clip)
        self.optimizer.step()
        return {"loss": value, "lr": lr}, confusion_matrix(predicted_labels(logits.detach()), labels, self.num_classes)

    def evaluate(self, epoch: int) -> tuple[list[tuple[str, Row]], float]:  # noqa: ARG002
        """MIoU on the validation split."""
        self.model.eval()
        matrix = confusion_over(self.network, self.val_set, fabric=self.fabric, batch_size=self.plan.batch_size)
        self.last_miou = float(mean_iou(matrix))
        return [("val", {"miou": self.last_miou})], self.last_miou

    def epoch_scalars(self) -> Row:
        """Nothing beside the averages of the steps."""
        return {}

    def state(self) -> dict[str, Any]:
        """Network and optimiser."""
        return {
            "verb": "train",
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "last_miou": self.last_miou,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint's state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.last_miou = state["last_miou"]


def _plan(job: TrainJob, size: tuple[int, int]) -> LoopPlan:
    settings = job.train
    crop = settings.crop or list(size)
    return LoopPlan(
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        batch_size=settings.batch_size,
        crop=(crop[0], crop[1]),
        seed=job.seed,
        workers=job.data.workers,
        eval_every=settings.eval_every,
        checkpoint_every=settings.checkpoint_every,
        log_every=settings.log_every,
    )


def _check_same_network(genotype: Genotype, trained: Genotype, out: Path) -> None:
    """Refuse to go on with another network than was trained: the file of the genotype may have changed since."""
    if any(getattr(genotype, name) != getattr(trained, name) for name in ("space", "space_config", "deploy", "choices")):
        raise ConfigError(
            f"resume: {out} trains another network than genotype= now states; put the file back, or start anew without resume"
        )


def _result(job: TrainJob, task: TrainTask, out: Path, *, seconds: float) -> TrainResult:
    parameters = sum(parameter.numel() for parameter in task.network.parameters())
    return TrainResult(out, parameters, task.last_miou, job.data.name, seconds)
