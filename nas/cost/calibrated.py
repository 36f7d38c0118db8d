"""The costs of a table as its calibration corrects them, for the networks that the calibration holds for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nas.cost.calibration import Calibration
from nas.cost.latency_table import LatencyTable
from nas.cost.lookup import CostTable
from nas.ops import is_free, macs
from nas.ops.spec import OpSpec
from nas.space.deployment import Deployment


@dataclass(frozen=True, slots=True)
class CalibratedTable:
    """A latency table seen through one of its calibrations.

    Args:
        table: What operations were measured to cost.
        calibration: What networks make of that.
    """

    table: LatencyTable
    calibration: Calibration

    @property
    def unit(self) -> str:
        """The unit of `cost`."""
        return self.table.unit

    @property
    def identifier(self) -> str:
        """Name of the table."""
        return self.table.identifier

    @property
    def overhead(self) -> float:
        """Cost of a network beside its operations, in ms."""
        return self.calibration.overhead_ms

    @property
    def bar(self) -> float:
        """As far from the prediction as the calibration's share of networks was."""
        return self.calibration.bar

    def cost(self, spec: OpSpec) -> float:
        """Latency of an operation inside a network in ms; 0 for one that executes nothing.

        Raises:
            TableError: If the operation was not measured.
        """
        if is_free(spec):
            return 0.0
        scale = self.calibration.compute_scale if multiplies(spec) else self.calibration.memory_scale
        return scale * self.table.cost(spec) + self.calibration.gap_ms

    def missing(self, specs: Iterable[OpSpec]) -> list[OpSpec]:
        """The distinct operations among `specs` that cost something and were not measured, sorted."""
        return self.table.missing(specs)

    def require(self, specs: Iterable[OpSpec], *, command: str) -> None:
        """Refuse to go on without all of `specs`; raises `TableError`."""
        self.table.require(specs, command=command)


def multiplies(spec: OpSpec) -> bool:
    """Whether an operation has multiply-accumulates, or only moves data."""
    return macs(spec) > 0


def calibrated(table: CostTable, *, space: str, deployment: Deployment) -> CostTable:
    """The table through the calibration that holds for these networks; as it is where there is none.

    Args:
        table: A table of any kind.
        space: Name of the space.
        deployment: What they are deployed for.
    """
    if not isinstance(table, LatencyTable):
        return table
    found = table.calibration(space, deployment)
    return table if found is None else CalibratedTable(table, found)
