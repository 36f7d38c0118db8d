"""Lines of `nas predict`, and content of `predict.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.cost import CostTable, LatencyTable
from nas.cost.comparable_times import times_in_words
from nas.cost.energy import UNKNOWN, NetworkEnergy, network_energy
from nas.cost.frame_rate import FrameRate, frame_rate_on
from nas.cost.prediction import Latency, share
from nas.reports.text_table import text_table
from nas.space.design import Design

FORMAT_VERSION = 1
"""The version of `predict.json`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictReport:
    """Result of `nas predict`.

    Args:
        design: The architecture.
        table: The table; its unit is that of all costs.
        latency: The prediction, in that unit.
        path: The file written; None: none.
        next_words: Words of the command that times the network; empty: none does, at this number of channels.
    """

    design: Design
    table: CostTable
    latency: Latency
    path: Path | None
    next_words: tuple[str, ...] = ()

    @property
    def operations(self) -> int:
        """Number of operations executed."""
        return len(self.design.graph.operations())

    @property
    def energy(self) -> NetworkEnergy | None:
        """The energy for one image, as far as the table holds it; None for one that counts costs."""
        return network_energy(self.design.graph, self.table)

    @property
    def frame_rate(self) -> FrameRate | None:
        """Frames per second; None where the table holds no times."""
        return frame_rate_on(self.latency, self.table.unit, self.table.identifier)

    def summary(self) -> list[str]:
        """Lines for the terminal: the total, what is known of its error, the energy, each part, what to do next."""
        (height, width), total, unit, energy = self.design.deployment.input, self.latency.ms, self.table.unit, self.energy
        rate = self.frame_rate
        parts = [*self.latency.by_part.items(), ("total", total)]
        energies = None if energy is None or not energy.known else {**energy.by_part, "total": energy.mj}
        rows = [
            [part, f"{cost:.3f}", *([] if energies is None else [_in_mj(energies.get(part))]), f"{share(cost, total):.1%}"]
            for part, cost in parts
        ]
        lines = [
            f"predicted {_quantity(unit)} on {self.table.identifier}: {total:.3f} {unit}, "
            f"{'' if rate is None else f'{rate}, '}"
            f"{self.design.genotype.space} at {height}x{width}, {self.design.deployment.num_classes} classes, "
            f"one image to its label map, {self.operations} operations",
            _bounds(self.latency, unit),
            *([] if self._times is None else [f"times of the table: {self._times}"]),
            *([] if energy is None else [energy.line()]),
            *text_table(["part", unit, *([] if energies is None else ["mJ"]), "share"], rows),
        ]
        where = f", on {self.table.device.name}" if isinstance(self.table, LatencyTable) else ""
        return [
            *lines,
            *([] if self.path is None else [f"wrote {self.path}"]),
            *([f"next{where}: nas {' '.join(self.next_words)}"] if self.next_words else []),
        ]

    def as_json(self) -> dict[str, Any]:
        """The content of `predict.json`; `energy` stands there where the table is one of measurements, and is null without them."""
        energy = self.energy
        return {
            "format_version": FORMAT_VERSION,
            "table": self.table.identifier,
            "unit": self.table.unit,
            **({} if self._times is None else {"times": self._times}),
            "latency": self.latency.ms,
            "low": self.latency.low_ms,
            "high": self.latency.high_ms,
            **({} if self.frame_rate is None else self.frame_rate.as_json()),
            "by_part": self.latency.by_part,
            **({} if energy is None else {"energy": energy.as_json()}),
            "operations": self.operations,
            "space": self.design.genotype.space,
            "deploy": asdict(self.design.deployment),
        }

    @property
    def _times(self) -> str | None:
        """What the times of the table are, so that predictions of two tables are not compared unseen; None: it holds no times."""
        return times_in_words(self.table) if isinstance(self.table, LatencyTable) else None


def _in_mj(energy: float | None) -> str:
    return UNKNOWN if energy is None else f"{energy:.3f}"


def _quantity(unit: str) -> str:
    return "latency" if unit == "ms" else "cost"


def _bounds(latency: Latency, unit: str) -> str:
    if unit != "ms":
        return "no bounds: the costs are counted, not measured"
    if latency.low_ms is None or latency.high_ms is None:
        return "bounds: not known until the table is calibrated for this space and shape: nas profile validate"
    return f"bounds: {latency.low_ms:.3f} to {latency.high_ms:.3f} {unit} (+- {latency.high_ms / latency.ms - 1:.1%})"
