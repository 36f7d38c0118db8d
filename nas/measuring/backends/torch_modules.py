"""Shared parts of the PyTorch backends: modules in inference mode that stay ready for the next rounds, and how they are timed."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from nas.devices.runtime_name import RuntimeName
from nas.devices.this_machine import check_accelerator
from nas.errors import ConfigError
from nas.measuring.backends.module_runtime import require_fp32
from nas.measuring.example_operations import example_images, example_operation
from nas.measuring.operation_graphs import OperationFile
from nas.network.network import Labels, Network
from nas.ops.spec import OpSpec
from nas.worker.host_memory import keep_freed_memory
from nas.worker.interface import CUDA_EVENTS, WALL, Run
from nas.worker.ready_operations import KEEP_BYTES, Kept
from nas.worker.torch_timing import TorchCall, timed_on_cpu, timed_on_cuda


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Ready:
    """An operation or a network that can be timed.

    Args:
        call: What is timed.
        inputs: What it is called with, on its device.
    """

    call: TorchCall
    inputs: tuple[Tensor, ...]


class TorchModules(ABC):
    """Times modules in inference mode with frozen batch-norm statistics.

    Args:
        runtime: Precision (fp32 only), batch and threads.
        accelerator: `cpu` or `cuda` (the current CUDA device).
        keep_bytes: Most memory for operations and inputs that stay ready.

    Raises:
        ConfigError: If the precision is not fp32 or the accelerator is not there.
    """

    def __init__(self, runtime: RuntimeName, *, accelerator: str = "cpu", keep_bytes: int = KEEP_BYTES) -> None:
        require_fp32(runtime)
        check_accelerator(accelerator)
        self.runtime = runtime
        self.version = str(torch.__version__)
        self.clock = CUDA_EVENTS if accelerator == "cuda" else WALL
        self.cuda_graphs = False if accelerator == "cuda" else None
        self._device = torch.device(accelerator)
        self._ready = Kept(self._make, keep_bytes=keep_bytes)
        self._by_shapes: WeakValueDictionary[tuple[torch.Size, ...], Ready] = WeakValueDictionary()

    @abstractmethod
    def _finish(self, module: nn.Module, inputs: tuple[Tensor, ...], *, name: str) -> TorchCall:
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
        """Build the operation and its inputs, or take those that are ready; leaves PyTorch's random state as it was."""
        return self._ready.take(spec.key)

    def prepare_network(self, network: Network, *, size: tuple[int, int]) -> Run:
        """Copy the network to the device, in evaluation mode, with images to run on."""
        module = Labels(copy.deepcopy(network)).eval().to(self._device)
        inputs = (example_images(size, batch=self.runtime.batch).to(self._device),)
        return self._run(Ready(self._finish(module, inputs, name=f"the network at {size[0]}x{size[1]}"), inputs))

    def prepare_forward(self, network: Network, *, size: tuple[int, int]) -> Run:
        """The same from images to logits at their size: the forward pass without the choice of a label."""
        inputs = (example_images(size, batch=self.runtime.batch).to(self._device),)
        module = copy.deepcopy(network).eval().to(self._device)
        return self._run(Ready(self._finish(module, inputs, name=f"the network at {size[0]}x{size[1]}"), inputs))

    def prepare_file(self, file: OperationFile, *, name: str) -> Run:
        """Refuse: PyTorch runs no ONNX graphs."""
        del file
        raise ConfigError(f"runtime: {self.runtime.backend} does not run ONNX files, and {name} is one; give runtime=onnxruntime")

    def _make(self, key: str) -> tuple[Run, int]:
        """The call that executes an operation, and its bytes; operations whose inputs have the same shapes share them."""
        module, examples = example_operation(OpSpec.from_key(key), batch=self.runtime.batch)
        module = module.to(self._device)
        shapes = tuple(tensor.shape for tensor in examples)
        other = self._by_shapes.get(shapes)
        inputs = tuple(tensor.to(self._device) for tensor in examples) if other is None else other.inputs
        ready = Ready(self._finish(module, inputs, name=key), inputs)
        if other is None:
            self._by_shapes[shapes] = ready
        held = [*module.state_dict().values(), *(inputs if other is None else ())]
        return self._run(ready), sum(tensor.numel() * tensor.element_size() for tensor in held)

    def _run(self, ready: Ready) -> Run:
        def run(calls: int) -> float:
            with torch.inference_mode():
                if self._device.type == "cuda":
                    return timed_on_cuda(torch.cuda, ready.call, ready.inputs, calls)
                return timed_on_cpu(ready.call, ready.inputs, calls)

        return run
