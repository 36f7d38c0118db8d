"""Shared parts of the PyTorch backends: modules made ready in inference mode and kept between rounds; timing of their calls."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.devices.runtime_name import RuntimeName
from nas.devices.this_machine import check_accelerator
from nas.measuring.backends.backend import Run, require_fp32
from nas.measuring.backends.kept import KEEP_BYTES, Kept, num_bytes
from nas.measuring.example_operations import example_images, example_operation
from nas.network.network import Labels, Network
from nas.ops.spec import OpSpec
from nas.worker.host_memory import keep_freed_memory

Call = Callable[..., object]
"""The timed function of the inputs."""


@dataclass(frozen=True, slots=True)
class Ready:
    """An operation or a network that can be timed.

    Args:
        call: What is timed.
        inputs: What it is called with, on its device.
    """

    call: Call
    inputs: tuple[Tensor, ...]


class TorchModules(ABC):
    """Times modules in inference mode with frozen batch-norm statistics.

    Args:
        runtime: Precision (fp32 only), batch and threads.
        accelerator: `cpu` or `cuda` (the current CUDA device).
        keep_bytes: Most memory for operations and inputs kept between calls.

    Raises:
        ConfigError: If the precision is not fp32 or the accelerator is not there.
    """

    def __init__(self, runtime: RuntimeName, *, accelerator: str = "cpu", keep_bytes: int = KEEP_BYTES) -> None:
        require_fp32(runtime)
        check_accelerator(accelerator)
        self.runtime = runtime
        self.version = str(torch.__version__)
        self._device = torch.device(accelerator)
        self._kept: Kept[Ready] = Kept(keep_bytes)

    @abstractmethod
    def _finish(self, module: nn.Module, inputs: tuple[Tensor, ...], *, name: str) -> Call:
        """The function to time of a module in evaluation mode on the device; `name` is for errors."""

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Set the number of CPU threads of the runtime and restore the former one; the process keeps the memory that it frees."""
        keep_freed_memory()
        threads = torch.get_num_threads()
        torch.set_num_threads(self.runtime.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def prepare(self, spec: OpSpec) -> Run:
        """Build the operation and its inputs, or take the kept ones; leaves PyTorch's random state as it was."""
        ready = self._kept.get(spec)
        return self._run(self._make(spec) if ready is None else ready)

    def prepare_network(self, network: Network, *, size: tuple[int, int]) -> Run:
        """Copy the network to the device, in evaluation mode, with images to run on."""
        module = Labels(copy.deepcopy(network)).eval().to(self._device)
        inputs = (example_images(size, batch=self.runtime.batch).to(self._device),)
        return self._run(Ready(self._finish(module, inputs, name=f"the network at {size[0]}x{size[1]}"), inputs))

    def _make(self, spec: OpSpec) -> Ready:
        module, examples = example_operation(spec, batch=self.runtime.batch)
        module = module.to(self._device)
        name, known = self._kept.buffers("inputs", examples)
        inputs = tuple(tensor.to(self._device) for tensor in known)
        ready = Ready(self._finish(module, inputs, name=spec.key), inputs)
        self._kept.offer(spec, ready, own_bytes=num_bytes(*module.state_dict().values()), buffers={name: inputs})
        return ready

    def _run(self, ready: Ready) -> Run:
        timed = timed_cuda if self._device.type == "cuda" else timed_cpu
        return lambda calls: timed(ready.call, ready.inputs, calls)


@torch.inference_mode()
def timed_cpu(call: Call, inputs: tuple[Tensor, ...], calls: int) -> float:
    """Mean wall-clock time of a call in ms."""
    start = time.perf_counter_ns()
    for _ in range(calls):
        call(*inputs)
    return (time.perf_counter_ns() - start) / calls / 1e6


@torch.inference_mode()
def timed_cuda(call: Call, inputs: tuple[Tensor, ...], calls: int) -> float:
    """Mean time of a call in ms between two events on the current stream, whose work is waited for."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        call(*inputs)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / calls
