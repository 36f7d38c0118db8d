"""A trained network that another one should agree with, beside the labels."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from nas.config.jobs import TrainJob
from nas.config.train_settings import DistillSettings
from nas.distributed.fabric import ranks_of
from nas.errors import CheckpointError, ConfigError
from nas.losses.batch_shares import batch_shares
from nas.losses.distillation import distillation
from nas.network.network import Network
from nas.network.trained_network import trained_network
from nas.runs.rundir import WEIGHTS
from nas.space.design import load_design
from nas.space.genotype import FILE_NAME, Genotype
from nas.space.search_space import SpaceEntry

log = logging.getLogger("nas")


class Teacher:
    """A frozen network in evaluation mode, and the divergence from it. It is no part of checkpoints.

    Args:
        network: The network, of the student's classes; it is frozen.
        settings: Weight and temperature.
        divide_by_classes: Whether the divergence is divided by the number of classes.
        fabric: Device and precision, which are the student's.
    """

    def __init__(self, network: Network, settings: DistillSettings, *, divide_by_classes: bool, fabric: Fabric) -> None:
        self.network = fabric.setup_module(network.requires_grad_(False)).eval()
        self.weight = settings.weight
        self.ranks = ranks_of(fabric)
        self._loss = partial(distillation, temperature=settings.temperature, divide_by_classes=divide_by_classes, ranks=self.ranks)

    def divergence(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """The term that `weight` weighs: images [N, 3, H, W], the student's logits [N, K, H, W], labels [N, H, W] -> scalar."""
        with torch.no_grad():
            wanted = self.network(images)
        return self._loss(logits, wanted, labels)

    def shares(self, labels: Sequence[Tensor]) -> Tensor:
        """Share of each of several batches in their common divergence, [B]: by their valid pixels, whatever the classes weigh."""
        return batch_shares(labels, ranks=self.ranks)


def load_teacher(
    job: TrainJob, genotype: Genotype, spaces: Mapping[str, SpaceEntry], *, num_classes: int, fabric: Fabric
) -> Teacher | None:
    """The teacher that `distill.teacher` names; None: there is none.

    Args:
        job: The settings.
        genotype: The student's.
        spaces: The search spaces by name.
        num_classes: Number of classes of the data.
        fabric: Device and precision.

    Raises:
        UserError: If there is no such network, or it has other classes.
    """
    settings = job.distill
    if settings.teacher is None:
        return None
    network, known = _trained(Path(settings.teacher), spaces)
    if known != num_classes:
        raise ConfigError(
            f"distill.teacher: got a network of {known} classes in {settings.teacher}, expected {num_classes} as in "
            f"data={job.data.name}; give one that was trained on the same classes"
        )
    divide = settings.divide_by_classes
    divide = genotype.space_config.get("fidelity") == "official" if divide is None else divide
    parameters = sum(parameter.numel() for parameter in network.parameters())
    log.info("distill.teacher: %.3f M parameters from %s", parameters / 1e6, settings.teacher)
    return Teacher(network, settings, divide_by_classes=divide, fabric=fabric)


def _trained(folder: Path, spaces: Mapping[str, SpaceEntry]) -> tuple[Network, int]:
    """The trained network in a folder and its number of classes."""
    if not folder.is_dir():
        raise ConfigError(f"distill.teacher: {folder}: no such folder; give the folder of a finished nas train")
    missing = [name for name in (FILE_NAME, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ConfigError(f"distill.teacher: {folder} has no {' and no '.join(missing)}; give the folder of a finished nas train")
    try:
        return trained_network(load_design(folder, spaces), folder / WEIGHTS)
    except CheckpointError as error:
        raise CheckpointError(f"distill.teacher: {error}") from error
