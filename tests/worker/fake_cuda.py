"""A CUDA runtime with a simulated clock: what `nas.worker.cuda` calls of libcudart, and nothing else.

Memory is a dict from address to bytes; time passes only while a kernel runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

MESSAGES = {
    2: b"out of memory",
    35: b"CUDA driver version is insufficient for CUDA runtime version",
    100: b"no CUDA-capable device is detected",
}


class FakeCuda:
    """libcudart as ctypes shows it: functions that take ctypes values and return a status.

    Args:
        total_bytes: Memory of the GPU.
        failing: Name of the function that fails.
        failing_status: What that one returns.
        capability: Compute capability.
        enqueue_ms: Time of the host to enqueue a kernel, which the GPU waits for; a graph is launched in one such time.
    """

    def __init__(
        self,
        *,
        total_bytes: int = 8 << 30,
        failing: str = "",
        failing_status: int = 35,
        capability: tuple[int, int] = (8, 7),
        enqueue_ms: float = 0.0,
    ) -> None:
        self.enqueue_ms = enqueue_ms
        self.capturing: list[float] | None = None
        self.graphs: dict[int, list[float]] = {}
        self.total_bytes = total_bytes
        self.attributes = {16: 8, 75: capability[0], 76: capability[1]}
        self.now_ms = 0.0
        self.launched = 0
        self.memory: dict[int, bytearray] = {}
        self.events: dict[int, float] = {}
        self.streams: set[int] = set()
        self.next_handle = 0x1000
        functions: dict[str, Callable[..., int | None]] = {
            "cudaRuntimeGetVersion": lambda reference: put(reference, 12060),
            "cudaDriverGetVersion": lambda reference: put(reference, 12080),
            "cudaDeviceGetAttribute": lambda reference, number, device: put(reference, self.attributes[number.value]),
            "cudaStreamCreate": self.create_stream,
            "cudaEventCreate": self.create_event,
            "cudaMalloc": self.malloc,
            "cudaFree": self.free,
            "cudaMemset": self.memset,
            "cudaMemcpy": self.memcpy,
            "cudaMemGetInfo": self.memory_info,
            "cudaEventRecord": self.record,
            "cudaStreamSynchronize": self.synchronize,
            "cudaEventElapsedTime": self.elapsed,
            "cudaStreamBeginCapture": self.begin_capture,
            "cudaStreamEndCapture": self.end_capture,
            "cudaGraphInstantiate": self.instantiate,
            "cudaGraphLaunch": self.launch_graph,
            "cudaGetLastError": lambda: 0,
        }
        for name, function in functions.items():
            setattr(self, name, with_status(function, failing_status if name == failing else 0))
        if failing == "cudaStreamEndCapture":
            self.cudaStreamEndCapture = self.lose_capture
        self.cudaGetErrorString = lambda status: MESSAGES[status.value]

    def new_handle(self, size: int = 0) -> int:
        handle = self.next_handle
        self.next_handle += size + 0x1000
        return handle

    def create_stream(self, reference: Any) -> None:
        handle = self.new_handle()
        self.streams.add(handle)
        put(reference, handle)

    def create_event(self, reference: Any) -> None:
        handle = self.new_handle()
        self.events[handle] = -1.0
        put(reference, handle)

    def malloc(self, reference: Any, size: Any) -> int:
        if size.value > self.total_bytes:
            return 2
        address = self.new_handle(size.value)
        self.memory[address] = bytearray(b"?" * size.value)
        put(reference, address)
        return 0

    def free(self, address: Any) -> None:
        del self.memory[address.value]

    def memset(self, address: Any, value: Any, size: Any) -> None:
        self.memory[address.value][: size.value] = bytes([value.value]) * size.value

    def memcpy(self, address: Any, source: Any, size: Any, direction: Any) -> None:
        assert direction.value == 1, "host to device"
        (start,) = [at for at, block in self.memory.items() if at <= address.value < at + len(block)]
        offset = address.value - start
        assert offset + size.value <= len(self.memory[start])
        self.memory[start][offset : offset + size.value] = ctypes.string_at(source, size.value)

    def memory_info(self, free: Any, total: Any) -> None:
        put(free, self.total_bytes // 2)
        put(total, self.total_bytes)

    def record(self, event: Any, stream: Any) -> None:
        assert stream.value in self.streams
        assert event.value in self.events
        self.events[event.value] = self.now_ms

    def synchronize(self, stream: Any) -> None:
        assert stream.value in self.streams

    def elapsed(self, reference: Any, start: Any, stop: Any) -> None:
        put(reference, self.events[stop.value] - self.events[start.value])

    def launch(self, ms: float, *, stream: int, addresses: list[int], sizes: list[int]) -> bool:
        """Run a kernel that uses buffers of these sizes."""
        assert stream in self.streams
        assert [len(self.memory[address]) for address in addresses] == sizes
        if self.capturing is not None:
            self.capturing.append(ms)
            return True
        self.now_ms += max(ms, self.enqueue_ms)
        self.launched += 1
        return True

    def begin_capture(self, stream: Any, mode: Any) -> None:
        assert stream.value in self.streams
        assert mode.value in (0, 1, 2)
        self.capturing = []

    def end_capture(self, stream: Any, reference: Any) -> None:
        assert stream.value in self.streams
        assert self.capturing is not None
        handle = self.new_handle()
        self.graphs[handle] = self.capturing
        self.capturing = None
        put(reference, handle)

    def lose_capture(self, stream: Any, reference: Any) -> int:
        """Ends a capture without a graph, as where something that cannot be captured came between."""
        self.capturing = None
        put(reference, 0)
        return 35

    def instantiate(self, reference: Any, graph: Any, *nothing: Any) -> None:
        assert not any(one.value for one in nothing)
        handle = self.new_handle()
        self.graphs[handle] = self.graphs[graph.value]
        put(reference, handle)

    def launch_graph(self, graph: Any, stream: Any) -> None:
        assert stream.value in self.streams
        self.now_ms += sum(self.graphs[graph.value])
        self.launched += 1


def put(reference: Any, value: float) -> None:
    """Write through what `ctypes.byref` made."""
    reference._obj.value = value


def with_status(function: Callable[..., int | None], status: int) -> Callable[..., int]:
    return lambda *arguments: status or function(*arguments) or 0
