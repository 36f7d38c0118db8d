"""Weights of a derived network out of the supernet that it is a part of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from nas.errors import CheckpointError, ConfigError, UserError
from nas.files.shortening import shorten
from nas.network.network import Network
from nas.runs.checkpoint import check_values
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

    Raises:
        ValueError: If an operation depends on several decisions.
    """
    decisions = {node.module: node.decisions for node in supernet.nodes if node.role == "mixed"}
    found: dict[str, Tensor] = {}
    for module in dict.fromkeys(node.module for node in derived.nodes if node.role == "op"):
        path = module
        if module in decisions:
            if len(decisions[module]) > 1:
                raise ValueError(f"{module}: got {len(decisions[module])} decisions, expected one, which names the operation")
            path = f"{module}.candidates.{decided[decisions[module][0]]}"
        found |= {f"{module}.{name.removeprefix(f'{path}.')}": one for name, one in given.items() if name.startswith(f"{path}.")}
    return found


def searched_tensors(state: Mapping[str, Any], design: Design, source: str | Path) -> dict[str, Tensor]:
    """The tensors of a network out of the checkpoint of a search, in the network's names.

    Running statistics of batch norms are those of the supernet, a mixture over the paths that it drew.

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
    if stated.get("name") != design.genotype.space:
        raise ConfigError(
            f"weights: got {source}, a search of space {shorten(stated.get('name'))}, expected one of {design.genotype.space}, "
            "the space of the genotype"
        )
    if not space.contains_derived:
        raise ConfigError(
            f"weights: got {source}, and networks of space {design.genotype.space} are no part of its supernet, which has other "
            "operations; leave weights out"
        )
    _check_settings(space.config, stated.get("config"), source)
    tensors = {
        name.removeprefix(NETWORK): one
        for name, one in given.items()
        if isinstance(name, str) and name.startswith(NETWORK) and isinstance(one, Tensor)
    }
    found = architecture_tensors(tensors, space.graph(design.deployment), design.graph, design.genotype.choices)
    check_values(found, Path(source))
    return found


def _check_settings(mine: Any, stated: object, source: str | Path) -> None:  # noqa: ANN401  the config of any space
    """Refuse a search of other settings of the space than those of the genotype; what it does not state has its default."""
    try:
        other = asdict(type(mine)(**stated)) if isinstance(stated, Mapping) else None
    except (TypeError, UserError) as error:
        raise CheckpointError(f"{source}: space.config: {error}") from error
    if other is None:
        raise CheckpointError(f"{source}: space.config: got {type(stated).__name__}, expected settings of the space")
    for key, value in asdict(mine).items():
        if other[key] != value:
            raise ConfigError(
                f"weights: got {source}, a search with {key}={shorten(other[key])}, expected {shorten(value)}, as the space of "
                "the genotype has it"
            )
