"""Search spaces by name. A space of another package is found through the entry-point group `segnas.spaces`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points

from nas.cost.published_format import PublishedTable
from nas.space.search_space import SpaceEntry
from search_spaces.fasterseg.config import FasterSegConfig
from search_spaces.fasterseg.published_table import PUBLISHED as FASTERSEG_TABLE
from search_spaces.fasterseg.space import FasterSeg
from search_spaces.former_names import former_names
from search_spaces.lgcnet.config import CASConfig, GASConfig, LGCNetConfig
from search_spaces.lgcnet.space import LGCNet
from search_spaces.squeezenas.config import SqueezeNASLargeConfig, SqueezeNASSmallConfig, SqueezeNASXLargeConfig
from search_spaces.squeezenas.space import SqueezeNAS

ENTRY_POINT_GROUP = "segnas.spaces"


SEARCH_SPACES: dict[str, SpaceEntry] = {
    "lgcnet": SpaceEntry(LGCNetConfig, LGCNet),
    "gas": SpaceEntry(GASConfig, LGCNet),
    "cas": SpaceEntry(CASConfig, LGCNet),
    "squeezenas_small": SpaceEntry(SqueezeNASSmallConfig, SqueezeNAS),
    "squeezenas_large": SpaceEntry(SqueezeNASLargeConfig, SqueezeNAS),
    "squeezenas_xlarge": SpaceEntry(SqueezeNASXLargeConfig, SqueezeNAS),
    "fasterseg": SpaceEntry(FasterSegConfig, FasterSeg),
}

PUBLISHED_TABLES: tuple[PublishedTable, ...] = (FASTERSEG_TABLE,)
"""The latency tables that authors published, which `nas profile import` reads."""


def all_spaces() -> Mapping[str, SpaceEntry]:
    """The spaces of this package and those that other installed packages offer.

    Raises:
        ValueError: If another package offers a name that is taken, or something that is no `SpaceEntry`.
    """
    spaces = dict(SEARCH_SPACES)
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name in spaces:
            raise ValueError(f"entry point {point.value}: the space name {point.name!r} is taken; rename it")
        with former_names():
            entry = point.load()
        if not isinstance(entry, SpaceEntry):
            raise ValueError(f"entry point {point.value}: got {type(entry).__name__}, expected a nas.space.SpaceEntry")
        spaces[point.name] = entry
    return spaces
