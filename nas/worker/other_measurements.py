"""What lies in a worker's folder from before: measurements of other jobs, which are not lost, and files of killed workers."""

import contextlib
import os
import re

from nas.worker.graph_archive import UNPACKED
from nas.worker.interface import WorkerError
from nas.worker.job_notes import NOTES_FILE
from nas.worker.plain_json import MAX_LINE_BYTES, open_regular, read_bounded, value_of
from nas.worker.result import MAX_RESULT_BYTES, RESULT_FILE
from nas.worker.timing_journal import JOURNAL_FILE

_TEMPORARY = re.compile(
    "|".join(
        [
            re.escape(RESULT_FILE) + r"\.part",
            re.escape(NOTES_FILE) + r"\.part",
            re.escape(UNPACKED) + r"\.(onnx|pt)",
            r"[0-9a-f]{64}\.engine\.(part|partial)",
            r"[0-9a-f]{16}\.timing-cache\.part",
        ]
    )
)
"""Names of files that a worker deletes before it ends, unless it is killed."""


def remove_temporary_files(folder: str) -> None:
    """Delete what killed workers have left behind; only who holds the folder's lock may call it."""
    for name in os.listdir(folder):
        if _TEMPORARY.fullmatch(name):
            with contextlib.suppress(OSError):  # what cannot be deleted, as a folder of that name, is told by who writes there
                os.remove(os.path.join(folder, name))


def refuse_other_measurements(folder: str, job_id: str) -> None:
    """Refuse a folder in which timings or a result of another job would be replaced.

    Raises:
        WorkerError: If there are any.
    """
    for name, job in ((JOURNAL_FILE, _job_of_journal(folder)), (RESULT_FILE, _job_of_result(folder))):
        if job not in (None, job_id):
            raise WorkerError(
                f"{os.path.join(folder, name)}: is of another job than the one in this folder; unpack each bundle in an empty "
                "folder, or delete the file if it is not needed any more"
            )


def _job_of_journal(folder: str) -> object:
    """The job that a journal is of; None for none."""
    with contextlib.suppress(OSError, ValueError):
        with open_regular(os.path.join(folder, JOURNAL_FILE)) as file:
            header = value_of(file.readline(MAX_LINE_BYTES))
        return header.get("job") if isinstance(header, dict) else None
    return None


def _job_of_result(folder: str) -> object:
    """The job that a result is of; None for none."""
    with contextlib.suppress(OSError, ValueError):
        fields = value_of(read_bounded(os.path.join(folder, RESULT_FILE), limit=MAX_RESULT_BYTES), limit=MAX_RESULT_BYTES)
        job = fields.get("job") if isinstance(fields, dict) else None
        return job.get("id") if isinstance(job, dict) else None
    return None
