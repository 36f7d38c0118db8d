"""Calibration of a latency table: what whole networks were measured to take against the sum of their operations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from nas.files.strict_json import as_count, as_number, as_object, as_share, as_size, as_text

_FIELDS = (
    "space",
    "input",
    "init_channels",
    "overhead_ms",
    "gap_ms",
    "compute_scale",
    "memory_scale",
    "bar",
    "coverage",
    "fitted",
    "judged",
    "held_out",
    "noise_floor",
    "measured_at",
)
_QUALITY_FIELDS = ("bias", "mape", "rmse_ms", "within_5", "within_10", "spearman", "kendall", "inside_bar")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Agreement of predictions with measurements, over networks; errors are (predicted - measured) / measured.

    Args:
        bias: Mean error.
        mape: Mean absolute error.
        rmse_ms: Root mean square of predicted - measured in ms.
        within_5: Share of networks whose error is at most 5 %.
        within_10: Share of networks whose error is at most 10 %.
        spearman: Rank correlation.
        kendall: Kendall's tau-b.
        inside_bar: Share of networks that lie inside the error bar; None without a bar.
    """

    bias: float
    mape: float
    rmse_ms: float
    within_5: float
    within_10: float
    spearman: float
    kendall: float
    inside_bar: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no comparison can give."""
        if min(self.mape, self.rmse_ms) < 0 or max(abs(self.spearman), abs(self.kendall)) > 1:
            raise ValueError(f"got {self}, expected errors from 0 and correlations from -1 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Latency of a network = overhead + sum over its operations of (scale * table + gap), within +- bar of it.

    It holds for the space and the shape whose networks it was fitted on. `compute_scale` is for operations that multiply,
    `memory_scale` for those that only move data: additions, concatenations, resizing, pooling, argmax.

    Args:
        space: Name of the space.
        input: (height, width) of the deployed network's input in pixels.
        init_channels: Initial channels of the deployed network.
        overhead_ms: What every network costs beside its operations, in ms.
        gap_ms: What every operation costs beside its time in the table, in ms.
        compute_scale: Factor of operations with multiply-accumulates.
        memory_scale: Factor of those without.
        bar: Half-width of the error bar as a share of the prediction.
        coverage: Share of networks that the bar is made to hold.
        fitted: Networks that the numbers above were fitted on.
        judged: Other networks, on which `held_out` was measured.
        held_out: How well it predicts them.
        noise_floor: Mean absolute difference of two measurements of the same network, as a share.
        measured_at: When: ISO 8601 with the offset from UTC.
    """

    space: str
    input: tuple[int, int]
    init_channels: int
    overhead_ms: float
    gap_ms: float
    compute_scale: float
    memory_scale: float
    bar: float
    coverage: float
    fitted: int
    judged: int
    held_out: Quality
    noise_floor: float
    measured_at: str

    def __post_init__(self) -> None:
        """Refuse what no fit can give."""
        values = (self.overhead_ms, self.gap_ms, self.compute_scale, self.memory_scale, self.bar, self.noise_floor)
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise ValueError(f"got overhead, gap, scales, bar, floor = {values}, expected finite numbers from 0")
        if self.held_out.inside_bar is None:
            raise ValueError("held_out.inside_bar: got None, expected the share inside the bar")
        if datetime.fromisoformat(self.measured_at).tzinfo is None:
            raise ValueError(f"measured_at: got {self.measured_at!r}, expected a time with its offset from UTC")

    @property
    def key(self) -> tuple[str, tuple[int, int], int]:
        """Its scope: space, input, initial channels."""
        return self.space, self.input, self.init_channels


def calibration_json(calibration: Calibration) -> dict[str, Any]:
    """As plain data for a table's file."""
    return {**asdict(calibration), "input": list(calibration.input)}


def parse_calibration(value: object, where: str) -> Calibration:
    """The calibration that a file states; raises `ValueError`."""
    fields = as_object(value, where, _FIELDS)

    def number(name: str) -> float:
        return as_number(fields[name], f"{where}.{name}")

    return Calibration(
        space=as_text(fields["space"], f"{where}.space"),
        input=as_size(fields["input"], f"{where}.input"),
        init_channels=as_count(fields["init_channels"], f"{where}.init_channels", minimum=1),
        overhead_ms=number("overhead_ms"),
        gap_ms=number("gap_ms"),
        compute_scale=number("compute_scale"),
        memory_scale=number("memory_scale"),
        bar=number("bar"),
        coverage=as_share(fields["coverage"], f"{where}.coverage"),
        fitted=as_count(fields["fitted"], f"{where}.fitted", minimum=1),
        judged=as_count(fields["judged"], f"{where}.judged", minimum=1),
        held_out=_parse_quality(fields["held_out"], f"{where}.held_out"),
        noise_floor=number("noise_floor"),
        measured_at=as_text(fields["measured_at"], f"{where}.measured_at"),
    )


def _parse_quality(value: object, where: str) -> Quality:
    fields: Mapping[str, object] = as_object(value, where, _QUALITY_FIELDS)
    shares = {name: as_share(fields[name], f"{where}.{name}") for name in ("within_5", "within_10", "inside_bar")}
    numbers = {name: as_number(fields[name], f"{where}.{name}") for name in _QUALITY_FIELDS if name not in shares}
    return Quality(**numbers, **shares)
