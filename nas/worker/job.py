"""The job of the worker: `job.json`."""

import hashlib
import json
import math
import os
import re
from typing import Any, Dict, List, Mapping, NamedTuple

from nas.worker.graph_archive import StatedGraph
from nas.worker.interface import Operation, Setup, WorkerError
from nas.worker.plain_json import cut, one_line, read_bounded, value_of
from nas.worker.rounds import Rounds

JOB_FILE = "job.json"
JOB_VERSION = 2
"""The version of a job that this code reads and writes: from 2 on a job states the hash of each graph."""
MAX_JOB_BYTES = 16 * 2**20
"""A larger file is no job: that of the largest space has 2 MB."""
MAX_GRAPH_BYTES = 2**31
"""No ONNX file is larger."""
MAX_TEXT, MAX_SIDES, MAX_SIDE, MAX_ROUNDS = 500, 8, 2**31, 10_000
"""Most characters of a text of a job, most sides of a shape, the longest side, and the most rounds."""

_GRAPH_NAME, _DIGEST = re.compile(r"[0-9]{4,9}\.(onnx|pt)"), re.compile(r"[0-9a-f]{64}")


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
        graphs: Name in the archive -> the graph that must be there.
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
    graphs: Dict[str, StatedGraph]
    planned: int


def job_id(fields: Mapping[str, Any]) -> str:
    """Identity of a job: SHA-256 of everything else in it, as plain data in one spelling."""
    rest = {name: value for name, value in fields.items() if name != "id"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode("ascii")).hexdigest()


def read_job(folder: str) -> Job:
    """The job in a folder; raises `WorkerError` where there is none or it is not whole."""
    path = os.path.join(folder, JOB_FILE)
    try:
        raw = value_of(read_bounded(path, limit=MAX_JOB_BYTES), limit=MAX_JOB_BYTES)
    except (OSError, ValueError) as error:
        raise WorkerError(
            f"{path}: got no job ({one_line(error)}); unpack the whole bundle and run the worker in its folder"
        ) from error
    if not isinstance(raw, dict) or raw.get("format_version") != JOB_VERSION:
        version = cut(raw.get("format_version") if isinstance(raw, dict) else None)
        raise WorkerError(f"{path}: got a job of version {version}, expected {JOB_VERSION}; use the worker of the same bundle")
    try:
        job = _job_of(raw, folder)
        _check_types(job)
        identity = job_id(raw)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise WorkerError(f"{path}: got a job that is not whole ({one_line(reason)}); unpack the bundle again") from error
    if job.job_id != identity:
        raise WorkerError(
            f"{path}: got a job that was changed after it was made: its content is not that of its id; unpack the bundle again, or "
            "make another one with nas profile runner=bundle"
        )
    return job


def _job_of(raw: Dict[str, Any], folder: str) -> Job:
    """The job that plain data states, whose values may be of any type yet."""
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
    graphs: Dict[str, StatedGraph] = {}
    for one in raw["operations"]:
        stated = StatedGraph(one["sha256"], one["size"])
        if graphs.setdefault(one["graph"], stated) != stated:
            raise ValueError("two hashes of one graph")
    rounds, program_rounds = (Rounds(effort[kind][0], effort[kind][1], effort["ci"]) for kind in ("rounds", "program_rounds"))
    return Job(
        raw=raw,
        job_id=raw["id"],
        backend=runtime["backend"],
        setup=Setup(runtime["precision"], runtime["threads"], raw["accelerator"], folder),
        rounds=rounds,
        program_rounds=program_rounds,
        reference=raw["reference"],
        energy=raw["energy"],
        operations=operations,
        graphs=graphs,
        planned=raw["planned"],
    )


def _check_types(job: Job) -> None:
    """Refuse, with `ValueError`, fields that are not of the type that the rest relies on."""
    operations, shapes = job.operations, [one.output for one in job.operations]
    texts = [job.job_id, job.backend, job.setup.precision, job.setup.accelerator]
    for one in operations:
        texts += [one.key, one.path, one.output_type, *[name for name, _ in one.inputs]]
        shapes += [shape for _, shape in one.inputs]
    sides = [side for shape in shapes for side in shape]
    counts = [job.setup.threads, job.planned, *sides]
    for rounds in (job.rounds, job.program_rounds):
        counts += [rounds.fewest, rounds.most]
        if not isinstance(rounds.ci, float) or not 0 <= rounds.ci < math.inf:
            raise ValueError("ci: expected a share")
    if not all(isinstance(text, str) and len(text) <= MAX_TEXT and text.isprintable() for text in texts):
        raise ValueError(f"expected texts of at most {MAX_TEXT} printable characters where texts stand")
    if not all(type(count) is int and count > 0 for count in counts):
        raise ValueError("expected whole numbers above 0 where numbers stand")
    if any(len(shape) > MAX_SIDES for shape in shapes) or any(side > MAX_SIDE for side in sides):
        raise ValueError(f"expected shapes of at most {MAX_SIDES} sides, each at most {MAX_SIDE}")
    if any(not rounds.fewest <= rounds.most <= MAX_ROUNDS for rounds in (job.rounds, job.program_rounds)):
        raise ValueError(f"rounds: expected [fewest, most] of at most {MAX_ROUNDS}")
    fits = type(job.reference) is int and 0 <= job.reference < len(operations) <= job.planned + 1 <= len(operations) + 1
    if not fits:
        raise ValueError("expected numbers of operations that fit their list")
    if len({one.key for one in operations}) < len(operations) or not isinstance(job.energy, bool):
        raise ValueError("expected each operation once, and energy true or false")
    _check_graphs(job)


def _check_graphs(job: Job) -> None:
    """Refuse, with `ValueError`, names, hashes and sizes of graphs that are none."""
    for name, stated in job.graphs.items():
        if not _GRAPH_NAME.fullmatch(name):
            raise ValueError(f"graph: got {cut(name)}, expected a number and .onnx or .pt")
        if not isinstance(stated.sha256, str) or not _DIGEST.fullmatch(stated.sha256):
            raise ValueError(f"sha256: got {cut(stated.sha256)}, expected 64 hexadecimal digits")
        if type(stated.size) is not int or not 0 < stated.size <= MAX_GRAPH_BYTES:
            raise ValueError(f"size: got {cut(stated.size)}, expected 1 to {MAX_GRAPH_BYTES} bytes")
    if not _DIGEST.fullmatch(job.job_id):
        raise ValueError(f"id: got {cut(job.job_id)}, expected 64 hexadecimal digits")
