"""Latency of a genotype at its deployed shape, from a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nas.cost import CostTable
from nas.cost.calibrated import calibrated
from nas.cost.prediction import Latency, predict_on
from nas.cost.profile_command import profile_command
from nas.space.genotype import Genotype, genotype_graph
from nas.space.graph import Graph

if TYPE_CHECKING:
    from nas.space.space_entry import SpaceEntry


def predict(genotype: Genotype, table: CostTable, spaces: Mapping[str, SpaceEntry]) -> Latency:
    """Latency of a genotype at its deployed shape.

    Args:
        genotype: The architecture.
        table: What operations cost; with an analytic table the sums are in its unit.
        spaces: The search spaces by name.

    Raises:
        TableError: With everything that the table lacks and the command that measures it.
        GenotypeError: If the genotype does not fit its space.
    """
    return _predict_with(genotype_graph(genotype, spaces), genotype, table, spaces)


def _predict_with(graph: Graph, genotype: Genotype, table: CostTable, spaces: Mapping[str, SpaceEntry]) -> Latency:
    table.require(graph.specs(), command=profile_command(genotype, table, spaces))
    return predict_on(graph, costs_of(genotype, table))


def costs_of(genotype: Genotype, table: CostTable) -> CostTable:
    """The table through the calibration that holds for the genotype's networks; as it is where there is none."""
    return calibrated(table, space=genotype.space, deployment=genotype.deploy)
