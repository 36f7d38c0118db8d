"""From the value of `latency.table` to costs: look a table up by name or path, count MACs, or charge nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nas import ops
from nas.cost.latency_table import LatencyTable, read_table
from nas.devices.runtime_name import RuntimeName
from nas.devices.runtimes import IN_PROCESS, WORKER_RUNTIMES
from nas.devices.this_machine import local_names
from nas.devices.user_folders import user_folder
from nas.errors import ConfigError, TableError
from nas.files.command_words import setting
from nas.files.value_text import value_text
from nas.ops.spec import OpSpec

_log = logging.getLogger("nas")

WORK_FOLDER = Path("latency_tables")
"""Folder to which `nas profile` writes, below the working folder."""


class CostTable(Protocol):
    """Whatever can say what an operation costs."""

    @property
    def unit(self) -> str:
        """The unit of `cost`."""

    @property
    def identifier(self) -> str:
        """A name for the provenance of a genotype."""

    @property
    def overhead(self) -> float:
        """Cost of a network beside its operations."""

    @property
    def bar(self) -> float | None:
        """Half the width of the error bar of a network's cost, relative to it; None: not known."""

    def cost(self, spec: OpSpec) -> float:
        """The cost of an operation; raises `TableError` if it is not known."""

    def missing(self, specs: Iterable[OpSpec]) -> list[OpSpec]:
        """The distinct operations among `specs` whose cost is not known."""

    def require(self, specs: Iterable[OpSpec], *, command: str) -> None:
        """Raise `TableError` with the missing ones and the command that measures them."""


def in_words(cost: float, table: CostTable) -> str:
    """The cost of a network with its unit and, where it is known, its error bar."""
    return f"{cost:.3f} {table.unit}" + ("" if table.bar is None else f" +- {table.bar:.1%}")


class MacsTable:
    """Multiply-accumulates in place of milliseconds; knows every operation."""

    @property
    def unit(self) -> str:
        """The unit of `cost`."""
        return "MMACs"

    @property
    def identifier(self) -> str:
        """The name in `latency.table=macs`."""
        return "macs"

    @property
    def overhead(self) -> float:
        """Nothing."""
        return 0.0

    @property
    def bar(self) -> None:
        """Counts have none."""
        return None

    def cost(self, spec: OpSpec) -> float:
        """Millions of multiply-accumulates for one image."""
        return 0.0 if ops.is_free(spec) else ops.macs(spec) / 1e6

    def missing(self, specs: Iterable[OpSpec]) -> list[OpSpec]:
        """Nothing."""
        del specs
        return []

    def require(self, specs: Iterable[OpSpec], *, command: str) -> None:
        """Never refuse."""


def resolve_tables(names: str | Sequence[str]) -> tuple[CostTable, ...]:
    """The costs that `latency.table` names: one table or several; none for `none`.

    Raises:
        TableError: If there is no such table, or it is malformed.
        ConfigError: If a list has `none` or the same table twice.
    """
    if isinstance(names, str):
        table = resolve_table(names)
        return () if table is None else (table,)
    if "none" in names:
        raise ConfigError(f"latency.table: got {value_text(list(names))}, expected tables alone; leave none out of the list")
    tables = [table for name in names if (table := resolve_table(name)) is not None]
    identifiers = [table.identifier for table in tables]
    if len(set(identifiers)) < len(identifiers):
        raise ConfigError(
            f"latency.table: got {value_text(list(names))}, which are {', '.join(identifiers)}; expected different tables"
        )
    return tuple(tables)


def resolve_table(name: str) -> CostTable | None:
    """The costs that `latency.table` names.

    Args:
        name: `none`, `macs`, DEVICE/RUNTIME or a path.

    Returns:
        None for `none`.

    Raises:
        TableError: If there is no such table or it is malformed.
        ConfigError: If the runtime is no name of one, or several tables are given.
    """
    if not isinstance(name, str):
        raise ConfigError(f"latency.table: got the list {list(name)}, expected one table here; name one of them")
    if name == "none":
        return None
    return MacsTable() if name == "macs" else load_table(name)


def load_table(name_or_path: str | Path) -> LatencyTable:
    """A latency table: the file of that path, or else the first of that name in `table_folders()`.

    Args:
        name_or_path: A path, or DEVICE/RUNTIME; DEVICE `auto` is this machine, and RUNTIME may be a backend alone.

    Raises:
        TableError: If there is none, if `auto` can mean two, or if it is malformed or another device's or runtime's.
        ConfigError: If the runtime is no name of one.
    """
    path = find_table(str(name_or_path))
    return read_table(path) if path == Path(name_or_path) else read_named(path)


def read_named(path: Path) -> LatencyTable:
    """The table in a file DEVICE/RUNTIME.json; raises `TableError` if it is malformed or another device's or runtime's."""
    table = read_table(path)
    if table.identifier != f"{path.parent.name}/{path.stem}":
        raise TableError(
            f"{path}: got a table for {table.identifier}, expected one for {path.parent.name}/{path.stem} as the "
            "name of the file says; rename it, or give its path"
        )
    return table


def find_table(name: str) -> Path:
    """The file that `load_table` reads; raises as it does."""
    if Path(name).is_file():
        return Path(name)
    device, _, runtime = name.partition("/")
    if name.endswith(".json") or not device.strip(".") or not runtime or "/" in runtime:
        raise TableError(
            f"latency.table: got {name!r}, and there is no such file; expected a file, DEVICE/RUNTIME "
            f"(e.g. auto/torch-eager), macs or none; {_known()}"
        )
    full = str(
        RuntimeName.from_full(runtime) or RuntimeName.parse(runtime, backends=dict.fromkeys((*IN_PROCESS, *WORKER_RUNTIMES)))
    )
    devices = local_names() if device == "auto" else [device]
    found = {local: path for local in devices if (path := _first_in_folders(local, full)) is not None}
    if len(found) > 1:
        raise TableError(f"latency.table: got {name!r}, which can mean {' or '.join(found)} here; name one of them")
    if not found:
        raise TableError(
            f"latency.table: there is no table {' or '.join(f'{d}/{full}' for d in devices)}; measure it with "
            f"nas profile device={device} runtime={full}, or use another; {_known()}"
        )
    path = next(iter(found.values()))
    tell_hidden(path)
    return path


def tell_hidden(path: Path) -> None:
    """Log what the file of a table hides: a warning if that knows more than it does."""
    for hidden in hidden_by(path):
        _log.log(logging.WARNING if hidden.knows_more else logging.INFO, "%s", hidden)


@dataclass(frozen=True, slots=True)
class HiddenTable:
    """A table that its name does not reach, because another file of the same name is looked up first.

    Args:
        path: Its file.
        by: The file that is found.
        words: What the two hold.
        knows_more: Whether it has operations or calibrations that the other one lacks, or they cannot be compared.
    """

    path: Path
    by: Path
    words: tuple[str, str]
    knows_more: bool

    def __str__(self) -> str:
        """One line: both files, what is in them, and how to reach the hidden one."""
        return (
            f"{self.by} ({self.words[0]}) hides {self.path} ({self.words[1]}), which is looked up after it; "
            f"{setting('latency.table', self.path)} names that one"
        )


def hidden_by(path: Path) -> list[HiddenTable]:
    """The tables that the file of a table hides; none where it does not lie in one of `table_folders()`."""
    folders = table_folders()
    own = next((rank for rank, folder in enumerate(folders) if path.absolute().parent.parent == folder.absolute()), len(folders))
    others = [folder / path.parent.name / path.name for folder in folders[own + 1 :]]
    return [_compared(path, other) for other in others if other.is_file() and not other.samefile(path)]


def _compared(path: Path, hidden: Path) -> HiddenTable:
    found, other = _table_of(path), _table_of(hidden)
    more = found is None or other is None
    if found is not None and other is not None:
        calibrated = {one.key for one in other.calibrations} - {one.key for one in found.calibrations}
        more = bool(calibrated or other.entries.keys() - found.entries.keys())
    return HiddenTable(hidden, path, (_held(found), _held(other)), more)


def _table_of(path: Path) -> LatencyTable | None:
    try:
        return read_table(path)
    except TableError:
        return None


def _held(table: LatencyTable | None) -> str:
    """Contents of a table in words; None: one that cannot be read."""
    if table is None:
        return "cannot be read"
    scopes = ", ".join(f"{one.space} at {one.input[0]}x{one.input[1]}" for one in table.calibrations)
    return f"{len(table.entries)} operations, {f'calibrated for {scopes}' if scopes else 'not calibrated'}"


def table_folders() -> list[Path]:
    """Folders in which tables are looked up, in this order: the working folder, the user's data folder if any, those shipped."""
    from nas.files.shipped import tables_dir

    data = user_folder("XDG_DATA_HOME", ".local", "share")
    return [WORK_FOLDER, *([] if data is None else [data / "segnas" / "latency_tables"]), tables_dir()]


def known_tables() -> dict[str, Path]:
    """DEVICE/RUNTIME -> file of every table that a name can reach, sorted by name."""
    files = [path for folder in reversed(table_folders()) for path in folder.glob("*/*.json")]
    return dict(sorted({f"{path.parent.name}/{path.stem}": path for path in files}.items()))


def _first_in_folders(device: str, runtime: str) -> Path | None:
    paths = (folder / device / f"{runtime}.json" for folder in table_folders())
    return next((path for path in paths if path.is_file()), None)


def _known() -> str:
    return f"tables at hand: {', '.join(known_tables()) or 'none'}"
