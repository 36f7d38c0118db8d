"""The journal of a run that fills a table: the worker's, under the conditions of the table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from nas.cost.comparable_times import SampleKind
from nas.cost.latency_table import LatencyTable
from nas.cost.table_parts import ProtocolInfo, RuntimeInfo, parse_device, parse_key, parse_protocol, parse_runtime, protocol_json
from nas.devices.this_machine import DeviceInfo
from nas.errors import ConfigError, TableError
from nas.files.shortening import shorten
from nas.files.strict_json import as_object
from nas.worker.drift import Timing
from nas.worker.interface import WorkerError
from nas.worker.timing_journal import JOURNAL_VERSION, CheckTiming, Journal, OtherConditionsError


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions that two measurements must share to stand in one table."""

    device: DeviceInfo
    runtime: RuntimeInfo
    protocol: ProtocolInfo

    @classmethod
    def of(cls, table: LatencyTable) -> Conditions:
        """The conditions under which a table was measured."""
        return cls(table.device, table.runtime, table.protocol)

    def differences(self, now: Conditions) -> str:
        """In words, where these (those of a file) differ from the conditions now; empty if nowhere.

        The implementation, the clock and CUDA graphs differ only where both state them: tables and journals of versions before did
        not. The clock that those used counts as stated where it is known.
        """
        stated, found = self.as_json(), now.as_json()
        for conditions, part in ((self, stated["protocol"]), (now, found["protocol"])):
            clock = SampleKind.of(conditions.runtime, conditions.protocol).clock
            part.update({} if clock is None else {"clock": clock})
        return ", ".join(
            f"{part}.{name} is {shorten(value)} there and {shorten(found[part][name])} now"
            for part in stated
            for name, value in stated[part].items()
            if name in found[part] and value != found[part][name]
        )

    def as_json(self) -> dict[str, dict[str, Any]]:
        """As plain data for a file."""
        return {"device": asdict(self.device), "runtime": asdict(self.runtime), "protocol": protocol_json(self.protocol)}


class TableJournal(Journal):
    """The timings of a run that is not finished, beside its table.

    Args:
        path: The file; written to from the first timing on.
        conditions: The conditions now.

    Raises:
        TableError: If the file is of other conditions or malformed.
    """

    def __init__(self, path: Path, conditions: Conditions) -> None:
        self.path = path
        try:
            super().__init__(
                str(path), conditions.as_json(), check=_check_of(conditions), goes_on_from=partial(_goes_on_from, conditions)
            )
        except WorkerError as error:
            raise TableError(str(error)) from error

    def __enter__(self) -> TableJournal:
        """Nothing to do: the file is opened when there is something to write."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close the file."""
        self.close()

    def write(self, timing: Timing) -> None:
        """Append a timing to the file."""
        try:
            super().write(timing)
        except WorkerError as error:
            raise ConfigError(str(error)) from error

    def delete(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def _goes_on_from(now: Conditions, found: object) -> bool:
    """Whether a journal that states these conditions is gone on from: always, or an error is raised."""
    fields = as_object(found, "header", ("format_version", "device", "runtime", "protocol"))
    if fields["format_version"] != JOURNAL_VERSION:
        raise ValueError(f"format_version: got {shorten(fields['format_version'])}, expected {JOURNAL_VERSION}")
    there = Conditions(parse_device(fields["device"]), parse_runtime(fields["runtime"]), parse_protocol(fields["protocol"]))
    if differences := there.differences(now):
        raise OtherConditionsError(f"journal of a stopped run under other conditions: {differences}")
    return True


def _check_of(conditions: Conditions) -> CheckTiming:
    def check(timing: Timing) -> None:
        parse_key(timing.key)
        if timing.round_index >= conditions.protocol.max_rounds:
            raise ValueError(f"got {timing.ms} ms in round {timing.round_index} of {conditions.protocol.max_rounds}")

    return check
