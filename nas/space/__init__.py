"""A search space: decisions, the graph that depends on them, the genotype that settles them.

The names that another package needs for a space of its own can be imported from here. Each is loaded when it is asked for, so the
light modules of this folder load no PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.space.capabilities import Derivation, Judge
    from nas.space.choice import Choice, NeverAll, argmax_choices, check_decisions
    from nas.space.deployment import Deployment
    from nas.space.deployment import Deployment as Shape
    from nas.space.graph import Graph, NetworkBuilder, Value
    from nas.space.search_space import SearchSpace, open_choices
    from nas.space.space_entry import SpaceEntry
    from nas.space.weights import Weights

__all__ = [
    "Choice",
    "Deployment",
    "Derivation",
    "Graph",
    "Judge",
    "NetworkBuilder",
    "NeverAll",
    "SearchSpace",
    "Shape",
    "SpaceEntry",
    "Value",
    "Weights",
    "argmax_choices",
    "check_decisions",
    "open_choices",
]

_HOME = {
    "Derivation": "capabilities",
    "Judge": "capabilities",
    "Choice": "choice",
    "NeverAll": "choice",
    "Deployment": "deployment",
    "Graph": "graph",
    "NetworkBuilder": "graph",
    "SpaceEntry": "space_entry",
    "Value": "graph",
    "Weights": "weights",
    "argmax_choices": "choice",
    "check_decisions": "choice",
}
"""Name -> its module; the others are of `search_space`."""
_FORMER = {"Shape": "Deployment"}
"""Name in version 0.1, which packages may import -> present one."""


def __getattr__(name: str) -> Any:  # noqa: ANN401  whatever has this name
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    name = _FORMER.get(name, name)
    return getattr(importlib.import_module(f"{__name__}.{_HOME.get(name, 'search_space')}"), name)
