"""Energy of a derived network for one image from a table: the sum over the operations that it executes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nas.cost.calibrated import CalibratedTable
from nas.cost.latency_table import LatencyTable
from nas.cost.lookup import CostTable
from nas.ops import is_free
from nas.space.graph import Graph

UNKNOWN = "--"
"""What stands in place of an energy that a table does not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkEnergy:
    """Energy from image to label map, by a table that was measured with `energy=true`.

    Args:
        by_part: Millijoules of each part of the network for one image; None where the table lacks that of an operation.
        known: Operations executed whose energy the table holds.
        operations: Operations executed that cost anything.
        source: What the power was read from; None: not stated.
        idle_power: Mean power of the device with nothing to do, in words; None: not stated.
    """

    by_part: dict[str, float | None]
    known: int
    operations: int
    source: str | None
    idle_power: str | None

    @property
    def mj(self) -> float | None:
        """Millijoules of the whole network for one image; None where the table lacks that of an operation."""
        parts = [mj for mj in self.by_part.values() if mj is not None]
        return sum(parts) if self.known and self.known == self.operations else None

    def line(self) -> str:
        """What the energy is, and what it holds, for the terminal."""
        if self.mj is not None:
            idle = "" if self.idle_power is None else f" ({self.idle_power})"
            return (
                f"energy: {self.mj:.3f} mJ for one image, not calibrated: the sum over operations that each ran alone, idle power"
                f"{idle} included; read from: {self.source or 'not stated'}"
            )
        return (
            f"energy: {UNKNOWN}, as the table holds that of {self.known} of {self.operations} operations; measure a new table with "
            "nas profile energy=true"
        )

    def as_json(self) -> dict[str, Any] | None:
        """The object `energy` of `predict.json`; None where the table lacks that of an operation."""
        if self.mj is None:
            return None
        parts = {"mj": self.mj, "by_part": self.by_part, "operations": self.operations}
        return {**parts, "source": self.source, "idle_power": self.idle_power, "idle_included": True}


def network_energy(graph: Graph, table: CostTable) -> NetworkEnergy | None:
    """Energy of a derived network's graph for one image; a call of a table of several images is divided by their number.

    Args:
        graph: The graph; what executes nothing costs nothing.
        table: A table of any kind; a calibration holds for latencies only.

    Returns:
        None for a table that counts and does not measure.
    """
    measured = table.table if isinstance(table, CalibratedTable) else table
    if not isinstance(measured, LatencyTable):
        return None
    by_part: dict[str, float | None] = {}
    known = operations = 0
    for part, spec in graph.operations():
        so_far = by_part.setdefault(part, 0.0)
        if is_free(spec):
            continue
        operations += 1
        entry = measured.entries.get(spec.key)
        if entry is None or entry.energy_mj is None:
            by_part[part] = None
            continue
        known += 1
        by_part[part] = None if so_far is None else so_far + entry.energy_mj / measured.runtime.batch
    return NetworkEnergy(
        by_part=by_part,
        known=known,
        operations=operations,
        source=measured.system.get("power source"),
        idle_power=measured.system.get("idle power"),
    )
