"""What every runtime offers to `nas profile`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from nas.devices.runtime_name import RuntimeName
from nas.ops.spec import OpSpec

Run = Callable[[int], float]
"""Executes an operation the given number of times; returns the mean of one call in ms."""


class Backend(Protocol):
    """One way to execute operations on one device."""

    @property
    def runtime(self) -> RuntimeName:
        """What runs, with precision, batch and threads."""

    @property
    def version(self) -> str:
        """The version of what runs; tables of different versions are not mixed."""

    def measuring(self) -> AbstractContextManager[None]:
        """A context in which `prepare` and its results may be called; it undoes what it sets in the process."""

    def prepare(self, spec: OpSpec) -> Run:
        """Make one operation ready; cheap when called again for the same spec while there is memory to keep it."""
