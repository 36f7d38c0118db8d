"""Operations that are ready to be timed, within a size in memory."""

import os
from typing import Callable, Dict, Generic, Sequence, Set, Tuple, TypeVar

from nas.worker.graph_archive import Graphs
from nas.worker.interface import Operation, Run, Runtime

KEEP_SHARE, KEEP_BYTES = 0.25, 1_000_000_000
"""Operations stay ready up to this share of the memory that is free at the start, and up to this size."""

Value = TypeVar("Value")
MakeReady = Callable[[str], Tuple[Run, int]]
"""Makes the operation of a key ready; returns what executes it, and the bytes that it takes."""
OnReady = Callable[[int, int], None]
"""Called with the number of operations that were made ready so far, and of all."""


class Kept(Generic[Value]):
    """What takes long to make: made once while it fits into a size in memory, and each time again beyond it.

    Args:
        make: Makes what belongs to a key, and counts the bytes that it takes.
        keep_bytes: Most memory for what is kept.
    """

    def __init__(self, make: Callable[[str], Tuple[Value, int]], *, keep_bytes: float) -> None:
        self._make = make
        self._free_bytes = keep_bytes
        self._kept: Dict[str, Value] = {}

    def take(self, key: str) -> Value:
        """Make what belongs to a key, or take what is kept."""
        if key in self._kept:
            return self._kept[key]
        value, num_bytes = self._make(key)
        if num_bytes <= self._free_bytes:
            self._free_bytes -= num_bytes
            self._kept[key] = value
        return value


def ready_from_graphs(runtime: Runtime, graphs: Graphs, operations: Sequence[Operation], on_ready: OnReady) -> MakeReady:
    """Maker of a job's ready operations, whose size is reckoned as twice their graphs and their maps.

    Args:
        runtime: What executes them.
        graphs: Where their graphs are.
        operations: The operations.
        on_ready: See `OnReady`; called for each operation once.
    """
    by_key = {operation.key: operation for operation in operations}
    seen: Set[str] = set()

    def make(key: str) -> Tuple[Run, int]:
        unpacked = graphs.unpack(by_key[key])
        try:
            num_bytes = 2 * os.path.getsize(unpacked.path) + bytes_of_maps(unpacked)
            run = runtime.open(unpacked)
        finally:
            graphs.remove(unpacked)
        if key not in seen:
            seen.add(key)
            on_ready(len(seen), len(by_key))
        return run, num_bytes

    return make


def memory_to_keep() -> float:
    """Bytes for operations that stay ready."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            available = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        available = KEEP_BYTES  # not Linux as we know it
    return min(KEEP_SHARE * available, KEEP_BYTES)


def bytes_of_maps(operation: Operation) -> int:
    """Bytes of the inputs and the output, four an element."""
    return 4 * sum(_elements(shape) for shape in [*(shape for _, shape in operation.inputs), operation.output])


def _elements(shape: Sequence[int]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product
