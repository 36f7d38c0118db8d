"""For how many classes a network was, whose weights are given."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nas.data.classes.class_set import MAX_CLASSES
from nas.network.build import build_network
from nas.space.design import Design


def classes_of(design: Design, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> int | None:
    """The number of classes of given weights, if they differ from a network in that alone; None: they agree, or differ otherwise.

    A tensor of any axis may have the classes, or a number of channels that follows from them.

    Args:
        design: The network, for its number of classes.
        wanted: Name -> tensor of the network.
        given: Name -> tensor of the weights; names that are missing or left over are not judged.
    """
    shapes = {name: tuple(given[name].shape) for name in wanted if name in given}
    own = {name: tuple(wanted[name].shape) for name in shapes}
    differ = [(own[name], shape) for name, shape in shapes.items() if own[name] != shape]
    sides = {pair for one, other in differ if len(one) == len(other) for pair in zip(one, other, strict=True)}
    candidates = sorted({other for one, other in sides if one == design.deployment.num_classes != other})
    candidates = [n for n in candidates if 1 <= n <= MAX_CLASSES]
    return next((n for n in candidates if _fits(design, n, shapes)), None)


def _fits(design: Design, num_classes: int, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a network of so many classes has tensors of these shapes."""
    with torch.device("meta"):
        state = build_network(design, num_classes).state_dict()
    return all(name in state and tuple(state[name].shape) == shape for name, shape in shapes.items())
