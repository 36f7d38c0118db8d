"""The interface of every runtime of this process: it takes operations and networks as modules, where the worker's take graphs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from nas.devices.runtime_name import RuntimeName
from nas.errors import ConfigError
from nas.measuring.operation_graphs import OperationFile
from nas.network.network import Network
from nas.ops.spec import OpSpec
from nas.worker.interface import Run


class ModuleRuntime(Protocol):
    """One way to execute operations in this process, on one device."""

    @property
    def runtime(self) -> RuntimeName:
        """The runtime, with precision, batch and threads."""

    @property
    def version(self) -> str:
        """The version of what runs; tables of different versions are not mixed."""

    @property
    def clock(self) -> str:
        """What samples are read from, of `nas.cost.table_parts.CLOCKS`."""

    @property
    def cuda_graphs(self) -> bool | None:
        """Whether calls are launched as CUDA graphs; None: nothing is launched on a GPU."""

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

    def prepare_file(self, file: OperationFile, *, name: str) -> Run:
        """Make a network ready that is an ONNX graph of fixed shapes.

        Args:
            file: The graph.
            name: Its name in errors.

        Raises:
            ConfigError: If the runtime runs no ONNX graphs, or refuses this one.
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
