"""The predicted latency of a network that is evaluated: looked up in a table, or as its genotype states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nas.config.jobs import EvalJob
from nas.cost import resolve_table
from nas.cost.frame_rate import UNIT, cost_in_words, frame_rate_on
from nas.cost.genotype_latency import predict
from nas.cost.prediction import Latency
from nas.space.design import Design

if TYPE_CHECKING:
    from nas.network.segmenter import Segmenter


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedLatency:
    """What one image costs by a table.

    Args:
        latency: The prediction, in `unit`.
        unit: That of the table.
        table: Name of the table.
        known_from: `latency.table`, or `provenance` of the genotype.
    """

    latency: Latency
    unit: str
    table: str
    known_from: str

    def __str__(self) -> str:
        """In words, e.g. `12.500 ms, 80 FPS on some-board/tensorrt-fp16-b1-t1, predicted`."""
        return f"{cost_in_words(self.latency, self.unit, self.table)}, predicted"

    def as_json(self) -> dict[str, Any]:
        """The object `latency` of `eval.json`."""
        rate = frame_rate_on(self.latency, self.unit, self.table)
        return {
            "predicted": self.latency.ms,
            "low": self.latency.low_ms,
            "high": self.latency.high_ms,
            "unit": self.unit,
            "table": self.table,
            "known_from": self.known_from,
            **({} if rate is None else rate.as_json()),
        }


def stated_latency(design: Design, table_name: str, *, size: tuple[int, int], num_classes: int) -> StatedLatency | None:
    """The latency of a network at the size and with the classes that it is evaluated with.

    Args:
        design: The architecture.
        table_name: As in `latency.table`; none: what the genotype states counts, if it is of this size, and in ms.
        size: (height, width) of the images in pixels.
        num_classes: Number of classes.

    Returns:
        None where neither a table nor the genotype says it.

    Raises:
        TableError: If there is no such table, or it lacks an operation.
    """
    table = resolve_table(table_name)
    deployment = replace(design.deployment, input=size, num_classes=num_classes)
    if table is not None:
        latency = predict(design.deployed(deployment), table, given=table_name)
        return StatedLatency(latency=latency, unit=table.unit, table=table.identifier, known_from="latency.table")
    stated = design.genotype.provenance
    ms, name = stated.get("expected_latency"), stated.get("table")
    known = type(ms) in (int, float) and isinstance(name, str) and stated.get("cost_unit") == UNIT
    if not known or deployment != design.deployment:
        return None
    return StatedLatency(latency=Latency(float(ms), None, None, {}), unit=UNIT, table=str(name), known_from="provenance")  # type: ignore[arg-type]


def latency_of(job: EvalJob, segmenter: Segmenter, size: tuple[int, int]) -> StatedLatency | None:
    """The latency of what a job evaluates at a size (height, width); None for an ONNX file, whose operations no table holds."""
    if segmenter.design is None:
        return None
    return stated_latency(segmenter.design, job.latency.table, size=size, num_classes=segmenter.num_classes)


def latency_of_report(found: Mapping[str, Any]) -> StatedLatency:
    """The latency that the object `latency` of an `eval.json` states, which has been checked."""
    latency = Latency(found["predicted"], found.get("low"), found.get("high"), {})
    return StatedLatency(latency=latency, unit=found["unit"], table=found["table"], known_from=found["known_from"])
