"""Initial weights of a training: those of the same network, or of its encoder while the classifiers start from random weights.

A classifier is what depends on the number of classes (`Design.class_modules`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from nas.errors import CheckpointError
from nas.files.shortening import QUOTED, shorten
from nas.network.class_count import classes_of
from nas.network.image_classifier import ENCODER, HEAD, ImageClassifier, encoder_graph, is_of_images
from nas.network.network import LOGITS, Network
from nas.runs.checkpoint import load_weights
from nas.space.design import Design

Rename = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""Turns the tensors of a file into ours by name, where it has the names of another code."""


def load_same(network: Network | ImageClassifier, design: Design, path: str | Path, rename: Rename = dict) -> list[str]:
    """Load weights of the very same network, strictly, save that classifiers of other classes stay out.

    Args:
        network: What will be trained.
        design: Its architecture, for any number of classes.
        path: The file.
        rename: What its tensors pass first.

    Returns:
        Names of the tensors that were not loaded and so keep their initial values: none, or those of the classifiers.

    Raises:
        CheckpointError: Naming what is missing, left over or of another shape.
    """
    advice = "give the weights that were trained for this genotype, or encoder_weights= of a pretraining"
    return copy_same(network, design, rename(load_weights(Path(path))), f"{path}", advice)


def copy_same(
    network: Network | ImageClassifier, design: Design, given: Mapping[str, Tensor], source: str, advice: str
) -> list[str]:
    """Copy the tensors of the very same network, strictly, save that classifiers of other classes stay out.

    Args:
        network: What will be trained.
        design: Its architecture, for any number of classes.
        given: The tensors by name.
        source: Where they come from, for messages.
        advice: What to do where they do not fit.

    Returns:
        Names of the tensors that were not copied and so keep their initial values: none, or those of the classifiers.

    Raises:
        CheckpointError: Naming what is missing, left over or of another shape.
    """
    wanted = network.state_dict()
    classifier = classifier_names(network, design)
    if isinstance(network, Network):
        design = design.with_classes(network.graph.nodes[network.graph.outputs[LOGITS]].spec.out_channels)
    fresh = classifier if _of_other_classes(wanted, given, classifier, design) else []
    given = {name: value for name, value in given.items() if name not in fresh}
    wanted = {name: value for name, value in wanted.items() if name not in fresh}
    copy_strictly(wanted, given, source, advice)
    return fresh


def load_encoder(network: Network | ImageClassifier, design: Design, path: str | Path, rename: Rename = dict) -> list[str]:
    """Load the weights of all but the classifier, strictly.

    The file is of a training with train.task=classification, or of a segmentation with any number of classes; its own
    classifier is left out. Every tensor of the encoder must be there, in its shape, and nothing else may be but a classifier.

    Args:
        network: What will be trained.
        design: Its architecture, for any number of classes.
        path: The file.
        rename: What its tensors pass first.

    Returns:
        Names of the tensors that were not loaded and so keep their initial values, in the network's order.

    Raises:
        CheckpointError: Naming what is missing, left over or of another shape.
    """
    state, given = network.state_dict(), rename(load_weights(Path(path)))
    encoder = encoder_names(network, design)
    fresh = [name for name in state if name not in encoder]
    left_out, prefix = (HEAD, ENCODER) if is_of_images(given) else (fresh, "")
    offered = {name.removeprefix(prefix): value for name, value in given.items() if name not in left_out}
    wanted = {short: state[name] for name, short in encoder.items()}
    copy_strictly(wanted, offered, f"{path}: encoder", "give encoder_weights= of a training of this genotype")
    return fresh


def encoder_names(network: Network | ImageClassifier, design: Design) -> dict[str, str]:
    """Names of the tensors of the encoder in a network -> their names in the encoder."""
    if isinstance(network, ImageClassifier):
        return {f"{ENCODER}{name}": name for name in network.encoder.state_dict()}
    paths = tuple(f"{node.module}." for node in encoder_graph(network.graph, design.class_modules).nodes)
    return {name: name for name in network.state_dict() if name.startswith(paths)}


def classifier_names(network: Network | ImageClassifier, design: Design) -> list[str]:
    """Names of the tensors of all classifiers of a network, those of auxiliary heads among them, in the network's order."""
    if isinstance(network, ImageClassifier):
        return [name for name in network.state_dict() if name in HEAD]
    paths = tuple(f"{path}." for path in design.class_modules)
    return [name for name in network.state_dict() if name.startswith(paths)]


def _of_other_classes(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], classifier: list[str], design: Design) -> bool:
    """Whether classifiers are there, and differ in the number of their classes alone."""
    if not all(name in given for name in classifier):
        return False
    if set(classifier) == HEAD:
        sides = {name: (given[name].shape, wanted[name].shape) for name in HEAD}
        return all(len(one) == len(other) and one[1:] == other[1:] and one != other for one, other in sides.values())
    return classes_of(design, wanted, given) is not None


@torch.no_grad()
def copy_strictly(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str, advice: str) -> None:
    """Copy the given tensors into those wanted, if names and shapes are the same.

    Raises:
        CheckpointError: Naming `what`, what is missing, left over or of another shape or data type, and `advice`.
    """
    missing, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    if missing or extra:
        raise CheckpointError(
            f"{what}: got {len(given)} tensors, expected {len(wanted)}; missing {shorten(missing[:3], limit=QUOTED)}, "
            f"left over {shorten(extra[:3], limit=QUOTED)}; {advice}"
        )
    for name, value in wanted.items():
        if given[name].shape != value.shape:
            raise CheckpointError(f"{what}: {name} has shape {list(given[name].shape)}, expected {list(value.shape)}; {advice}")
        if given[name].dtype != value.dtype:
            raise CheckpointError(f"{what}: {name} has type {given[name].dtype}, expected {value.dtype}; {advice}")
    for name, value in wanted.items():
        value.copy_(given[name])
