"""Weights that the authors of a space released, recognised by their names, which are turned into ours, strictly."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from nas.errors import CheckpointError
from nas.network.network import Network
from nas.space.design import Design
from nas.space.graph import Graph

log = logging.getLogger("nas")

_LISTED = 5


def import_official(design: Design, state_dict: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """The tensors of an official checkpoint under our names.

    Args:
        design: The network that they belong to.
        state_dict: Official name -> tensor.
        source: What messages begin with.

    Tensors of auxiliary heads may be missing all together, as in files that were released for evaluation; they are then as drawn.

    Raises:
        CheckpointError: If no official checkpoint of the network is known, `state_dict` is none, or a tensor is missing, left over
            or of another shape: all are named, up to a few of each.
    """
    graph, space = design.graph, design.space
    keys = space.official_keys(graph)
    if keys is None:
        raise CheckpointError(f"{source}: no official checkpoint is known of this genotype; give weights of nas train")
    _check_tensors(state_dict, source)
    state_dict = _without_extras(state_dict, space.official_extras(graph), source)
    ours = _renamed(graph, keys, state_dict, source)
    with torch.device("meta"):
        shapes = {name: list(tensor.shape) for name, tensor in Network(graph).state_dict().items()}
    _check_shapes(shapes, ours, keys, source=source)
    return ours


def own_names(tensors: Mapping[str, Tensor], *, design: Design, source: str | Path) -> Mapping[str, Tensor]:
    """Tensors of a file under our names, whether it has ours or the official ones; says so of the latter.

    Names decide: a file with any official name that is none of ours is an official one. Shapes that only another number of classes
    explains are let pass, as for our own weights; the network that is built decides on them.

    Raises:
        CheckpointError: If an official file lacks a tensor or has one too many.
    """
    graph, space = design.graph, design.space
    keys = space.official_keys(graph)
    official = {name for names in keys.values() for name in names} - set(keys) if keys else set()
    if not keys or official.isdisjoint(tensors):
        return tensors
    tensors = _without_extras(tensors, space.official_extras(graph), str(source))
    renamed = _renamed(graph, keys, tensors, str(source))
    log.info("weights: %s has the names of the official code of %s; renamed to ours", source, design.genotype.space)
    return renamed


def _renamed(graph: Graph, keys: Mapping[str, tuple[str, ...]], tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Official tensors under our names; those of auxiliary heads as drawn where the file has none of them."""
    paths = tuple(f"{path}." for path in {node.module for node in graph.nodes} - {node.module for node in graph.deployed().nodes})
    auxiliary = [name for name in keys if name.startswith(paths)] if paths else []
    drawn: dict[str, Tensor] = {}
    if auxiliary and not any(one in tensors for name in auxiliary for one in keys[name]):
        log.info("weights: %s has no auxiliary heads; theirs are as drawn", source)
        state = Network(graph).state_dict()
        drawn = {name: state[name] for name in auxiliary}
    given = {name: names for name, names in keys.items() if name not in drawn}
    _check_names({name for names in given.values() for name in names}, set(tensors), source)
    return {name: drawn[name] if name in drawn else _joined([tensors[one] for one in keys[name]]) for name in keys}


def _without_extras(tensors: Mapping[str, Tensor], extras: Mapping[str, str | None], source: str) -> dict[str, Tensor]:
    """Tensors without those that repeat others, which is checked, and without those that take no part."""
    for name, original in extras.items():
        both = name in tensors and original in tensors
        if both and original is not None and not torch.equal(tensors[name], tensors[original]):
            raise CheckpointError(
                f"{source}: {name} differs from {original}, expected copies of one tensor, for this genotype shares it; "
                "give the checkpoint that was released for it"
            )
    return {name: tensor for name, tensor in tensors.items() if name not in extras}


def _check_tensors(state_dict: object, source: str) -> None:
    """Refuse what is no mapping of names to tensors, as a whole checkpoint is none that has one among other things."""
    if not isinstance(state_dict, Mapping):
        raise CheckpointError(f"{source}: got {type(state_dict).__name__}, expected names and tensors; give a state dict")
    wrong = [name for name, value in state_dict.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if wrong:
        within = [name for name in wrong if isinstance(state_dict[name], Mapping)]
        remedy = f"give what is under {within[0]!r}" if within else "leave it out"
        kind = type(state_dict[wrong[0]]).__name__
        raise CheckpointError(f"{source}: got {kind} under {wrong[0]!r}, expected names and tensors alone; {remedy}")


def _check_names(wanted: set[str], got: set[str], source: str) -> None:
    faults = [(word, sorted(names)) for word, names in (("missing", wanted - got), ("left over", got - wanted)) if names]
    if faults:
        listed = "; ".join(f"{word} {_some(names)}" for word, names in faults)
        prefix = _common_prefix(wanted, got)
        remedy = "give the checkpoint that was released for it" if prefix is None else f"take {prefix!r} off their names"
        raise CheckpointError(
            f"{source}: got {len(got)} tensors, expected the {len(wanted)} official ones of this genotype: {listed}; {remedy}"
        )


def _common_prefix(wanted: set[str], got: set[str]) -> str | None:
    """What stands before every wanted name, such as `module.` where a network was saved within another; None: nothing does."""
    longest = max(wanted, key=len)
    prefixes = [name.removesuffix(longest) for name in sorted(got) if name.endswith(f".{longest}")]
    return next((one for one in prefixes if all(one + name in got for name in wanted)), None)


def _check_shapes(
    shapes: Mapping[str, list[int]], ours: Mapping[str, Tensor], keys: Mapping[str, tuple[str, ...]], *, source: str
) -> None:
    assert shapes.keys() == ours.keys()
    wrong = [
        f"{' + '.join(keys[name])} has shape {list(ours[name].shape)}, expected {shape}"
        for name, shape in shapes.items()
        if list(ours[name].shape) != shape
    ]
    if wrong:
        raise CheckpointError(f"{source}: {_some(wrong)}; give the checkpoint that was released for this genotype")


def _joined(parts: list[Tensor]) -> Tensor:
    """One tensor, or several laid end to end along the channels; of counters the first."""
    return parts[0] if len(parts) == 1 or parts[0].dim() == 0 else torch.cat(parts)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
