"""Latency tables that the authors of a space published in a format of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nas.cost.latency_table import LatencyTable
from nas.space.deployment import Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """Reader of a published table, and the scope of its measurements.

    Args:
        title: What the file is, in words.
        suffixes: How the names of its files end.
        read: (file, name of the device or None for its own) -> the table, and lines on what became of its entries.
        space: Name of the space whose networks it is for.
        deployment: What these are deployed for.
    """

    title: str
    suffixes: tuple[str, ...]
    read: Callable[[Path, str | None], tuple[LatencyTable, list[str]]]
    space: str
    deployment: Deployment
