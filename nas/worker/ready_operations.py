"""Operations that are ready to be timed, within the memory of a small board."""

import os
from typing import Callable, Dict, Sequence, Set

from nas.worker.interface import Operation, Run, Runtime
from nas.worker.job import Graphs

KEPT_SHARE, KEPT_BYTES = 0.25, 1_000_000_000
"""Operations are kept ready up to this share of the memory that is free at the start, and up to this size."""


class ReadyOperations:
    """Operations made ready, kept up to a size in memory and made again beyond it.

    Args:
        runtime: What executes them.
        graphs: Where their graphs are.
        operations: The operations.
        keep_bytes: Most memory for those that are kept, reckoned as twice their graphs and their maps.
        on_ready: Called with the number of operations that were made ready so far, and of all.
    """

    def __init__(
        self,
        runtime: Runtime,
        graphs: Graphs,
        operations: Sequence[Operation],
        *,
        keep_bytes: float,
        on_ready: Callable[[int, int], None],
    ) -> None:
        self._runtime = runtime
        self._graphs = graphs
        self._operations = {operation.key: operation for operation in operations}
        self._free = keep_bytes
        self._kept: Dict[str, Run] = {}
        self._seen: Set[str] = set()
        self._on_ready = on_ready

    def prepare(self, key: str) -> Run:
        """Make an operation ready, or take the one that is kept."""
        if key in self._kept:
            return self._kept[key]
        unpacked = self._graphs.unpack(self._operations[key])
        try:
            size = 2 * os.path.getsize(unpacked.path) + 4 * sum(map(_elements, (*[s for _, s in unpacked.inputs], unpacked.output)))
            run = self._runtime.open(unpacked)
        finally:
            self._graphs.remove(unpacked)
        if size <= self._free:
            self._free -= size
            self._kept[key] = run
        if key not in self._seen:
            self._seen.add(key)
            self._on_ready(len(self._seen), len(self._operations))
        return run


def memory_to_keep() -> float:
    """Bytes for operations that are kept ready."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            available = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        available = KEPT_BYTES  # not Linux as we know it
    return min(KEPT_SHARE * available, KEPT_BYTES)


def _elements(shape: Sequence[int]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product
