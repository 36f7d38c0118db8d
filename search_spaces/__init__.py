"""Search spaces by name. A space of another package is found through the entry-point group `segnas.spaces`.

Nothing here loads PyTorch before a space is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from nas.space.space_entry import SpaceEntry
from search_spaces.fasterseg.config import FasterSegConfig
from search_spaces.lgcnet.config import CASConfig, GASConfig, LGCNetConfig, MiniConfig
from search_spaces.squeezenas.config import SqueezeNASLargeConfig, SqueezeNASSmallConfig, SqueezeNASXLargeConfig
from search_spaces.zoo.config import ZooConfig

if TYPE_CHECKING:
    from nas.cost.published_format import PublishedTable
    from nas.space.search_space import SearchSpace

    PUBLISHED_TABLES: tuple[PublishedTable, ...]

ENTRY_POINT_GROUP = "segnas.spaces"


def _lgcnet(config: Any) -> SearchSpace:
    from search_spaces.lgcnet.space import LGCNet

    return LGCNet(config)


def _mini(config: Any) -> SearchSpace:
    from search_spaces.lgcnet.space import Mini

    return Mini(config)


def _squeezenas(config: Any) -> SearchSpace:
    from search_spaces.squeezenas.space import SqueezeNAS

    return SqueezeNAS(config)


def _fasterseg(config: Any) -> SearchSpace:
    from search_spaces.fasterseg.space import FasterSeg

    return FasterSeg(config)


def _zoo(config: Any) -> SearchSpace:
    from search_spaces.zoo.space import Zoo

    return Zoo(config)


SEARCH_SPACES: dict[str, SpaceEntry] = {
    "lgcnet": SpaceEntry(LGCNetConfig, _lgcnet),
    "gas": SpaceEntry(GASConfig, _lgcnet),
    "cas": SpaceEntry(CASConfig, _lgcnet),
    "mini": SpaceEntry(MiniConfig, _mini),
    "squeezenas_small": SpaceEntry(SqueezeNASSmallConfig, _squeezenas, recipe="squeezenas"),
    "squeezenas_large": SpaceEntry(SqueezeNASLargeConfig, _squeezenas, recipe="squeezenas"),
    "squeezenas_xlarge": SpaceEntry(SqueezeNASXLargeConfig, _squeezenas, recipe="squeezenas"),
    "fasterseg": SpaceEntry(FasterSegConfig, _fasterseg),
}
"""The spaces of this package: names and configs are light, building one loads PyTorch."""

HAND_MADE: dict[str, SpaceEntry] = {"zoo": SpaceEntry(ZooConfig, _zoo, searched=False)}
"""Networks without decisions, which only genotypes name."""


def __getattr__(name: str) -> Any:
    """`PUBLISHED_TABLES`: the latency tables that authors published, which `nas profile import` reads; loaded on first use."""
    if name != "PUBLISHED_TABLES":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from search_spaces.fasterseg.published_table import PUBLISHED

    return (PUBLISHED,)


def all_spaces() -> Mapping[str, SpaceEntry]:
    """The spaces of this package, those that other installed packages offer, and what is hand-made.

    Raises:
        ValueError: If another package offers a name that is taken, or something that is no `SpaceEntry`.
    """
    spaces = {**SEARCH_SPACES, **HAND_MADE}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name in spaces:
            raise ValueError(f"entry point {point.value}: the space name {point.name!r} is taken; rename it")
        entry = point.load()
        if not isinstance(entry, SpaceEntry):
            raise ValueError(f"entry point {point.value}: got {type(entry).__name__}, expected a nas.space.SpaceEntry")
        spaces[point.name] = entry
    return spaces


def searched_spaces() -> Mapping[str, SpaceEntry]:
    """Those of `all_spaces` that have decisions to search.

    Raises:
        ValueError: As `all_spaces`.
    """
    return {name: entry for name, entry in all_spaces().items() if entry.searched}
