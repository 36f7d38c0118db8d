"""Latency tables that the authors of a space published in a format of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nas.cost.latency_table import LatencyTable


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """How a published table is read, and what it was measured for.

    Args:
        title: What the file is, in words.
        suffixes: How the names of its files end.
        read: (file, name of the device or None for its own) -> the table, and lines on what became of its entries.
        space: Name of the space whose networks it is for.
        input_size: (height, width) of their images.
        num_classes: Their classes.
    """

    title: str
    suffixes: tuple[str, ...]
    read: Callable[[Path, str | None], tuple[LatencyTable, list[str]]]
    space: str
    input_size: tuple[int, int]
    num_classes: int
