"""Weights of a derived network out of the supernet that it is a part of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.errors import CheckpointError, ConfigError
from nas.files.shortening import shorten
from nas.network.network import Network
from nas.space.design import Design
from nas.space.graph import Graph

NETWORK = "network."
"""What the names of a network's tensors begin with in the state of a supernet."""


def copy_weights(supernet: Network, derived: Network, decided: Mapping[str, str]) -> None:
    """Copy the weights of the decided candidates from a supernet of the same widths into a derived network.

    Args:
        supernet: A network of the open graph.
        derived: A network of the decided graph.
        decided: Decision -> option.
    """
    derived.load_state_dict(architecture_tensors(supernet.state_dict(), supernet.graph, derived.graph, decided))


def architecture_tensors(
    given: Mapping[str, Tensor], supernet: Graph, derived: Graph, decided: Mapping[str, str]
) -> dict[str, Tensor]:
    """The tensors of an architecture, out of those of the supernet, in the names of the derived network.

    Args:
        given: Tensors of the supernet's network by name.
        supernet: The open graph.
        derived: The decided graph.
        decided: Decision -> option.

    Returns:
        Those that the supernet has; a part that the derived network alone has is left out.
    """
    decisions = {node.module: node.decisions for node in supernet.nodes if node.role == "mixed"}
    found: dict[str, Tensor] = {}
    for module in dict.fromkeys(node.module for node in derived.nodes if node.role == "op"):
        path = module if module not in decisions else f"{module}.candidates.{decided[decisions[module][0]]}"
        found |= {f"{module}.{name.removeprefix(f'{path}.')}": one for name, one in given.items() if name.startswith(f"{path}.")}
    return found


def searched_tensors(state: Mapping[str, Any], design: Design, source: str | Path) -> dict[str, Tensor]:
    """The tensors of a network out of the checkpoint of a search, in the network's names.

    Running statistics of batch norms are those of the supernet, a mixture over the paths that it drew; a training replaces them
    within some tens of steps.

    Args:
        state: The checkpoint.
        design: The network.
        source: Of the checkpoint, for messages.

    Raises:
        ConfigError: If the search is one of another space or of other settings of the space, or the supernet of its space does not
            contain the derived networks.
        CheckpointError: If the checkpoint is none of a search.
    """
    space, stated = design.space, state.get("space")
    given = state.get("supernet")
    if state.get("verb") != "search" or not isinstance(stated, Mapping) or not isinstance(given, Mapping):
        raise CheckpointError(f"{source}: got a checkpoint of nas {shorten(state.get('verb'))}, expected one of nas search")
    if not space.contains_derived:
        raise ConfigError(
            f"weights: got {source}, and networks of space {space.config.name} are no part of its supernet, which has other "
            "operations; leave weights out"
        )
    if stated.get("name") != design.genotype.space:
        raise ConfigError(
            f"weights: got {source}, a search of space {shorten(stated.get('name'))}, expected one of {design.genotype.space}, "
            "the space of the genotype"
        )
    mine, other = dict(design.genotype.space_config), dict(stated.get("config", {}))
    differing = sorted(key for key in {*mine, *other} if _plain(mine.get(key)) != _plain(other.get(key)))
    if differing:
        raise ConfigError(
            f"weights: got {source}, a search with {differing[0]}={shorten(other.get(differing[0]))}, expected "
            f"{shorten(mine.get(differing[0]))}, as the space of the genotype has it"
        )
    tensors = {
        name.removeprefix(NETWORK): one
        for name, one in given.items()
        if isinstance(name, str) and name.startswith(NETWORK) and isinstance(one, Tensor)
    }
    with torch.device("meta"):
        supernet = space.graph(design.deployment)
    return architecture_tensors(tensors, supernet, design.graph, design.genotype.choices)


def _plain(value: object) -> object:
    """Lists and tuples alike."""
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
