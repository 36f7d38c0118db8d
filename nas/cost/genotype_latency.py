"""Latency of a genotype at its deployed shape, from a table."""

from __future__ import annotations

from nas.cost import CostTable
from nas.cost.calibrated import calibrated
from nas.cost.prediction import Latency, predict_on
from nas.cost.profile_command import profile_command
from nas.space.design import Design


def predict(design: Design, table: CostTable, *, given: str | None = None) -> Latency:
    """Latency of a genotype at its deployed shape.

    Args:
        design: The architecture.
        table: What operations cost; with an analytic table the sums are in its unit.
        given: The table as the user named it, for a message.

    Raises:
        TableError: With everything that the table lacks and the command that measures it.
        GenotypeError: If the genotype does not fit its space.
    """
    table.require(design.graph.specs(), command=profile_command(design.space.config, table, design.deployment, given=given))
    return predict_on(design.graph, costs_of(design, table))


def costs_of(design: Design, table: CostTable) -> CostTable:
    """The table through the calibration that holds for the genotype's networks; as it is where there is none."""
    return calibrated(table, space=design.genotype.space, deployment=design.deployment)
