"""Interfaces of the worker's parts: an operation as a file, a runtime, and the one kind of error that a user sees."""

from abc import ABC, abstractmethod
from typing import AbstractSet, Callable, Dict, List, NamedTuple, Optional, Tuple

Run = Callable[[int], float]
"""Executes an operation the given number of times; returns the mean of one call in ms."""


WALL = "wall"
"""Clock of a sample: the host's, around all of its calls."""
CUDA_EVENTS = "cuda-events"
"""Clock of a sample: two CUDA events, one before the first and one after the last of its calls."""
GPU_TIME = "gpu-time"
"""Clock of a sample: two CUDA events around each of its calls, so that what lies between two calls is not in it."""


class WorkerError(Exception):
    """Something that the user can correct; the message is one line: what was got, what was expected, what to do."""


class Operation(NamedTuple):
    """An operation that travelled to the device as a graph of fixed shapes.

    Fields:
        key: Its key in the latency table.
        path: The file of its graph: `.onnx`, or `.pt` (TorchScript).
        inputs: Name and shape of each input of the graph, all float32.
        output: Shape of the output.
        output_type: Its element type: `float32` or `int64`.
    """

    key: str
    path: str
    inputs: List[Tuple[str, Tuple[int, ...]]]
    output: Tuple[int, ...]
    output_type: str


class Setup(NamedTuple):
    """Settings of a runtime.

    Fields:
        precision: `fp32`, `fp16` or `int8`.
        threads: CPU threads inside one operation.
        accelerator: `cpu` or `cuda`.
        folder: A folder that lasts, for engines and caches.
    """

    precision: str
    threads: int
    accelerator: str
    folder: str


class Runtime(ABC):
    """Executes operations: one subclass a runtime. Its constructor takes a `Setup`.

    Raises (all of it):
        WorkerError: Where the runtime is not installed, cannot run with the setup, or refuses an operation.
    """

    version = ""
    """The version of what runs; tables of different versions are not mixed."""
    details: Dict[str, str] = {}
    """Further facts for the record, text to text: versions of CUDA and cuDNN, where a program lies, settings that matter."""
    clock = WALL
    """What a sample, which is the mean of its calls, is read from: `WALL`, `CUDA_EVENTS` or `GPU_TIME`."""
    graphs: Optional[bool] = None
    """Whether each call is to be launched as one CUDA graph; False: kernel by kernel; None: nothing is launched on a GPU."""
    without_graph: AbstractSet[str] = frozenset()
    """Keys of the operations of which a call was launched kernel by kernel although `graphs` is True."""
    is_program = False
    """Whether each sample starts a program of its own, so that the number of calls is the runtime's own affair."""

    @abstractmethod
    def open(self, operation: Operation) -> Run:
        """Make an operation ready; what it costs to open the same one again is not timed."""
