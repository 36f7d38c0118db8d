"""The hand-made networks for tests: small designs, and what is known of them."""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

from nas.files.shipped import published_genotypes
from nas.space.deployment import Deployment
from nas.space.design import Design, load_design
from search_spaces import all_spaces
from search_spaces.zoo.networks import find_network

NAMES = [name.removeprefix("zoo/") for name in published_genotypes() if name.startswith("zoo/")]


@dataclass(frozen=True)
class Fact:
    """Parameters in millions and GMACs of a network, counted elsewhere, for so many classes at a size."""

    parameters_m: float
    gmacs: float
    classes: int
    size: tuple[int, int]


def facts() -> dict[str, Fact]:
    """Network -> what is known of it."""
    with (Path(__file__).parent / "facts.csv").open(newline="") as file:
        return {
            row["network"]: Fact(
                float(row["parameters_M"]), float(row["gmacs"]), int(row["classes"]), (int(row["height"]), int(row["width"]))
            )
            for row in csv.DictReader(file)
        }


@functools.cache
def published(name: str) -> Design:
    """The network as it ships."""
    return load_design(f"zoo/{name}", all_spaces())


def small(name: str, *, size: tuple[int, int], classes: int = 3) -> Design:
    """The network at another size, which is rounded up to what the network takes."""
    network = find_network(name)
    height, width = (-(-side // network.multiple) * network.multiple for side in size)
    return published(name).deployed(Deployment((height, width), network.stem_channels, classes))
