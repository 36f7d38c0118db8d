"""A trained network from the folder of its run, or from a genotype and weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nas.errors import CheckpointError, ConfigError
from nas.network.build import build_network
from nas.network.copying import copy_strictly
from nas.network.network import Network
from nas.network.official_weights import own_names
from nas.runs.checkpoint import load_weights
from nas.space.design import Design


def trained_sources(run: str | None, genotype: str | None, weights: str | None) -> tuple[str, Path]:
    """Paths of genotype and weights: those of a run, or as given.

    Args:
        run: Folder of a training; None: the other two are given.
        genotype: A file, a published name, or a run with a genotype.yaml.
        weights: Weights (safetensors).

    Raises:
        UserError: If both a run and others are given, or too little is, or the run has no weights.
    """
    if run is not None:
        if genotype or weights:
            raise ConfigError("run: got run= together with genotype= or weights=, expected either a run or both others")
        path = Path(run) / "weights.safetensors"
        if not path.exists():
            raise CheckpointError(f"{path}: no such file; give run= the folder of a finished nas train")
        return run, path
    if genotype is None or weights is None:
        raise ConfigError("run: missing; give run=FOLDER of a nas train, or genotype= and weights=")
    return genotype, Path(weights)


def trained_network(design: Design, weights: Path) -> tuple[Network, int]:
    """The network with its weights, in evaluation mode, and its number of classes, which the weights decide.

    A genotype that was searched on one data set may be trained on another one with other classes.

    Raises:
        CheckpointError: If the weights are not those of this network, naming what is missing, left over or of another shape.
    """
    tensors = own_names(load_weights(weights), design=design, source=weights)
    network = build_network(design)
    num_classes = design.deployment.num_classes
    other = _other_classes(network.state_dict(), tensors, num_classes)
    if other is not None:
        network, num_classes = build_network(design, other), other
    copy_strictly(network.state_dict(), tensors, str(weights), "give the weights that were trained for this genotype")
    return network.eval(), num_classes


def _other_classes(wanted: Mapping[str, Tensor], got: Mapping[str, Tensor], num_classes: int) -> int | None:
    """The number of classes of the weights if they differ from the network in that alone; None: they agree, or differ otherwise."""
    pairs = [(tuple(wanted[key].shape), tuple(got[key].shape)) for key in wanted if key in got]
    differ = [(one, other) for one, other in pairs if one != other]
    found = {other[:1] for _, other in differ}
    by_classes = all(one[:1] == (num_classes,) and one[1:] == other[1:] for one, other in differ)
    return found.pop()[0] if len(found) == 1 and by_classes and () not in found else None
