"""Backend `onnxruntime`: operations and networks as ONNX graphs of fixed size in ONNX Runtime, on a CPU or a CUDA GPU.

An operation becomes a graph as a network does in `nas export`: batch norms folded, then traced. ONNX Runtime optimises the graph
as it does a deployed file. Two things follow for a table of operations: nothing is fused across the borders of operations, and a
convolution that ONNX Runtime computes in blocks of channels pays for rearranging its input and output, which in a network only
the first and the last of several such convolutions in a row do.

Inputs and output are bound to memory that was there before, on the device. A plain `run` would also allocate the output and
copy it to a NumPy array, from a GPU even across the bus, while inside a network one operation leaves its output to the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nas.devices.runtime_name import RuntimeName
from nas.devices.this_machine import check_accelerator
from nas.exporting.folding import fold_batch_norms
from nas.measuring.backends.backend import Run, require_fp32
from nas.measuring.backends.examples import example_images, example_operation
from nas.measuring.backends.kept import KEEP_BYTES, Buffers, Kept, num_bytes
from nas.measuring.backends.onnx_session import bound_call, installed_version, open_session
from nas.network.network import Labels, Network
from nas.ops.spec import OpSpec

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 17
"""Version of the ONNX operator set: what `nas export` writes by default."""


@dataclass(slots=True, kw_only=True, eq=False)
class Bound:
    """A graph with the memory that it reads and writes.

    Args:
        name: What the graph is, for errors.
        content: The serialised graph.
        inputs: Tensors on the device, `x0` first.
        output: A tensor on the device.
        call: Runs the graph once; None while no session is open.
    """

    name: str
    content: bytes
    inputs: Buffers
    output: Tensor
    call: Callable[[], None] | None = None


class OnnxRuntime:
    """Times ONNX graphs, each in a session of its own.

    With one thread a session has no threads of its own and stays open. With more, its threads go on waiting busily after a call
    (34 ms long as measured with version 1.31), on cores that what is timed next would need. So only one session is open at a
    time then; the first call after another one's opens it anew.

    Args:
        runtime: Precision (fp32 only), batch and threads.
        accelerator: `cpu` or `cuda` (the current CUDA device).
        keep_bytes: Most memory for operations, inputs and outputs kept between calls.

    Raises:
        ConfigError: If the precision is not fp32, the accelerator is not there, or ONNX Runtime or its part for the accelerator
            is not installed.
    """

    def __init__(self, runtime: RuntimeName, *, accelerator: str = "cpu", keep_bytes: int = KEEP_BYTES) -> None:
        require_fp32(runtime)
        check_accelerator(accelerator)
        self.runtime = runtime
        self.version = installed_version(accelerator)
        self._device = torch.device(accelerator)
        self._stream = torch.cuda.Stream() if accelerator == "cuda" else None
        self._kept: Kept[Bound] = Kept(keep_bytes)
        self._last: Bound | None = None

    def measuring(self) -> AbstractContextManager[None]:
        """Nothing to set in the process: each session has its own number of threads."""
        return nullcontext()

    def prepare(self, spec: OpSpec) -> Run:
        """Make the graph of the operation, or take the kept one; leaves PyTorch's random state as it was."""
        bound = self._kept.get(spec)
        return self._run(self._make(spec) if bound is None else bound)

    def prepare_network(self, network: Network, *, size: tuple[int, int]) -> Run:
        """Make the graph of the network from images to label map."""
        images = (example_images(size, batch=self.runtime.batch),)
        module = Labels(fold_batch_norms(network)).eval()
        output = _output_of(module, images).to(self._device)
        content = onnx_graph(module, images)
        inputs = tuple(tensor.to(self._device) for tensor in images)
        return self._run(Bound(name=f"the network at {size[0]}x{size[1]}", content=content, inputs=inputs, output=output))

    def _make(self, spec: OpSpec) -> Bound:
        module, examples = example_operation(spec, batch=self.runtime.batch)
        folded = fold_batch_norms(module)
        inputs_name, known = self._kept.buffers("inputs", examples)
        output_name, (output,) = self._kept.buffers("output", (_output_of(folded, examples),))
        inputs, output = tuple(tensor.to(self._device) for tensor in known), output.to(self._device)
        bound = Bound(name=spec.key, content=onnx_graph(folded, examples), inputs=inputs, output=output)
        # Weights in the graph and as the session lays them out; beside the shared buffers, the session's own for rearranged maps.
        own_bytes = 2 * num_bytes(*folded.state_dict().values()) + num_bytes(*inputs, output)
        self._kept.offer(spec, bound, own_bytes=own_bytes, buffers={inputs_name: inputs, output_name: (output,)})
        return bound

    def _run(self, bound: Bound) -> Run:
        self._opened(bound)  # here, so that what cannot be run is refused before anything is timed

        def run(calls: int) -> float:
            call = self._opened(bound)
            return timed_cpu(call, calls) if self._stream is None else timed_cuda(call, calls, self._stream)

        return run

    def _opened(self, bound: Bound) -> Callable[[], None]:
        if bound.call is None:
            if self._last is not None and self.runtime.threads > 1:
                self._last.call = None
            stream = 0 if self._stream is None else self._stream.cuda_stream
            session = open_session(
                bound.content, accelerator=self._device.type, threads=self.runtime.threads, stream=stream, name=bound.name
            )
            bound.call = bound_call(session, _named(bound.inputs), bound.output)
            self._last = bound
        return bound.call


def onnx_graph(module: nn.Module, inputs: tuple[Tensor, ...]) -> bytes:
    """The serialised ONNX graph of a module for the shapes of its inputs, `x0` first; leaves PyTorch's random state as it was.

    Args:
        module: In evaluation mode, without batch norms.
        inputs: Each [N, C, H, W].
    """
    from nas.exporting.onnx_graph import trace_onnx

    with torch.random.fork_rng(devices=[]):
        model = trace_onnx(module, _named(tuple(tensor[:1] for tensor in inputs)), output="output", opset=OPSET)
    _fix_batch(model, len(inputs[0]))
    return bytes(model.SerializeToString())


def timed_cpu(call: Callable[[], None], calls: int) -> float:
    """Mean wall-clock time of a call in ms."""
    start = time.perf_counter_ns()
    for _ in range(calls):
        call()
    return (time.perf_counter_ns() - start) / calls / 1e6


def timed_cuda(call: Callable[[], None], calls: int, stream: torch.cuda.Stream) -> float:
    """Mean time of a call in ms between two events on the stream that the calls work on, which is waited for."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record(stream)
    for _ in range(calls):
        call()
    end.record(stream)
    end.synchronize()
    return float(start.elapsed_time(end)) / calls


def _named(tensors: Buffers) -> Mapping[str, Tensor]:
    return {f"x{index}": tensor for index, tensor in enumerate(tensors)}


def _output_of(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """An output of the module, contiguous."""
    with torch.no_grad():
        output: Tensor = module(*inputs)
        return output.contiguous()


def _fix_batch(model: ModelProto, batch: int) -> None:
    """State the batch in the graph, in place: all that depends on sizes is then computed when a session is opened."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
