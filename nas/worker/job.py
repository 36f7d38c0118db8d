"""The job of the worker: `job.json` and the archive of graphs beside it."""

import json
import lzma
import os
import struct
import zipfile
import zlib
from typing import Any, Dict, List, NamedTuple

from nas.worker.interface import Operation, Setup, WorkerError
from nas.worker.rounds import Rounds

JOB_VERSION = 1
"""The version of job and result that this code reads and writes."""
JOB_FILE, GRAPHS_FILE = "job.json", "graphs.zip"


_BROKEN_ARCHIVE = (
    OSError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
)
"""What the standard library raises for archives that are torn, encrypted, or packed in a way that it does not know."""


class Job(NamedTuple):
    """A measurement.

    Fields:
        raw: `job.json` as it was read; goes into the result.
        job_id: Identifies the job.
        backend: The first part of the runtime's name.
        setup: What the runtime should run with.
        rounds: How long to measure.
        program_rounds: The same where each sample starts a program.
        reference: Number of the reference operation.
        energy: Whether to measure energy, too.
        operations: The operations; their `path` is the name in the archive.
        planned: How many of them are to be measured; the reference operation may follow those.
    """

    raw: Dict[str, Any]
    job_id: str
    backend: str
    setup: Setup
    rounds: Rounds
    program_rounds: Rounds
    reference: int
    energy: bool
    operations: List[Operation]
    planned: int


def read_job(folder: str) -> Job:
    """The job in a folder; raises `WorkerError` where there is none or it is not whole."""
    path = os.path.join(folder, JOB_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            raw = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise WorkerError(f"{path}: got no job ({error}); unpack the whole bundle and run the worker in its folder") from error
    if not isinstance(raw, dict) or raw.get("format_version") != JOB_VERSION:
        raise WorkerError(f"{path}: got a job of another version; use the worker of the same bundle")
    try:
        runtime, effort = raw["runtime"], raw["protocol"]
        operations = [
            Operation(
                one["key"],
                one["graph"],
                [(name, tuple(shape)) for name, shape in one["inputs"]],
                tuple(one["output"]),
                one["output_type"],
            )
            for one in raw["operations"]
        ]
        rounds, program_rounds = (Rounds(effort[kind][0], effort[kind][1], effort["ci"]) for kind in ("rounds", "program_rounds"))
        job = Job(
            raw=raw,
            job_id=raw["id"],
            backend=runtime["backend"],
            setup=Setup(runtime["precision"], runtime["threads"], raw["accelerator"], folder),
            rounds=rounds,
            program_rounds=program_rounds,
            reference=raw["reference"],
            energy=raw["energy"],
            operations=operations,
            planned=raw["planned"],
        )
        _check_types(job)
        return job
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise WorkerError(f"{path}: got a job without {error}; make the bundle again") from error


def _check_types(job: Job) -> None:
    """Refuse, with `ValueError`, fields that are not of the type that the rest relies on."""
    operations, shapes = job.operations, [one.output for one in job.operations]
    texts = [job.job_id, job.backend, job.setup.precision, job.setup.accelerator]
    for one in operations:
        texts += [one.key, one.path, one.output_type, *[name for name, _ in one.inputs]]
        shapes += [shape for _, shape in one.inputs]
    counts = [job.setup.threads, job.planned, *[side for shape in shapes for side in shape]]
    for rounds in (job.rounds, job.program_rounds):
        counts += [rounds.fewest, rounds.most]
        if not isinstance(rounds.ci, float):
            raise ValueError("a share ci")
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("texts where they are expected")
    if not all(isinstance(count, int) and count > 0 for count in counts):
        raise ValueError("whole numbers above 0 where they are expected")
    if not (isinstance(job.reference, int) and 0 <= job.reference < len(operations) <= job.planned + 1 <= len(operations) + 1):
        raise ValueError("numbers of operations that fit its list")
    if len({one.key for one in operations}) < len(operations) or not isinstance(job.energy, bool):
        raise ValueError("each operation once, and energy true or false")


class Graphs:
    """The archive of graphs, unpacked one at a time: all of them may be larger than the disk.

    Args:
        folder: Where the archive lies.

    Raises:
        WorkerError: If it is not there or broken.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = os.path.join(folder, GRAPHS_FILE)
        try:
            self._archive = zipfile.ZipFile(self._path)
        except _BROKEN_ARCHIVE as error:
            raise WorkerError(f"{self._path}: got no archive of graphs ({error}); unpack the whole bundle") from error

    def unpack(self, operation: Operation) -> Operation:
        """The operation with the path of its graph, in a file that `remove` deletes."""
        content = self._content(operation)
        path = os.path.join(self._folder, "graph" + os.path.splitext(operation.path)[1])
        try:
            with open(path, "wb") as file:
                file.write(content)
        except OSError as error:
            raise WorkerError(f"{path}: cannot be written ({error.strerror}); make room in {self._folder}") from error
        return operation._replace(path=path)

    def _content(self, operation: Operation) -> bytes:
        try:
            return self._archive.read(operation.path)
        except KeyError as error:
            raise WorkerError(f"{self._path}: {operation.path} is missing; make the bundle again") from error
        except _BROKEN_ARCHIVE as error:
            raise WorkerError(f"{self._path}: {operation.path} is broken; copy the bundle again") from error

    def remove(self, operation: Operation) -> None:
        """Delete the file of an unpacked operation."""
        if os.path.exists(operation.path):
            os.remove(operation.path)
