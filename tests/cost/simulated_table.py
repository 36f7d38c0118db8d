"""Latency tables whose numbers a test chooses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.cost.latency_table import Entry, LatencyTable, ProtocolInfo, RuntimeInfo
from nas.devices.runtime_name import RuntimeName
from nas.devices.this_machine import DeviceInfo
from nas.ops.spec import OpSpec


def table_of(
    costs: Mapping[OpSpec, float], *, device: str = "board", backend: str = "torch-eager", version: str = "1.0", **changes: Any
) -> LatencyTable:
    """A table of one device and runtime with these medians in ms, all of them stable."""
    runtime = RuntimeInfo.of(RuntimeName(backend=backend), version=version)
    entries = {spec.key: Entry(ms, ms, ms, 10, stable=True) for spec, ms in costs.items()}
    protocol = changes.pop("protocol", None) or ProtocolInfo(
        warmup=1, rounds=10, max_rounds=30, ci=0.02, calls="one", statistic="median", reference="none", threads=1
    )
    return LatencyTable(
        device=DeviceInfo(name=device),
        runtime=runtime,
        protocol=protocol,
        measured_at="2026-01-01T00:00:00+00:00",
        entries=entries,
        **changes,
    )
