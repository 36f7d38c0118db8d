"""Backend `onnxruntime`: operations and networks as ONNX graphs of fixed size, in the sessions that the worker measures with.

An operation becomes a graph as a network does in `nas export`: batch norms folded, then traced. ONNX Runtime optimises the graph
as it does a deployed file. Two things follow for a table of operations: nothing is fused across the borders of operations, and a
convolution that ONNX Runtime computes in blocks of channels pays for rearranging its input and output, which in a network only
the first and the last of several such convolutions in a row do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec

import torch

from nas.devices.memory import available_bytes
from nas.devices.runtime_name import RuntimeName
from nas.devices.this_machine import check_accelerator
from nas.errors import ConfigError
from nas.measuring.backends.module_runtime import require_fp32
from nas.measuring.backends.network_sessions import NetworkSessions
from nas.measuring.operation_graphs import OperationFile, network_file, operation_file
from nas.network.network import Network
from nas.ops.spec import OpSpec
from nas.worker.interface import Operation, Run, Setup, WorkerError
from nas.worker.onnx_sessions import OnnxSessions
from nas.worker.ready_operations import KEEP_BYTES, Kept, bytes_of_maps

PACKAGES = ("onnx", "onnxruntime")
"""Packages needed beside the package's own dependencies."""


class OnnxRuntime:
    """Times ONNX graphs in sessions of the worker's `OnnxSessions`.

    Args:
        runtime: Precision (fp32 only), batch and threads.
        accelerator: `cpu` or `cuda` (the first CUDA device).
        keep_bytes: Most memory for operations, inputs and outputs that stay ready, and most for the graphs of the others.

    Raises:
        ConfigError: If the precision is not fp32, the accelerator is not there, or ONNX Runtime or its part for the accelerator
            is not installed.
    """

    def __init__(self, runtime: RuntimeName, *, accelerator: str = "cpu", keep_bytes: int = KEEP_BYTES) -> None:
        require_fp32(runtime)
        check_accelerator(accelerator)
        missing = [name for name in PACKAGES if find_spec(name) is None]
        if missing:
            raise ConfigError(f"runtime onnxruntime: {' and '.join(missing)} not installed: pip install 'segnas[export]'")
        with _refusals():
            self._sessions = OnnxSessions(Setup(runtime.precision, runtime.threads, accelerator, folder=""))
        self.runtime = runtime
        self.version = self._sessions.version
        self.clock, self.cuda_graphs = self._sessions.clock, self._sessions.graphs
        self._files = Kept(self._make_file, keep_bytes=keep_bytes)
        self._ready = Kept(self._make_ready, keep_bytes=keep_bytes)
        self._networks = NetworkSessions(lambda: available_bytes(torch.device(accelerator)))

    def measuring(self) -> AbstractContextManager[None]:
        """Nothing to set in the process: each session has its own number of threads."""
        return nullcontext()

    def prepare(self, spec: OpSpec) -> Run:
        """Open a session with the operation's graph, or take the open one; leaves PyTorch's random state as it was."""
        return self._ready.take(spec.key)

    def prepare_network(self, network: Network, *, size: tuple[int, int]) -> Run:
        """Open a session with the graph of the network from images to label map."""
        self._networks.make_room()  # the graph of large images is not made within little memory either
        file = network_file(network, size=size, batch=self.runtime.batch, script=False)
        return self.prepare_file(file, name=f"the network at {size[0]}x{size[1]}")

    def prepare_file(self, file: OperationFile, *, name: str) -> Run:
        """Open a session with a graph; it is opened again where others needed its memory."""
        return self._networks.hold(lambda: self._open(name, file)[0])

    def _make_file(self, key: str) -> tuple[OperationFile, int]:
        """The graph of an operation: small beside its maps, but slow to trace, so that those of large images are kept as files."""
        file = operation_file(OpSpec.from_key(key), batch=self.runtime.batch, script=False)
        return file, len(file.content)

    def _make_ready(self, key: str) -> tuple[Run, int]:
        return self._open(key, self._files.take(key))

    def _open(self, name: str, file: OperationFile) -> tuple[Run, int]:
        """The session of a graph, and the bytes of its weights, twice as the session lays them out again, and of its maps."""
        operation = Operation(name, "", [*file.inputs], file.output, file.output_type)
        with _refusals():
            return self._sessions.open_graph(file.content, operation), 2 * len(file.content) + bytes_of_maps(operation)


@contextmanager
def _refusals() -> Iterator[None]:
    """Let what the worker's code refuses be an error of the settings."""
    try:
        yield
    except WorkerError as error:
        raise ConfigError(f"{error}; or use accelerator=cpu or another runtime") from error
