"""A measurement as files: the worker, its job, and the operations."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.devices.runtime_name import RuntimeName
from nas.devices.runtimes import WORKER_RUNTIMES
from nas.measuring.effort import Effort
from nas.measuring.operation_graphs import SAME_DAY, OperationFile, operation_file
from nas.measuring.runners.worker_file import worker_source
from nas.ops.spec import OpSpec
from nas.worker.job import GRAPHS_FILE, JOB_FILE, JOB_VERSION

WORKER_FILE, README_FILE = "worker.py", "README.txt"

README = """\
This folder measures how long operations of neural networks take on this device ({runtime}).

    python3 -I worker.py

It needs Python 3.6 or newer and {needs}; nothing is installed, nothing leaves the folder.
It can be stopped and started again at any time. At its end there is result.json: carry that back, and run there

    nas profile import file=result.json
"""
NEEDS = {
    "onnxruntime": "onnxruntime",
    "onnxruntime-tensorrt": "onnxruntime with its TensorRT provider",
    "tensorrt": "TensorRT (the program trtexec or the Python package)",
    "torch-script": "PyTorch",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Request for a measurement.

    Args:
        runtime: What runs the operations.
        accelerator: `cpu` or `cuda`.
        effort: How long to measure.
        program_effort: The same where each sample starts a program.
        energy: Whether to measure energy, too.
        device: Name of the device; None: what the worker finds there.
    """

    runtime: RuntimeName
    accelerator: str
    effort: Effort
    program_effort: Effort
    energy: bool = False
    device: str | None = None

    @property
    def question(self) -> str:
        """The request of `--identify`."""
        runtime = self.runtime
        fields = {"backend": runtime.backend, "precision": runtime.precision, "threads": runtime.threads}
        return json.dumps({**fields, "accelerator": self.accelerator})


def bundle_files(
    plan: Sequence[OpSpec], reference: OpSpec, request: Request, *, on_graph: Callable[[int, int], None] | None = None
) -> dict[str, bytes]:
    """The files of a measurement, by name: worker, job, archive of graphs.

    Args:
        plan: The operations to measure.
        reference: The reference operation.
        request: How.
        on_graph: Called after each operation with the number of those that are done, and of all.
    """
    operations = list(plan) if reference in plan else [*plan, reference]
    script, batch = WORKER_RUNTIMES[request.runtime.backend].script, request.runtime.batch

    def items() -> Iterator[tuple[Sequence[str], OperationFile]]:
        for number, spec in enumerate(operations):
            yield (spec.key,), operation_file(spec, batch=batch, script=script)
            if on_graph is not None:
                on_graph(number + 1, len(operations))

    return measurement_files(items(), request, planned=len(plan), reference=reference.key)


def measurement_files(
    items: Iterable[tuple[Sequence[str], OperationFile]], request: Request, *, planned: int, reference: str
) -> dict[str, bytes]:
    """The files of a measurement of anything that has a graph.

    Args:
        items: Keys and file; what has several keys is measured under each of them by itself.
        request: How.
        planned: How many keys are to be measured; the reference may follow those.
        reference: Key of the reference operation.
    """
    listed: list[dict[str, Any]] = []
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (keys, file) in enumerate(items):
            name = f"{number:04d}{file.suffix}"
            archive.writestr(zipfile.ZipInfo(name, SAME_DAY), file.content, zipfile.ZIP_DEFLATED)
            shapes = {"inputs": file.inputs, "output": file.output, "output_type": file.output_type}
            listed += [{"key": key, "graph": name, **shapes} for key in keys]
    job = _job(listed, request, planned=planned, reference=[one["key"] for one in listed].index(reference))
    return {
        WORKER_FILE: worker_source().encode(),
        JOB_FILE: f"{json.dumps(job, indent=1)}\n".encode(),
        GRAPHS_FILE: stream.getvalue(),
    }


def bundle_archive(files: Mapping[str, bytes], request: Request) -> bytes:
    """One zip with the files of a measurement and a word on how to use them."""
    text = README.format(runtime=request.runtime, needs=NEEDS[request.runtime.backend])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in {README_FILE: text.encode(), **files}.items():
            kind = zipfile.ZIP_STORED if name == GRAPHS_FILE else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, SAME_DAY), content, kind)
    return stream.getvalue()


def _job(operations: Sequence[Mapping[str, Any]], request: Request, *, planned: int, reference: int) -> dict[str, Any]:
    runtime, effort, program = request.runtime, request.effort, request.program_effort
    job: dict[str, Any] = {
        "format_version": JOB_VERSION,
        "device": request.device,
        "runtime": {
            "backend": runtime.backend,
            "precision": runtime.precision,
            "batch": runtime.batch,
            "threads": runtime.threads,
        },
        "accelerator": request.accelerator,
        "protocol": {
            "rounds": [effort.rounds, effort.max_rounds],
            "program_rounds": [program.rounds, program.max_rounds],
            "ci": effort.ci,
        },
        "energy": request.energy,
        "reference": reference,
        "planned": planned,
        "operations": list(operations),
    }
    return {"id": hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest(), **job}
