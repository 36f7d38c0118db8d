"""A search space by name: its config, and what makes the space, which may load PyTorch only then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.space.search_space import SearchSpace


@dataclass(frozen=True, slots=True)
class SpaceEntry:
    """A space that can be chosen by name.

    Args:
        config: Its config dataclass, which has a field `name`.
        build: What makes the space from a config.
        recipe: The recipe of its searches unless another one is chosen; None: that of its own name, if there is one.
        searched: Whether it can be searched; False: its networks are hand-made, and reached as genotypes by name alone.
    """

    config: type[Any]
    build: Callable[[Any], SearchSpace]
    recipe: str | None = None
    searched: bool = True
