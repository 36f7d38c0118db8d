"""The runtimes that a table can be of, and where they are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

RUNNERS = ("local", "ssh", "bundle")
"""On this machine; on one that is reached over SSH; in a folder that is carried by hand."""


@dataclass(frozen=True, slots=True)
class WorkerRuntime:
    """A runtime that the worker can measure with.

    Args:
        precisions: What it can compute in.
        accelerators: Where it runs, the usual one first.
        script: Whether its operations are TorchScript; else ONNX.
    """

    precisions: tuple[str, ...] = ("fp32",)
    accelerators: tuple[str, ...] = ("cpu", "cuda")
    script: bool = False


WORKER_RUNTIMES: Mapping[str, WorkerRuntime] = {
    "onnxruntime": WorkerRuntime(),
    "onnxruntime-tensorrt": WorkerRuntime(precisions=("fp32", "fp16"), accelerators=("cuda",)),
    "tensorrt": WorkerRuntime(precisions=("fp32", "fp16", "int8"), accelerators=("cuda",)),
    "torch-script": WorkerRuntime(script=True),
}
"""The key is the first part of a runtime's name; those of the worker's own `RUNTIMES`."""


def runs_onnx(backend: str) -> bool:
    """Whether a runtime runs ONNX files."""
    return backend in WORKER_RUNTIMES and not WORKER_RUNTIMES[backend].script


IN_PROCESS = ("torch-eager", "torch-compile", "onnxruntime")
"""First parts of the names of the runtimes that are measured in the process of the command."""

NOT_YET_RUN = (
    "not yet run on hardware: {what} was only tested against recorded outputs and programs that imitate it; compare one network "
    "with a measurement of your own before you rely on the table"
)
"""Text on a runtime that was never run on a GPU."""


def hardware_note(backend: str, accelerator: str) -> str | None:
    """Caveat of a runtime on a GPU, where none has run yet; None on a CPU."""
    return None if accelerator == "cpu" else NOT_YET_RUN.format(what=f"runtime {backend} on a GPU")
