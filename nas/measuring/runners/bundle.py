"""A measurement as files: the worker, its job, and the operations."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.cost.latency_table import read_table
from nas.cost.lookup import WORK_FOLDER
from nas.cost.table_parts import parse_key
from nas.devices.runtimes import WORKER_RUNTIMES, hardware_note
from nas.errors import ConfigError
from nas.files.atomic import write_bytes_atomic
from nas.measuring.network_rounds import SERIES, series_key
from nas.measuring.operation_graphs import SAME_DAY, OperationFile, network_file, operation_file
from nas.measuring.reference_operation import choose_reference
from nas.measuring.runners.request import Request
from nas.measuring.runners.runner import SizedNetwork, Timeable
from nas.measuring.runners.worker_file import worker_source
from nas.measuring.table_filling import check_writable
from nas.ops import is_free
from nas.ops.spec import OpSpec
from nas.worker.graph_archive import ARCHIVE_DEFECTS, GRAPHS_FILE
from nas.worker.job import JOB_FILE, JOB_VERSION, MAX_JOB_BYTES, job_id
from nas.worker.plain_json import open_regular

WORKER_FILE, README_FILE = "worker.py", "README.txt"

README = """\
This folder measures how long operations of neural networks take on this device ({runtime}).

    python3 -I worker.py

It needs Python 3.6 or newer and {needs}; nothing is installed, nothing leaves the folder.
It can be stopped and started again at any time. At its end there is result.json: carry that back, and run there

    {command}
"""
IMPORT = "nas profile import file=result.json"
"""What reads the result of operations."""
NEEDS = {
    "onnxruntime": "onnxruntime",
    "onnxruntime-tensorrt": "onnxruntime with its TensorRT provider",
    "tensorrt": "TensorRT (the program trtexec or the Python package)",
    "torch-script": "PyTorch",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleResult:
    """A bundle that was written.

    Args:
        path: The zip.
        size: Its bytes.
        operations: Number of operations in it.
        held: Number of those wanted that the table of the device holds already.
        note: What the user must know of the runtime; None: nothing.
    """

    path: Path
    size: int
    operations: int
    held: int
    note: str | None

    def summary(self) -> list[str]:
        """Lines for the terminal: what was written and what to do with it."""
        held = f", {self.held} are in its table already" if self.held else ""
        return [
            f"{self.path}: {self.operations} operations to measure{held}, {self.size / 1e6:.1f} MB",
            *([] if self.note is None else [self.note]),
            "copy it to the device, unpack it in an empty folder and run there: python3 -I worker.py",
            f"next: carry its result.json back and run: {IMPORT}",
        ]


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
            content = {"sha256": hashlib.sha256(file.content).hexdigest(), "size": len(file.content)}
            listed += [{"key": key, "graph": name, **content, **shapes} for key in keys]
    job = _job(listed, request, planned=planned, reference=[one["key"] for one in listed].index(reference))
    return {
        WORKER_FILE: worker_source().encode(),
        JOB_FILE: f"{json.dumps(job, indent=1)}\n".encode(),
        GRAPHS_FILE: stream.getvalue(),
    }


def network_files(
    networks: Sequence[Timeable], reference: OpSpec, request: Request, *, key: Callable[[int, int], str] = series_key
) -> dict[str, bytes]:
    """The files of a measurement of whole networks, each in every series, by name.

    Args:
        networks: The networks.
        reference: The reference operation.
        request: How.
        key: Key of a network of a series, by the numbers of both.
    """
    script, batch = WORKER_RUNTIMES[request.runtime.backend].script, request.runtime.batch

    def items() -> Iterator[tuple[Sequence[str], OperationFile]]:
        for number, one in enumerate(networks):
            keys = [key(number, series) for series in range(SERIES)]
            if isinstance(one, SizedNetwork):
                yield keys, network_file(one.make(), size=one.size, batch=batch, script=script)
            else:
                yield keys, one.make()
        yield (reference.key,), operation_file(reference, batch=batch, script=script)

    return measurement_files(items(), request, planned=SERIES * len(networks), reference=reference.key)


def bundle_archive(files: Mapping[str, bytes], request: Request, *, command: str = IMPORT) -> bytes:
    """One zip with the files of a measurement and a word on how to use them.

    Args:
        files: The files by name.
        request: How is measured.
        command: What reads the result.
    """
    text = README.format(runtime=request.runtime, needs=NEEDS[request.runtime.backend], command=command)
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
    return {"id": job_id(job), **job}


def write_bundle(specs: Sequence[OpSpec], request: Request, *, out: str | None) -> BundleResult:
    """Write the zip; what the table of a named device holds already is left out, and its reference operation stays the same.

    Args:
        specs: The operations; repetitions and free ones are left out.
        request: How to measure.
        out: The file; None: segnas-RUNTIME.zip.

    Raises:
        UserError: If the file cannot be used, or nothing is left to measure.
    """
    note = hardware_note(request.runtime.backend, request.accelerator)
    path = Path(out or f"segnas-{request.runtime}.zip")
    if path.suffix != ".zip":
        raise ConfigError(f"out: got {path}, expected a .zip file with runner=bundle")
    check_writable(path)
    plan = sorted({spec for spec in specs if not is_free(spec)})
    wanted, reference = len(plan), None
    table_path = WORK_FOLDER / str(request.device) / f"{request.runtime}.json"
    if request.device is not None and table_path.is_file():
        table = read_table(table_path)
        plan = table.missing(plan)
        if not plan:
            raise ConfigError(f"{table_path}: holds all {wanted} operations already, so there is nothing to measure")
        if table.reference is None:
            raise ConfigError(
                f"{table_path}: the table names no reference operation, so nothing can be added at its level; give another device="
            )
        reference = parse_key(table.reference.key)
    _log.info("making the graphs of %d operations", len(plan))
    files = bundle_files(plan, reference or choose_reference(plan), request)
    if path.exists() and _job_in(path) != files[JOB_FILE]:
        raise ConfigError(f"out: {path} is there already with another measurement; delete it, or give another out=")
    archive = bundle_archive(files, request)
    write_bytes_atomic(path, archive)
    return BundleResult(path=path, size=len(archive), operations=len(plan), held=wanted - len(plan), note=note)


def _job_in(path: Path) -> bytes | None:
    """The measurement that a bundle is for; None for any other file. No more of it is unpacked than a job can have."""
    try:
        with open_regular(str(path)) as file, zipfile.ZipFile(file) as archive:
            if archive.getinfo(JOB_FILE).compress_type != zipfile.ZIP_DEFLATED:  # others unpack whole chunks of any size
                return None
            with archive.open(JOB_FILE) as packed:
                return packed.read(MAX_JOB_BYTES)
    except (OSError, *ARCHIVE_DEFECTS):
        return None
