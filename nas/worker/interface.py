"""Interfaces of the worker's parts: an operation as a file, a runtime, and the one kind of error that a user sees."""

from abc import ABC, abstractmethod
from typing import Callable, Dict, List, NamedTuple, Tuple

Run = Callable[[int], float]
"""Executes an operation the given number of times; returns the mean of one call in ms."""


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
    is_program = False
    """Whether each sample starts a program of its own, so that the number of calls is the runtime's own affair."""

    @abstractmethod
    def open(self, operation: Operation) -> Run:
        """Make an operation ready; what it costs to open the same one again is not timed."""
