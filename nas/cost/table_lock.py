"""Who writes into a latency table: one measurement at a time, and one change of the file at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.devices.sole_writer import sole_writer
from nas.errors import ConfigError

PATIENCE_S = 60.0
"""Seconds to wait for a change of the file, which takes a moment."""
_REMEDY = "give another file by out="


@contextmanager
def measuring_into(path: Path, verb: str) -> Iterator[None]:
    """Be the one measurement into a table, whose journal it writes; others would slow down the device that it measures.

    Args:
        path: The table's file; its folder is there.
        verb: What measures.

    Raises:
        ConfigError: If another process does, saying which.
    """
    with sole_writer(_measuring(path), verb, of=f"the table {path}", remedy=_REMEDY):
        yield


@contextmanager
def changing_table(path: Path, verb: str) -> Iterator[None]:
    """Be the one that changes a table: what is read in the block is what is there when it is written.

    Args:
        path: The table's file; its folder is made.
        verb: What changes it.

    Raises:
        ConfigError: If another process does not come to an end with it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with sole_writer(_changing(path), verb, of=f"the table {path}", remedy=_REMEDY, wait_s=PATIENCE_S):
        yield


def remove_stale_locks(path: Path) -> None:
    """Remove what killed processes have left of their locks, for who finds a table in which nothing is left to do.

    Args:
        path: The table's file.
    """
    for lock in (_measuring(path), _changing(path)):
        if lock.exists():
            with contextlib.suppress(ConfigError), sole_writer(lock, "profile", of="", remedy="", wait_s=0.0):
                pass


def _measuring(path: Path) -> Path:
    return path.with_name(f".{path.name}.measuring.lock")


def _changing(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")
