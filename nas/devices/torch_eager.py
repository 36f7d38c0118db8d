"""Backend `torch-eager`: PyTorch as it runs by itself, without a compiler, on a CPU or a CUDA GPU."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.devices.backend import Run
from nas.devices.identity import check_accelerator
from nas.devices.runtime_name import RuntimeName
from nas.errors import ConfigError
from nas.ops import build, example_inputs
from nas.ops.spec import OpSpec

KEEP_BYTES = 1_000_000_000
"""Operations and inputs are kept between rounds up to this size in all; beyond, they are made anew each time."""


@dataclass(frozen=True, slots=True)
class _Ready:
    module: nn.Module
    inputs: tuple[Tensor, ...]


class TorchEager:
    """Times operations in inference mode with frozen batch-norm statistics.

    Args:
        runtime: Precision (fp32 only), batch and threads.
        accelerator: `cpu` or `cuda` (the current CUDA device).
        keep_bytes: Most memory for operations and inputs kept between calls.

    Raises:
        ConfigError: If the precision is not fp32 or the accelerator is not there.
    """

    def __init__(self, runtime: RuntimeName, *, accelerator: str = "cpu", keep_bytes: int = KEEP_BYTES) -> None:
        if runtime.precision != "fp32":
            raise ConfigError(
                f"runtime: got precision {runtime.precision!r}, but torch-eager measures fp32 only (the operations and "
                f"their inputs are float32); use {runtime.backend}-fp32-b{runtime.batch}-t{runtime.threads}"
            )
        check_accelerator(accelerator)
        self.runtime = runtime
        self.version = str(torch.__version__)
        self._device = torch.device(accelerator)
        self._keep_bytes = keep_bytes
        self._kept_bytes = 0
        self._ready: dict[OpSpec, _Ready] = {}
        self._inputs: dict[tuple[torch.Size, ...], tuple[Tensor, ...]] = {}

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Set the number of CPU threads of the runtime and restore the former one."""
        threads = torch.get_num_threads()
        torch.set_num_threads(self.runtime.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def prepare(self, spec: OpSpec) -> Run:
        """Build the operation and its inputs, or take the kept ones; leaves PyTorch's random state as it was."""
        ready = self._ready.get(spec)
        if ready is None:
            ready = self._make(spec)
        timed = _timed_cuda if self._device.type == "cuda" else _timed_cpu
        return lambda calls: timed(ready.module, ready.inputs, calls)

    def _make(self, spec: OpSpec) -> _Ready:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = build(spec).eval().to(self._device)
            generator = torch.Generator().manual_seed(0)
            inputs = example_inputs(spec, batch=self.runtime.batch, generator=generator)
        shapes = tuple(tensor.shape for tensor in inputs)
        known = self._inputs.get(shapes)
        inputs = known if known is not None else tuple(tensor.to(self._device) for tensor in inputs)
        ready = _Ready(module, inputs)
        new_bytes = _num_bytes(module.state_dict().values()) + (0 if known is not None else _num_bytes(inputs))
        if self._kept_bytes + new_bytes <= self._keep_bytes:
            self._kept_bytes += new_bytes
            self._inputs[shapes] = inputs
            self._ready[spec] = ready
        return ready


def _num_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@torch.inference_mode()
def _timed_cpu(module: nn.Module, inputs: tuple[Tensor, ...], calls: int) -> float:
    """Mean wall-clock time of a call in ms."""
    start = time.perf_counter_ns()
    for _ in range(calls):
        module(*inputs)
    return (time.perf_counter_ns() - start) / calls / 1e6


@torch.inference_mode()
def _timed_cuda(module: nn.Module, inputs: tuple[Tensor, ...], calls: int) -> float:
    """Mean time of a call in ms between two events on the current stream, whose work is waited for."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        module(*inputs)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / calls
