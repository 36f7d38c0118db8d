"""A trained network from the folder of its run, or from a genotype and weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nas.config.checks import one_of
from nas.errors import CheckpointError, ConfigError
from nas.network.build import build_network
from nas.network.class_count import classes_of
from nas.network.copying import copy_strictly
from nas.network.image_classifier import is_of_images
from nas.network.network import Network
from nas.network.official_weights import own_names
from nas.runs import run_config, rundir
from nas.runs.checkpoint import CHECKPOINT_SUFFIX, load_weights
from nas.space.design import Design

CHECKPOINTS = ("last", "best")
"""Checkpoints of a run that one can ask for."""


def trained_sources(run: str | None, genotype: str | None, weights: str | None, checkpoint: str | None = None) -> tuple[str, Path]:
    """Paths of genotype and weights: those of a run, or as given.

    Args:
        run: Folder of a training; None: genotype and weights are given.
        genotype: A file, a published name, or a run with a genotype.yaml.
        weights: Weights (safetensors) or a checkpoint of a training (*.pt); None: those that the run ended with.
        checkpoint: last or best: that checkpoint of the run in place of the weights that it ended with.

    Raises:
        UserError: If several genotypes or weights are given, or too little is, or the run has no weights.
    """
    if checkpoint is not None:
        one_of("checkpoint", checkpoint, CHECKPOINTS)
        if run is None or weights is not None:
            raise ConfigError(f"checkpoint: got {checkpoint}, expected run=FOLDER of a nas train beside it, and no weights=")
    if run is not None:
        if genotype is not None:
            raise ConfigError("run: got run= together with genotype=, expected one of them; leave genotype= away")
        return run, Path(weights) if weights is not None else _weights_of_run(Path(run), checkpoint)
    if genotype is None or weights is None:
        raise ConfigError("run: missing; give run=FOLDER of a nas train, or genotype= and weights=")
    return genotype, Path(weights)


def _weights_of_run(run: Path, checkpoint: str | None) -> Path:
    """The file of the weights that a training ended with, or of one of its checkpoints."""
    name = rundir.WEIGHTS if checkpoint is None else f"{rundir.CHECKPOINT.parent}/{checkpoint}{CHECKPOINT_SUFFIX}"
    if (run / name).is_file():
        return run / name
    if (run / run_config.CONFIG).is_file() and run_config.load_config(run)["verb"] == "search":
        raise CheckpointError(
            f"{run / name}: no such file; {run} is a nas search, whose network has no weights of its own: nas train genotype={run}"
        )
    there = checkpoint is None and (run / rundir.CHECKPOINT).is_file()
    hint = "; it is not finished, but has a checkpoint: add checkpoint=last" if there else ""
    raise CheckpointError(f"{run / name}: no such file; give run= the folder of a finished nas train{hint}")


def trained_network(design: Design, weights: Path) -> tuple[Network, int]:
    """The network with its weights, in evaluation mode, and its number of classes, which the weights decide.

    A genotype that was searched on one data set may be trained on another one with other classes.

    Raises:
        CheckpointError: If the weights are not those of this network, naming what is missing, left over or of another shape.
    """
    tensors: Mapping[str, Tensor] = load_weights(weights)
    if is_of_images(tensors):
        raise CheckpointError(
            f"{weights} is of train.task=classification, which tells classes of whole images, expected a segmentation; "
            "give the folder of one"
        )
    tensors = own_names(tensors, design=design, source=weights)
    network = build_network(design)
    num_classes = design.deployment.num_classes
    other = classes_of(design, network.state_dict(), tensors)
    if other is not None:
        network, num_classes = build_network(design, other), other
    copy_strictly(network.state_dict(), tensors, str(weights), "give the weights that were trained for this genotype")
    return network.eval(), num_classes
