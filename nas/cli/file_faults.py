"""The files and folders of a command: tried before it works, and named in one line when they fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal

from nas.cli.disk_errors import in_one_line
from nas.devices.path_settings import path_values
from nas.files.write_trial import try_file, try_folder

BY_ITSELF = ("runs", "latency_tables")
"""Folders below the working folder that a command writes to where none is named."""
Writes = Literal["folder", "named folder", "file", "nothing"]
"""What a verb writes: a folder, which it chooses itself where none is named; one if it is named; a file; or nothing."""
ALWAYS_BY_ITSELF = ("search", "train", "profile validate", "bench", "bench algorithms")
"""Verbs that choose a folder whenever none is named, whatever else they are given."""


def file_faults(given: Any) -> AbstractContextManager[None]:  # noqa: ANN401  any job, or words
    """Turn errors of the paths that a command names, or writes to by itself, into one line; see `nas.cli.disk_errors`.

    Args:
        given: The job, or the words of the command line.
    """
    named = path_values(given) if is_dataclass(given) else _values(given)
    return in_one_line([*named, *BY_ITSELF])


def try_out(job: Any, writes: Writes, verb: str = "") -> None:  # noqa: ANN401  any job
    """Try whether the result of a job can be written, before anything is built.

    Raises:
        ConfigError: If the folder is not empty.
        OSError: If it cannot be written.
    """
    if writes == "nothing" or job.out is None and (writes == "named folder" or getattr(job, "plan", False) is True):
        return
    if writes == "file" or getattr(job, "writes_file", False):
        if job.out is not None:
            try_file(Path(job.out))
        return
    from nas.runs.rundir import check_out  # loads YAML, which the list of verbs does without

    resume = getattr(job, "resume", None)
    if job.out is not None and resume in (None, "auto"):
        if resume is None:
            check_out(job.out, verb)
        try_folder(Path(job.out))
        return
    for folder in (job.out, None if resume == "auto" else resume, getattr(job, "run", None)):
        if folder is not None:
            if Path(folder).is_dir():  # what else it may be is said where it is opened
                try_folder(Path(folder))
            return
    if verb in ALWAYS_BY_ITSELF:
        try_folder(Path(BY_ITSELF[0]))


def _values(words: Sequence[str]) -> Iterator[str]:
    """What stands behind the `=` of words."""
    for word in words:
        _, equals, value = word.partition("=")
        if equals and value:
            yield value.strip("'\"")
