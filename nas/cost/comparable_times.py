"""What the times of a table are read from, and whether those of several tables may be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from nas.cost.latency_table import LatencyTable
from nas.cost.table_parts import ProtocolInfo, RuntimeInfo
from nas.worker.interface import CUDA_EVENTS, GPU_TIME, WALL


@dataclass(frozen=True, slots=True)
class SampleKind:
    """Kind of the samples that a table's entries are the medians of.

    Args:
        clock: What they are read from, a key of `CLOCKS`; None: not known.
        statistic: What makes one out of its calls: `mean` or `median`; None: not known.
        cuda_graphs: Whether calls are launched as CUDA graphs; None: nothing is launched on a GPU, or not known.
    """

    clock: str | None
    statistic: str | None
    cuda_graphs: bool | None

    @classmethod
    def of(cls, runtime: RuntimeInfo, protocol: ProtocolInfo) -> SampleKind:
        """That of a protocol; for tables of versions that did not state their clock, what that was."""
        found = re.search(r"a sample is the (mean|median) of its calls", protocol.statistic)
        statistic = None if found is None else found.group(1)
        return cls(protocol.clock or _former_clock(runtime, statistic), statistic, protocol.cuda_graphs)

    def differences(self, other: SampleKind) -> list[str]:
        """In words, in what both are known and differ: this kind first."""
        return [
            f"{name} {_word(one)} against {_word(two)}"
            for name, one, two in (
                ("clock", self.clock, other.clock),
                ("statistic", self.statistic, other.statistic),
                ("CUDA graphs", self.cuda_graphs, other.cuda_graphs),
            )
            if one is not None and two is not None and one != two
        ]


def times_in_words(table: LatencyTable) -> str:
    """What the times of a table are, e.g. `mean of calls by wall`, `mean of calls by gpu-time, CUDA graphs but for 3 of 80`."""
    if table.origin is not None:
        return table.protocol.statistic if table.origin.kind == "published" else table.origin.kind
    kind = SampleKind.of(table.runtime, table.protocol)
    former = f"{WALL} ({CUDA_EVENTS} on a GPU)" if table.runtime.backend.startswith("torch-") else "a clock not stated"
    words = f"{'' if kind.statistic is None else f'{kind.statistic} of '}calls by {kind.clock or former}"
    graphs = graphs_in_words(table)
    return words if graphs is None else f"{words}, {graphs}"


def graphs_in_words(table: LatencyTable) -> str | None:
    """Whether its calls were CUDA graphs; None where nothing is known of that."""
    if table.protocol.cuda_graphs is None:
        return None
    without = sum(entry.cuda_graph is False for entry in table.entries.values())
    if not table.protocol.cuda_graphs or (without and without == len(table.entries)):
        return "no CUDA graphs"
    return f"CUDA graphs but for {without} of {len(table.entries)}" if without else "CUDA graphs"


def not_comparable(tables: Iterable[object]) -> str | None:
    """A line that says why times of tables must not be compared with each other; None where nothing speaks against it."""
    measured = [table for table in tables if isinstance(table, LatencyTable) and table.origin is None]
    for number, one in enumerate(measured):
        for two in measured[number + 1 :]:
            found = SampleKind.of(one.runtime, one.protocol).differences(SampleKind.of(two.runtime, two.protocol))
            if found:
                return (
                    f"{one.identifier} and {two.identifier} hold times of two kinds ({', '.join(found)}): each is right for its "
                    "own target, but a difference between the two is not that of the devices alone"
                )
    return None


def _former_clock(runtime: RuntimeInfo, statistic: str | None) -> str | None:
    """The clock of a table that does not state it: PyTorch was timed by two, and tables do not say on what it ran."""
    if runtime.backend in ("onnxruntime", "onnxruntime-tensorrt"):
        return WALL
    if runtime.backend == "tensorrt":
        return {"median": GPU_TIME, "mean": CUDA_EVENTS}.get(statistic or "")
    return None


def _word(value: object) -> str:
    return ("used" if value else "not used") if isinstance(value, bool) else str(value)
