"""Small latency tables for tests, and how a file that is none is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.cost import (
    Entry,
    LatencyTable,
    ProtocolInfo,
    Reference,
    RuntimeInfo,
    load_table,
)
from nas.cost.calibration import Calibration, Quality
from nas.devices.runtime_name import RuntimeName
from nas.devices.this_machine import DeviceInfo
from nas.errors import TableError
from nas.ops import OpSpec

RUNTIME = RuntimeName(backend="torch-eager")
NAME = "torch-eager-fp32-b1-t1"


def conv(channels: int, *, kind: str = "relu_conv_bn") -> OpSpec:
    return OpSpec(kind=kind, in_channels=channels, height=6, width=8, out_channels=channels, out_height=6, out_width=8, kernel=3)


def table(*channels: int, device: str = "box") -> LatencyTable:
    return LatencyTable(
        device=DeviceInfo(name=device, power_mode="performance", clocks="400-3600 MHz"),
        runtime=RuntimeInfo.of(RUNTIME, version="2.13.0"),
        protocol=ProtocolInfo(warmup=1, rounds=10, calls="one", statistic="median", threads=1),
        measured_at="2026-01-02T03:04:05+00:00",
        entries={conv(c).key: Entry(0.5 * c, 0.4 * c, 0.7 * c, 10, stable=c != 16) for c in channels},
        reference=Reference(conv(5).key, 2.5),
        clocks_before="2000 MHz",
        calibrations=(calibration("lgcnet"), calibration("cas", channels=16)),
    )


def calibration(space: str, *, channels: int = 40, **changes: Any) -> Calibration:
    quality = Quality(bias=-0.01, mape=0.03, rmse_ms=1.5, within_5=0.8, within_10=1.0, spearman=0.97, kendall=0.9, inside_bar=0.92)
    fields: dict[str, Any] = {
        "space": space,
        "input": (360, 480),
        "init_channels": channels,
        "overhead_ms": 0.5,
        "gap_ms": 0.01,
        "compute_scale": 1.02,
        "memory_scale": 0.9,
        "bar": 0.08,
        "coverage": 0.9,
        "fitted": 25,
        "judged": 25,
        "held_out": quality,
        "noise_floor": 0.02,
        "measured_at": "2026-01-03T03:04:05+00:00",
    }
    return Calibration(**{**fields, **changes})


def refused(path: Path) -> str:
    with pytest.raises(TableError) as caught:
        load_table(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message
