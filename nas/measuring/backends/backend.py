"""The interface of a runtime to `nas profile`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from nas.devices.runtime_name import RuntimeName
from nas.errors import ConfigError
from nas.network.network import Network
from nas.ops.spec import OpSpec

Run = Callable[[int], float]
"""Executes an operation or a network the given number of times; returns the mean of one call in ms."""


class Backend(Protocol):
    """One way to execute operations on one device."""

    @property
    def runtime(self) -> RuntimeName:
        """The runtime, with precision, batch and threads."""

    @property
    def version(self) -> str:
        """The version of what runs; tables of different versions are not mixed."""

    def measuring(self) -> AbstractContextManager[None]:
        """A context in which `prepare` and its results may be called; it undoes what it sets in the process."""

    def prepare(self, spec: OpSpec) -> Run:
        """Make one operation ready; cheap when called again for the same spec while there is memory to keep it."""

    def prepare_network(self, network: Network, *, size: tuple[int, int]) -> Run:
        """Make a derived network ready, from images to label map; it is copied, and the caller alone keeps the result.

        Args:
            network: The derived network.
            size: (height, width) of the images in pixels.
        """


def require_fp32(runtime: RuntimeName) -> None:
    """Refuse another precision than fp32.

    Raises:
        ConfigError: If the runtime has another one.
    """
    if runtime.precision != "fp32":
        raise ConfigError(
            f"runtime: got precision {runtime.precision!r}, but {runtime.backend} measures fp32 only (the operations and "
            f"their inputs are float32); use {runtime.backend}-fp32-b{runtime.batch}-t{runtime.threads}"
        )
