"""From a search space, a deployed shape and tables to expected latencies and limits: the one place where tables meet graphs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from nas.config.settings import LatencySettings
from nas.cost import CostTable, in_words, resolve_tables
from nas.cost.calibrated import calibrated
from nas.cost.comparable_times import not_comparable
from nas.cost.expected import ExpectedLatency
from nas.cost.prediction import predict_on
from nas.cost.profile_command import profile_command
from nas.cost.repair import Limit, check_repairable
from nas.errors import ConfigError
from nas.files.value_text import value_text
from nas.space.capabilities import Judge
from nas.space.deployment import Deployment
from nas.space.graph import Graph
from nas.space.search_space import SearchSpace
from nas.space.weights import Weights

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeployedCosts:
    """Costs of derived networks by each table, and their limits.

    Args:
        tables: The tables, through their calibration where they have one for these networks.
        latencies: By table, the expected latency at the deployed shape.
        targets: By table, the largest latency allowed in ms; None: any.
        graph: Makes the deployed graph of a derived network from its decisions.
    """

    tables: tuple[CostTable, ...]
    latencies: tuple[nn.Module, ...]
    targets: tuple[float | None, ...]
    graph: Callable[[Mapping[str, str]], Graph]

    def limits(self) -> tuple[Limit, ...]:
        """The limits of those tables that have a target."""
        limits = []
        for latency, table, target in zip(self.latencies, self.tables, self.targets, strict=True):
            if target is not None:
                assert isinstance(latency, ExpectedLatency)  # see `check_repairable`
                limits.append(Limit(latency, target, table.identifier, table.unit))
        return tuple(limits)

    def predicted(self, choices: Mapping[str, str]) -> list[float]:
        """Predicted latency of the derived network of these decisions, by table."""
        graph = self.graph(choices) if self.tables else None
        return [] if graph is None else [predict_on(graph, table).ms for table in self.tables]

    def judge(self, scores: Mapping[str, Mapping[str, float]]) -> Judge:
        """Scores and predicted latencies for derivation; see `Judge`."""
        number = next((k for k, table in enumerate(self.tables) if table.unit == "ms"), None)
        return Judge(scores, None if number is None else lambda choices: self.predicted(choices)[number])

    def of(self, weights: Weights) -> list[float]:
        """Expected latency of weights, by table."""
        with torch.no_grad():
            found = [latency(weights).reshape(()) for latency in self.latencies]
            return list(torch.stack(found).tolist()) if found else []

    def facts(self, predicted: Sequence[float] | None = None) -> dict[str, Any]:
        """Provenance: table, unit and target; with `predicted` the expected latency of the derived network, too."""
        facts: dict[str, Any] = {}
        for k, (table, target) in enumerate(zip(self.tables, self.targets, strict=True)):
            facts |= {named("table", k): table.identifier, named("cost_unit", k): table.unit}
            if predicted is not None:
                facts[named("expected_latency", k)] = predicted[k]
            if target is not None:
                facts[named("target_latency", k)] = target
        return facts or {"table": None, "cost_unit": None}

    def lines(self, predicted: Sequence[float], *, at: str = "") -> tuple[str, ...]:
        """For people: by table, what a derived network costs there; which table, if there are several; the target."""
        lines = []
        for table, target, cost in zip(self.tables, self.targets, predicted, strict=True):
            where = f" on {table.identifier}" if len(self.tables) > 1 else ""
            lines.append(f"{in_words(cost, table)}{at}{where}{'' if target is None else f', target {target:g} {table.unit}'}")
        return tuple(lines)


def deployed_costs(
    space: SearchSpace, deployment: Deployment, *, given: str | Sequence[str], targets: Sequence[float | None]
) -> DeployedCosts:
    """Tables and expected latencies.

    Args:
        space: The search space.
        deployment: What derived networks are deployed for.
        given: The tables as the user named them.
        targets: By table, the largest latency allowed in ms; None: any.

    Raises:
        UserError: If a table cannot be used, or the space can keep no target.
    """
    if any(target is not None for target in targets):
        check_repairable(space)
    tables = resolve_tables(given)
    if (reason := not_comparable(tables)) is not None:
        _log.warning("latency.table: %s", reason)
    names = [given] if isinstance(given, str) else given
    latencies = [expected_latency(space, deployment, table, given=name) for table, name in zip(tables, names, strict=False)]
    seen = tuple(costs_at(space, deployment, table) for table in tables)
    return DeployedCosts(seen, tuple(latencies), tuple(targets)[: len(tables)], partial(space.graph, deployment))


def expected_latency(space: SearchSpace, deployment: Deployment, table: CostTable, *, given: str) -> nn.Module:
    """Expected latency at the deployed shape.

    Args:
        space: The search space.
        deployment: What derived networks are deployed for.
        table: What operations cost.
        given: The table as the user named it.

    Raises:
        TableError: If the table lacks operations; the message lists them and the command that measures them.
    """
    table.require(space.plan(deployment), command=profile_command(space.config, table, deployment, given=given))
    costs = costs_at(space, deployment, table)
    own = space.expected_latency(deployment, costs.cost, overhead=costs.overhead)
    if own is not None:
        return own
    return ExpectedLatency(space.graph(deployment), costs.cost, overhead=costs.overhead)


def costs_at(space: SearchSpace, deployment: Deployment, table: CostTable) -> CostTable:
    """The table through the calibration that holds for the space's networks; as it is where there is none."""
    return calibrated(table, space=space.config.name, deployment=deployment)


def check_units(settings: LatencySettings, tables: Sequence[CostTable]) -> None:
    """Refuse settings that the tables give no meaning.

    Raises:
        ConfigError: If a unit is not that of the tables, or there is nothing to weigh.
    """
    if not tables:
        if any(settings.weights()) and settings.unit != "relative":
            raise ConfigError(f"latency.table=none: got latency.unit={settings.unit}, expected relative; there is nothing to weigh")
        for key, value in (("target_ms", settings.target_ms), ("band_fps", settings.band_fps)):
            if value is not None:
                raise ConfigError(
                    f"latency.{key}: got {value_text(value)} with latency.table=none, expected a table in ms to predict with"
                )
    for table, target in zip(tables, settings.targets(), strict=False):
        if table.unit != "ms" and settings.unit != "relative":
            raise ConfigError(f"latency.unit: got {settings.unit}, expected relative, for {table.identifier} is in {table.unit}")
        if table.unit != "ms" and settings.band_fps is not None:
            raise ConfigError(
                f"latency.band_fps: got {value_text(settings.band_fps)}, but {table.identifier} is in {table.unit}, not in ms"
            )
        check_target_unit("latency.target_ms", table, target)


def check_target_unit(key: str, table: CostTable, target: float | None) -> None:
    """Refuse a target in milliseconds for a table in another unit.

    Raises:
        ConfigError: If so.
    """
    if target is not None and table.unit != "ms":
        raise ConfigError(
            f"{key}: got {target:g} for {table.identifier}, which is in {table.unit}, not in ms; "
            "take a measured table, or weigh this one by latency.weight"
        )


def named(key: str, table: int) -> str:
    """Name of a scalar of the table of that number: that of the first as it is, those of others with their number from 2.

    >>> named("expected_latency", 0), named("expected_latency", 1)
    ('expected_latency', 'expected_latency_2')
    """
    return key if table == 0 else f"{key}_{table + 1}"
