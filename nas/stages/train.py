"""Train: a derived or published network on labels of pixels, or its encoder on classes of images; from scratch or from weights."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric

from nas.config.jobs import TrainJob
from nas.data import build_dataset
from nas.data.batches import image_batches, loader
from nas.data.dataset import SegmentationDataset
from nas.data.image_folder import ImageFolder, ImageFolderConfig, build_image_folder
from nas.distributed.fabric import check_shares, make_fabric, ranks_of
from nas.distributed.ranks import Ranks
from nas.errors import ConfigError
from nas.network.build import build_network
from nas.network.copying import load_encoder, load_same
from nas.network.image_classifier import ImageClassifier, build_image_classifier
from nas.network.network import Network
from nas.network.official_weights import own_names
from nas.reports.run_pictures import predicted_pictures
from nas.runs import rundir
from nas.runs.checkpoint import save_weights
from nas.runs.trackers import check_trackers, open_trackers
from nas.space.design import Design, load_design
from nas.space.genotype import Genotype, save_genotype
from nas.space.search_space import SpaceEntry
from nas.training.loop import fit
from nas.training.loop_state import LoopPlan
from nas.training.objectives import Classification, Objective, Segmentation, loss_name
from nas.training.out_of_memory import remedy_of
from nas.training.teacher import load_teacher
from nas.training.train_task import TrainTask

log = logging.getLogger("nas")

SCORES = {"miou": "mIoU", "top1": "top-1", "top5": "top-5"}
"""Names of a validation's metrics on the terminal."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished training.

    Args:
        out: Its folder.
        parameters: Number of parameters of the network.
        scores: Metrics on the validation split after the last step: miou, or top1 (and top5) of a classification.
        data: Name of the data set.
        seconds: Wall time.
    """

    out: Path
    parameters: int
    scores: Mapping[str, float]
    data: str
    seconds: float

    def summary(self) -> list[str]:
        """Human lines: what came out, where it lies, what to do next."""
        weights = self.out / "weights.safetensors"
        following = f"nas eval run={self.out} data={self.data}"
        if "miou" not in self.scores:
            following = f"nas train genotype={self.out / 'genotype.yaml'} encoder_weights={weights} data=DATA"
        return [
            f"training finished in {self.seconds:.0f} s",
            f"  parameters          {self.parameters / 1e6:.3f} M",
            *(f"  validation {SCORES[name]:<9}{value:.4f}" for name, value in self.scores.items()),
            *(f"  wrote               {self.out / name}" for name in ("weights.safetensors", "metrics.jsonl", "checkpoints/")),
            f"next: {following}",
        ]


def train(job: TrainJob, spaces: Mapping[str, SpaceEntry]) -> TrainResult:
    """Train the network of a genotype.

    Raises:
        UserError: If genotype, weights, data or settings do not fit.
        NonFiniteLossError: If a loss is not finite; no weight was moved by it.
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was saved.
    """
    started = time.perf_counter()
    loss_name(job.train)
    check_trackers(job.logger)
    design = load_design(job.genotype, spaces)
    train_set, val_set = _build_splits(job)
    fabric = make_fabric(job.trainer, scales_gradients=True)
    task = make_task(job, design, spaces, train_set=train_set, val_set=val_set, fabric=fabric)
    # After all that may refuse the input: the same command, with the same out, can then be given again.
    ranks, resume = ranks_of(fabric), job.resume is not None
    out = Path(ranks.from_first(lambda: str(_open(job, design.genotype, spaces))))
    draw = partial(predicted_pictures, task.result, val_set, fabric=fabric)
    with open_trackers(job.logger if ranks.is_first else {}, out, resumed=resume, draw=draw) as trackers:
        fit(task, task.plan, train_set, fabric=fabric, out=out, resume=resume, trackers=trackers)
    result = _result(job, task, out, seconds=time.perf_counter() - started)
    if ranks.is_first:
        save_weights(out / "weights.safetensors", task.result.state_dict())
        rundir.mark_finished(out, {"seconds": result.seconds, **{f"val_{name}": value for name, value in result.scores.items()}})
    return result


def _open(job: TrainJob, genotype: Genotype, spaces: Mapping[str, SpaceEntry]) -> Path:
    """The folder of the run, with the genotype in it."""
    out = rundir.open_run(job, "train")
    if job.resume is not None:
        _check_same_network(genotype, load_design(out, spaces).genotype, out)
    save_genotype(out / "genotype.yaml", genotype)
    return out


def make_task(  # noqa: PLR0913
    job: TrainJob,
    design: Design,
    spaces: Mapping[str, SpaceEntry],
    *,
    train_set: SegmentationDataset | ImageFolder,
    val_set: SegmentationDataset | ImageFolder,
    fabric: Fabric,
) -> TrainTask:
    """Network, initial weights, objective, teacher and plan of a training.

    Raises:
        UserError: If weights, teacher or settings do not fit.
    """
    ranks = ranks_of(fabric)
    check_shares("train.batch_size", job.train.batch_size, ranks)
    torch.manual_seed(job.seed)
    network: Network | ImageClassifier
    objective: Objective
    if isinstance(train_set, ImageFolder):
        assert isinstance(val_set, ImageFolder)
        network = build_image_classifier(design, len(train_set.classes))
        objective = Classification(job.train, train_set, val_set, fabric.device, ranks=ranks)
    else:
        assert not isinstance(val_set, ImageFolder)
        network = build_network(design, len(train_set.classes))
        objective = Segmentation(job.train, train_set, val_set, fabric.device, ranks=ranks)
    for part in network.modules():
        if isinstance(part, Network):
            part.checkpointing = job.trainer.checkpointing
    _load_initial(job, network, design)
    # After the network: its initial weights are the same with a teacher and without.
    teacher = load_teacher(job, design.genotype, spaces, num_classes=len(train_set.classes), fabric=fabric)
    plan = _plan(job, train_set, ranks)
    total_steps = plan.total_steps(train_set)
    return TrainTask(job, network, objective=objective, plan=plan, total_steps=total_steps, fabric=fabric, teacher=teacher)


def _build_splits(job: TrainJob) -> tuple[SegmentationDataset | ImageFolder, SegmentationDataset | ImageFolder]:
    """Training and validation split, scanned.

    Raises:
        UserError: If the data are missing or broken, or have labels of another kind than the task.
    """
    images = job.train.task == "classification"
    if isinstance(job.data, ImageFolderConfig) and not images:
        raise ConfigError(
            "train.task=segmentation: got data=image_folder, which has classes of whole images, expected labels of pixels; "
            "choose another data=, or add train.task=classification"
        )
    train_set, val_set = ((build_image_folder if images else build_dataset)(job.data, split) for split in ("train", "val"))
    train_set.scan()
    val_set.scan()
    return train_set, val_set


def _load_initial(job: TrainJob, network: Network | ImageClassifier, design: Design) -> None:
    """Put given weights into a fresh network, and say which tensors are not among them."""
    if job.weights is not None:
        rename = partial(own_names, design=design, source=job.weights)
        _say_initialised("weights", job.weights, network, load_same(network, job.weights, rename))
    if job.encoder_weights is not None:
        rename = partial(own_names, design=design, source=job.encoder_weights)
        _say_initialised("encoder_weights", job.encoder_weights, network, load_encoder(network, job.encoder_weights, rename))


def _say_initialised(key: str, path: str, network: Network | ImageClassifier, fresh: Sequence[str]) -> None:
    count = len(network.state_dict()) - len(fresh)
    log.info("%s: %d tensors from %s; initialised at random: %s", key, count, path, ", ".join(fresh) or "none")


def _plan(job: TrainJob, train_set: SegmentationDataset | ImageFolder, ranks: Ranks) -> LoopPlan:
    settings = job.train
    crop = settings.crop or list(train_set.size)
    return LoopPlan(
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        batch_size=settings.batch_size * settings.accumulate,
        crop=(crop[0], crop[1]),
        seed=job.seed,
        workers=job.data.workers,
        cached=getattr(job.data, "cache", None),
        eval_every=settings.eval_every,
        checkpoint_every=settings.checkpoint_every,
        log_every=settings.log_every,
        part=loader.BatchPart(ranks.number, ranks.count, passes=settings.accumulate),
        loader=image_batches.train_loader if isinstance(train_set, ImageFolder) else loader.train_loader,
        remedy=remedy_of("train", job.trainer),
    )


def _check_same_network(genotype: Genotype, trained: Genotype, out: Path) -> None:
    """Refuse to go on with another network than was trained: the file of the genotype may have changed since."""
    if any(getattr(genotype, name) != getattr(trained, name) for name in ("space", "space_config", "deploy", "choices")):
        raise ConfigError(
            f"resume: {out} trains another network than genotype= now states; put the file back, or start from scratch without "
            "resume"
        )


def _result(job: TrainJob, task: TrainTask, out: Path, *, seconds: float) -> TrainResult:
    parameters = sum(parameter.numel() for parameter in task.network.parameters())
    return TrainResult(out, parameters, dict(task.scores), job.data.name, seconds)
