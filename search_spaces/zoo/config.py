"""The settings of a hand-made network: its name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True, slots=True)
class ZooConfig:
    """Hand-made networks by name, without decisions."""

    name: str = "zoo"
    """The space."""
    network: str = "???"
    """The network, a key of `search_spaces.zoo.networks.FILES`."""
