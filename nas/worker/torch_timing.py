"""How calls of PyTorch are timed, on a CPU and on a CUDA GPU."""

import time
from typing import Any, Callable, Sequence

TorchCall = Callable[..., object]
"""The timed function of the inputs."""


def timed_on_cpu(call: TorchCall, inputs: Sequence[Any], calls: int) -> float:
    """Mean wall-clock time of a call in ms."""
    start = time.perf_counter()
    for _ in range(calls):
        call(*inputs)
    return (time.perf_counter() - start) / calls * 1e3


def timed_on_cuda(cuda: Any, call: TorchCall, inputs: Sequence[Any], calls: int) -> float:
    """Mean time of a call in ms between two events on the current stream, whose work is waited for.

    Args:
        cuda: `torch.cuda`.
        call: What is timed.
        inputs: What it is called with, on the GPU.
        calls: Number of calls.
    """
    start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    cuda.synchronize()
    start.record()
    for _ in range(calls):
        call(*inputs)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / calls
