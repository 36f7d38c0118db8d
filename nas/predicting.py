"""Latency of a derived network from a table: the sum over the operations that it executes."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from nas.config import PredictJob
from nas.cost import CostTable, LatencyTable, resolve_table
from nas.cost.calibrated import calibrated
from nas.errors import ConfigError
from nas.genotype import Genotype, genotype_graph, load_genotype
from nas.graph import Graph
from nas.ops import OpSpec
from nas.rundir import prepare_out
from nas.space import SpaceEntry
from nas.text_table import text_table

FILE_NAME = "predict.json"
OVERHEAD = "runtime"
"""Name of the part that is what a network costs beside its operations."""
FORMAT_VERSION = 1
"""The version of `predict.json`."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Predicted latency from image to label map.

    Args:
        ms: Predicted latency in milliseconds.
        low_ms: Lower bound; None until the table is calibrated.
        high_ms: Upper bound; None until the table is calibrated.
        by_part: Milliseconds of each part of the network.
    """

    ms: float
    low_ms: float | None
    high_ms: float | None
    by_part: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictReport:
    """What `nas predict` found.

    Args:
        genotype: The architecture.
        table: Identifier of the table.
        unit: Unit of all costs: ms, or that of an analytic table.
        latency: The prediction, in `unit`.
        operations: Number of operations executed.
        path: The file written; None: none.
    """

    genotype: Genotype
    table: str
    unit: str
    latency: Latency
    operations: int
    path: Path | None

    def summary(self) -> list[str]:
        """Lines for the terminal: the total, what is known of its error, each part."""
        deploy, total = self.genotype.deploy, self.latency.ms
        height, width = deploy.input
        rows = [[part, f"{cost:.3f}", f"{share(cost, total):.1%}"] for part, cost in self.latency.by_part.items()]
        lines = [
            f"predicted {_quantity(self.unit)} on {self.table}: {total:.3f} {self.unit}, "
            f"{self.genotype.space} at {height}x{width}, one image to its label map, {self.operations} operations",
            _bounds(self.latency, self.unit),
            *text_table(["part", self.unit, "share"], [*rows, ["total", f"{total:.3f}", f"{share(total, total):.1%}"]]),
        ]
        return lines if self.path is None else [*lines, f"wrote {self.path}"]

    def as_json(self) -> dict[str, Any]:
        """The content of `predict.json`."""
        return {
            "format_version": FORMAT_VERSION,
            "table": self.table,
            "unit": self.unit,
            "latency": self.latency.ms,
            "low": self.latency.low_ms,
            "high": self.latency.high_ms,
            "by_part": self.latency.by_part,
            "operations": self.operations,
            "space": self.genotype.space,
            "deploy": asdict(self.genotype.deploy),
        }


def predict_graph(graph: Graph, cost: Callable[[OpSpec], float]) -> Latency:
    """Sum the cost of every operation of a derived network's graph."""
    by_part: dict[str, float] = defaultdict(float)
    for part, spec in graph.operations():
        by_part[part] += cost(spec)
    return Latency(sum(by_part.values()), None, None, dict(by_part))


def predict_on(graph: Graph, table: CostTable) -> Latency:
    """What a derived network's graph costs by a table, with overhead and error bar if the table is seen calibrated."""
    latency = predict_graph(graph, table.cost)
    if table.overhead:
        by_part = {**latency.by_part, OVERHEAD: table.overhead}
        latency = Latency(sum(by_part.values()), None, None, by_part)
    if table.bar is None:
        return latency
    return replace(latency, low_ms=max(0.0, latency.ms * (1 - table.bar)), high_ms=latency.ms * (1 + table.bar))


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


def predict_job(job: PredictJob, spaces: Mapping[str, SpaceEntry]) -> PredictReport:
    """Predict as `nas predict` does, and write `predict.json` where a folder is given.

    Raises:
        UserError: If genotype, table or folder cannot be used.
    """
    genotype = load_genotype(job.genotype, spaces)
    table = resolve_table(job.latency.table)
    if table is None:
        raise ConfigError("latency.table: got none, expected a table to look the operations up in, e.g. auto/torch-eager or macs")
    graph = genotype_graph(genotype, spaces)
    latency = _predict_with(graph, genotype, table, spaces)
    path = None if job.out is None else prepare_out(job.out, "predict", None) / FILE_NAME
    report = PredictReport(
        genotype=genotype,
        table=table.identifier,
        unit=table.unit,
        latency=latency,
        operations=len(graph.operations()),
        path=path,
    )
    if path is not None:
        path.write_text(json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return report


def profile_command(genotype: Genotype, table: CostTable, spaces: Mapping[str, SpaceEntry]) -> str:
    """The command that measures, on the table's device, everything that the genotype's space can need at its shape."""
    config = spaces[genotype.space].config(**genotype.space_config)
    deploy = genotype.deploy
    return profile_words(
        config, table, size=deploy.input, init_channels=deploy.init_channels, num_classes=deploy.num_classes, space=genotype.space
    )


def profile_words(  # noqa: PLR0913
    config: Any,
    table: CostTable,
    *,
    size: tuple[int, int],
    init_channels: int,
    num_classes: int,
    space: str | None = None,
) -> str:
    """The command that measures, on the table's device, everything that a space can need at a shape.

    Args:
        config: The space's config.
        table: The table; of another kind than measured ones no device is named.
        size: (height, width) of the deployed network's input.
        init_channels: Its initial channels.
        num_classes: Its classes.
        space: Name of the space; None: that of its config.
    """
    words = ["nas", "profile"]
    if isinstance(table, LatencyTable):
        words += [f"device={table.device.name}", f"runtime={table.runtime.name}"]
    words += [
        f"space={space or config.name}",
        *_space_overrides(config),
        f"deploy.input=[{size[0]},{size[1]}]",
        f"deploy.init_channels={init_channels}",
        f"num_classes={num_classes}",
    ]
    return " ".join(words)


def share(cost: float, total: float) -> float:
    """Part of a total; 0 where the total is 0."""
    return cost / total if total else 0.0


def _predict_with(graph: Graph, genotype: Genotype, table: CostTable, spaces: Mapping[str, SpaceEntry]) -> Latency:
    table.require(graph.specs(), command=profile_command(genotype, table, spaces))
    return predict_on(graph, costs_of(genotype, table))


def costs_of(genotype: Genotype, table: CostTable) -> CostTable:
    """The table through the calibration that holds for the genotype's networks; as it is where there is none."""
    deploy = genotype.deploy
    return calibrated(table, space=genotype.space, input_size=deploy.input, init_channels=deploy.init_channels)


def _space_overrides(config: Any) -> list[str]:
    """An override for each setting of the space that is not its default, quoted for Hydra and the shell."""
    overrides = []
    for setting in fields(config):
        default = setting.default_factory() if setting.default_factory is not MISSING else setting.default
        value = getattr(config, setting.name)
        if value != default:
            overrides.append(shlex.quote(f"space.{setting.name}={json.dumps(value)}"))
    return overrides


def _quantity(unit: str) -> str:
    return "latency" if unit == "ms" else "cost"


def _bounds(latency: Latency, unit: str) -> str:
    if unit != "ms":
        return "no bounds: the costs are counted, not measured"
    if latency.low_ms is None or latency.high_ms is None:
        return "bounds: not known until the table is calibrated for this space and shape: nas profile validate"
    return f"bounds: {latency.low_ms:.3f} to {latency.high_ms:.3f} {unit} (+- {latency.high_ms / latency.ms - 1:.1%})"
