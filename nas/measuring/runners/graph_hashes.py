"""What was measured is what was to be measured: hashes of graphs, which a job states and the worker states again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nas.files.shortening import shorten
from nas.files.strict_json import as_count, as_list, as_object, as_text
from nas.worker.job import JOB_VERSION, job_id

JOB_FIELDS = (
    "format_version",
    "id",
    "device",
    "runtime",
    "accelerator",
    "protocol",
    "energy",
    "reference",
    "planned",
    "operations",
)
JOB_WITHOUT_HASHES = 1
"""The version of jobs that state no hashes."""
NOT_CHECKED = (
    "its bundle is of an earlier version, which states no hashes of the graphs: whether those of this bundle were measured is not "
    "checked"
)
_OPERATION_FIELDS = ("key", "graph", "inputs", "output", "output_type")
_HASH_FIELDS = ("sha256", "size")


def job_fields(value: object) -> dict[str, Any]:
    """The fields of a job that a result states; raises `ValueError` for another version, and for one changed after it was made."""
    job: dict[str, Any] = as_object(value, "job", JOB_FIELDS)
    if job["format_version"] not in (JOB_WITHOUT_HASHES, JOB_VERSION) or isinstance(job["format_version"], bool):
        raise ValueError(f"job.format_version: got {shorten(job['format_version'])}, expected {JOB_VERSION}")
    if states_hashes(job) and job["id"] != job_id(job):
        raise ValueError("job.id: the job was changed after it was made; expected the job of a bundle")
    return job


def states_hashes(job: Mapping[str, Any]) -> bool:
    """Whether a job is of a version that states the hashes of its graphs."""
    return bool(job["format_version"] != JOB_WITHOUT_HASHES)


def operation_fields(job: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The fields of an operation of a job; raises `ValueError`."""
    where = f"job.operations[{number}]"
    hashed = _HASH_FIELDS if states_hashes(job) else ()
    fields: dict[str, Any] = as_object(job["operations"][number], where, (*_OPERATION_FIELDS, *hashed))
    if hashed:
        if not re.fullmatch("[0-9a-f]{64}", as_text(fields["sha256"], f"{where}.sha256")):
            raise ValueError(f"{where}.sha256: got {shorten(fields['sha256'])}, expected 64 hexadecimal digits")
        as_count(fields["size"], f"{where}.size", minimum=1)
    return fields


def check_graphs(job: Mapping[str, Any], measured: object) -> None:
    """Refuse timings of other graphs than those of the job.

    Args:
        job: The job.
        measured: SHA-256 of the graph of each operation, as the worker states what it measured; None: it states nothing.

    Raises:
        ValueError: If one is another than the job states, or not stated.
    """
    if not states_hashes(job):
        if measured is not None:
            raise ValueError(f"graphs: got {shorten(measured)}, expected none with a job that states none")
        return
    operations, found = as_list(job["operations"], "job.operations"), as_list(measured, "graphs")
    if len(found) != len(operations):
        raise ValueError(f"graphs: got {len(found)} hashes of {len(operations)} operations")
    for number, there in enumerate(found):
        stated: dict[str, Any] = job["operations"][number]
        if there != stated["sha256"]:
            raise ValueError(
                f"graphs[{number}]: another graph was measured than the job states for {shorten(stated['key'], limit=120)} "
                f"(SHA-256 {shorten(there, limit=20)}, expected {shorten(stated['sha256'], limit=20)}); unpack the "
                "bundle again in an empty folder and measure there"
            )
