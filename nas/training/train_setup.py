"""Parts of a training: its data, its network with initial weights, its objective, its teacher."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric

from nas.config.jobs import TrainJob
from nas.data import build_dataset
from nas.data.batches import image_batches, loader
from nas.data.batches.file_handles import check_handles
from nas.data.dataset import SegmentationDataset
from nas.data.image_folder import ImageFolder, ImageFolderConfig, build_image_folder
from nas.data.split_scan import scan_image_folders, scan_splits
from nas.distributed.fabric import check_shares, ranks_of
from nas.distributed.ranks import Ranks
from nas.errors import ConfigError
from nas.network.batch_of_one import check_batch_of_one
from nas.network.build import build_network
from nas.network.copying import copy_same, load_encoder, load_same
from nas.network.image_classifier import ImageClassifier, build_image_classifier
from nas.network.network import Network
from nas.network.official_weights import own_names
from nas.network.supernet_weights import searched_tensors
from nas.runs.checkpoint import CHECKPOINT_SUFFIX, load_checkpoint
from nas.runs.rundir import CHECKPOINT, WEIGHTS
from nas.space.design import Design
from nas.space.search_space import SpaceEntry
from nas.training.loop_state import LoopPlan
from nas.training.non_finite import Steadying
from nas.training.objectives import Classification, Objective, Segmentation
from nas.training.out_of_memory import remedy_of
from nas.training.teacher import load_teacher
from nas.training.train_task import TrainTask

log = logging.getLogger("nas")

Split = SegmentationDataset | ImageFolder
"""Images with labels of pixels, or with a class each."""


def train_splits(job: TrainJob) -> tuple[Split, Split]:
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
    if images:
        folders = build_image_folder(job.data, "train"), build_image_folder(job.data, "val")
        scan_image_folders(*folders)
        return folders
    splits = build_dataset(job.data, "train"), build_dataset(job.data, "val")
    scan_splits(*splits, crop=job.train.crop, key="train.crop")
    return splits


def make_task(
    job: TrainJob,
    design: Design,
    spaces: Mapping[str, SpaceEntry],
    *,
    train_set: Split,
    val_set: Split,
    fabric: Fabric,
) -> TrainTask:
    """Network, initial weights, objective, teacher and plan of a training.

    Raises:
        UserError: If weights, teacher or settings do not fit.
    """
    ranks = ranks_of(fabric)
    check_shares("train.batch_size", job.train.batch_size, ranks)
    torch.manual_seed(job.seed)
    network, objective = _network_and_objective(job, design, (train_set, val_set), fabric)
    for part in network.modules():
        if isinstance(part, Network):
            part.checkpointing = job.trainer.checkpointing
            if job.train.batch_size == 1:
                check_batch_of_one(part.graph, _crop(job, train_set))
    _load_initial(job, network, design)
    # After the network: its initial weights are the same with a teacher and without.
    teacher = load_teacher(job, design.genotype, spaces, num_classes=len(train_set.classes), fabric=fabric)
    plan = _plan(job, train_set, ranks)
    total_steps = plan.total_steps(train_set)
    return TrainTask(job, network, objective=objective, plan=plan, total_steps=total_steps, fabric=fabric, teacher=teacher)


def _network_and_objective(
    job: TrainJob, design: Design, splits: tuple[Split, Split], fabric: Fabric
) -> tuple[Network | ImageClassifier, Objective]:
    """The network of the kind of labels that the splits have, with fresh weights, and its objective."""
    ranks = ranks_of(fabric)
    train_set, val_set = splits
    if isinstance(train_set, ImageFolder):
        assert isinstance(val_set, ImageFolder)
        classifier = build_image_classifier(design, len(train_set.classes))
        return classifier, Classification(job.train, train_set, val_set, fabric.device, ranks=ranks)
    assert not isinstance(val_set, ImageFolder)
    for one in (train_set, val_set):
        design.require_size(one.size, "data.size")
    design.require_size(_crop(job, train_set), "train.crop")
    network = build_network(design, len(train_set.classes))
    return network, Segmentation(job.train, train_set, val_set, fabric.device, ranks=ranks)


def _load_initial(job: TrainJob, network: Network | ImageClassifier, design: Design) -> None:
    """Put given weights into a fresh network, and say which tensors are not among them."""
    if job.weights is not None:
        fresh = _load_whole(initial_file(job.weights), network, design)
        _say_initialised("weights", job.weights, network, fresh)
    if job.encoder_weights is not None:
        rename = partial(own_names, design=design, source=job.encoder_weights)
        _say_initialised(
            "encoder_weights", job.encoder_weights, network, load_encoder(network, design, job.encoder_weights, rename)
        )


def initial_file(weights: str) -> Path:
    """The file of `weights=`: that of a training or a search where it names the folder of one.

    Raises:
        ConfigError: If a folder has none.
    """
    path = Path(weights)
    if not path.is_dir():
        return path
    found = next((path / name for name in (WEIGHTS, CHECKPOINT) if (path / name).is_file()), None)
    if found is None:
        raise ConfigError(
            f"weights: got {weights}, a folder without {WEIGHTS} and without {CHECKPOINT}; give that of a search or of a training, "
            "or a file of weights"
        )
    return found


def _load_whole(path: Path, network: Network | ImageClassifier, design: Design) -> list[str]:
    """Load a file of weights, or a checkpoint of a training or of a search; the tensors that keep their initial values."""
    state = load_checkpoint(path) if path.suffix == CHECKPOINT_SUFFIX else {}
    if state.get("verb") != "search":
        return load_same(network, design, path, partial(own_names, design=design, source=path))
    if isinstance(network, ImageClassifier):
        raise ConfigError(
            f"weights: got {path}, the checkpoint of a search, with train.task=classification, expected weights of a training; a "
            "segmentation can start from a search"
        )
    advice = (
        "a network starts from its supernet where both have the same widths: search with search.init_channels as "
        "deploy.init_channels, or leave weights out"
    )
    return copy_same(network, design, searched_tensors(state, design, path), f"{path}", advice)


def _say_initialised(key: str, path: str, network: Network | ImageClassifier, fresh: Sequence[str]) -> None:
    count = len(network.state_dict()) - len(fresh)
    log.info("%s: %d tensors from %s; initialised at random: %s", key, count, path, ", ".join(fresh) or "none")


def _crop(job: TrainJob, train_set: Split) -> tuple[int, int]:
    """(height, width) of what a step sees of an image, in pixels."""
    height, width = job.train.crop or train_set.size
    return height, width


def _plan(job: TrainJob, train_set: Split, ranks: Ranks) -> LoopPlan:
    settings = job.train
    check_handles(job.data.workers)
    return LoopPlan(
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        batch_size=settings.batch_size * settings.accumulate,
        crop=_crop(job, train_set),
        seed=job.seed,
        workers=job.data.workers,
        cached=getattr(job.data, "cache", None),
        eval_every=settings.eval_every,
        checkpoint_every=settings.checkpoint_every,
        log_every=settings.log_every,
        part=loader.BatchPart(ranks.number, ranks.count, passes=settings.accumulate),
        loader=image_batches.train_loader if isinstance(train_set, ImageFolder) else loader.train_loader,
        remedy=remedy_of("train", job.trainer),
        steadying=Steadying.of(settings, job.trainer),
    )
