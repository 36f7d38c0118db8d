"""Stage `profile import`: what was measured elsewhere, by the worker or by others, becomes a latency table of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.config.measuring_jobs import ImportJob
from nas.cost.latency_table import LatencyTable, save_table
from nas.cost.lookup import WORK_FOLDER, tell_hidden
from nas.cost.published_format import PublishedTable
from nas.cost.table_lock import changing_table, remove_stale_locks
from nas.devices.this_machine import is_device_name
from nas.errors import ConfigError, TableError
from nas.space.search_space import SearchSpace, SpaceEntry

if TYPE_CHECKING:
    from nas.measuring.runners.worker_result import ImportedResult

MAX_BYTES = 64 << 20
"""Largest file that is read."""
RESULT = ".json"
"""Ending of the name of a result of the worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """Result of an import.

    Args:
        path: The table's file.
        table: The table in it.
        notes: Lines on what became of the file's entries, and what they are good for.
    """

    path: Path
    table: LatencyTable
    notes: tuple[str, ...]

    def summary(self) -> list[str]:
        """Lines for the terminal: what was written, what one has to know of it, and the next command."""
        kind = "" if self.table.origin is None else f", {self.table.origin.kind}"
        caveats = () if self.table.origin is None else self.table.origin.caveats
        return [
            f"{self.path}: {len(self.table.entries)} operations of {self.table.identifier}{kind}",
            *self.notes,
            *(f"mind: {caveat}" for caveat in caveats),
            f"next: nas profile devices device={self.table.device.name}",
        ]


def import_table(
    job: ImportJob, spaces: Mapping[str, SpaceEntry], published: Sequence[PublishedTable]
) -> ImportResult | ImportedResult:
    """Import as `nas profile import` does.

    Args:
        job: The file, the table to write, and the name of the device.
        spaces: The search spaces, by name.
        published: The formats of published tables.

    Raises:
        ConfigError: If a setting is wrong, or the table to write is there already and the file is no result of the worker.
        TableError: If the file is missing or malformed, or the table that gets the result is of other conditions.
    """
    source = _checked(Path(job.file), published)
    if job.device is not None and not is_device_name(job.device):
        raise ConfigError(
            f"device: got {job.device!r}, expected lower-case letters, digits, '.', '_' and '-', the first a letter or digit"
        )
    if source.suffix.lower() == RESULT:
        from nas.measuring.runners.worker_result import import_result

        result = import_result(source, device=job.device, out=job.out)
        remove_stale_locks(result.profile.path)
        tell_hidden(result.profile.path)
        return result
    form = next(form for form in published if source.suffix.lower() in form.suffixes)
    return _import_published(source, job, form, spaces[form.space])


def target_of(job: ImportJob, table: LatencyTable) -> Path:
    """The file to write, which is not there yet.

    Raises:
        ConfigError: If it is.
    """
    path = WORK_FOLDER / f"{table.identifier}.json" if job.out is None else Path(job.out)
    if path.is_dir():
        raise ConfigError(f"out: {path} is a folder, expected a file, e.g. out={path / 'table.json'}")
    if path.exists():
        raise ConfigError(f"out: {path} is there already and is not overwritten; delete it, or give another file with out=")
    return path


def _checked(path: Path, published: Sequence[PublishedTable]) -> Path:
    """The file to import, if there is one that can be."""
    forms = "".join(f", or {form.title} ({' or '.join(form.suffixes)})" for form in published)
    expected = f"expected result.json of the worker{forms}"
    suffixes = {suffix for form in published for suffix in form.suffixes}
    if path.is_dir():
        raise TableError(f"file: {path} is a folder, {expected}")
    if not path.is_file():
        raise TableError(f"file: {path} is not there, {expected}")
    if path.suffix.lower() not in {*suffixes, RESULT}:
        raise TableError(f"file: got {path}, {expected}")
    size = path.stat().st_size
    if not 0 < size <= MAX_BYTES:
        raise TableError(f"file: {path} has {size} bytes, expected 1 to {MAX_BYTES}")
    return path


def _import_published(source: Path, job: ImportJob, form: PublishedTable, entry: SpaceEntry) -> ImportResult:
    table, notes = form.read(source, job.device)
    path = target_of(job, table)
    try:
        with changing_table(path, "profile import"):
            save_table(table, target_of(job, table))
    except OSError as error:
        raise ConfigError(f"out: {path} cannot be written ({error.strerror}); give another out=") from error
    tell_hidden(path)
    return ImportResult(path=path, table=table, notes=(*notes, _coverage(table, form, entry.build(entry.config()))))


def _coverage(table: LatencyTable, form: PublishedTable, space: SearchSpace) -> str:
    """Number of operations of its own space that the table holds."""
    deployment = form.deployment
    plan, (height, width) = space.plan(deployment), deployment.input
    held = len(plan) - len(table.missing(plan))
    return (
        f"{form.space} at {height}x{width}, {deployment.num_classes} classes: "
        f"holds {held} of the {len(plan)} operations of its networks"
    )
