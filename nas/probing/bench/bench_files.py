"""The files of `nas bench`: one row a network, size and runtime, and everything that was measured."""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import torch

from nas.config.bench_networks_job import BenchNetworksJob
from nas.measuring.network_rounds import REFERENCE_EVERY, SAMPLE_MS, SERIES
from nas.measuring.processing_times import ProcessingTimes
from nas.probing.bench.network_times import BenchBlock, TimedNetwork
from nas.runs.provenance import provenance
from nas.worker.rounds import SAMPLE_MS as WORKER_SAMPLE_MS

CSV, JSON = "bench.csv", "bench.json"
FORMAT_VERSION = 1
"""The version of `bench.json`."""
COLUMNS = (
    *("network", "kind", "device", "runtime", "runtime_version", "height", "width", "batch", "classes"),
    *("ms", "statistic", "median_ms", "p10_ms", "p90_ms", "mean_ms", "samples", "fps", "parameters", "macs"),
    *("weight_bytes", "activation_bytes", "activation_bytes_before_last_resize"),
    *("miou_percent", "miou_of", "miou_is_published"),
    *("predicted_ms", "predicted_low_ms", "predicted_high_ms", "prediction_error_percent"),
    *("clocks_before", "clocks_after", "throttled", "output"),
)
"""Columns of `bench.csv`; what is not known is empty."""


def bench_csv(blocks: Sequence[BenchBlock]) -> str:
    """The rows of all blocks."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for block in blocks:
        for row in block.rows:
            writer.writerow(_csv_row(block, row))
    return text.getvalue()


def bench_json(
    blocks: Sequence[BenchBlock],
    processing: Sequence[ProcessingTimes],
    job: BenchNetworksJob,
    protocol: Mapping[str, Any],
    left_out: Sequence[str],
) -> dict[str, Any]:
    """All that was measured, as plain data.

    Args:
        blocks: What was measured.
        processing: What comes before and after a network.
        job: The settings.
        protocol: How it was measured.
        left_out: What was not, and why.
    """
    return {
        "format_version": FORMAT_VERSION,
        "measured_by": "nas bench",
        "measured_at": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": {**provenance(), "torch": str(torch.__version__), "python": platform.python_version()},
        "protocol": dict(protocol),
        "seed": job.seed,
        "blocks": [_block_json(block) for block in blocks],
        "processing": [one.as_json() for one in processing],
        "left_out": list(left_out),
    }


def rounds_protocol(rounds: int) -> dict[str, Any]:
    """What is done in interleaved rounds."""
    return {
        "name": "rounds",
        "rounds": rounds,
        "series": SERIES,
        "order": "all networks of a size in a random order, twice a round",
        "sample": f"mean of calls that take about {SAMPLE_MS:g} ms in this process, or {WORKER_SAMPLE_MS:g} ms where the worker "
        "measures, after one that is not timed; programs count their own calls",
        "statistic": "median, p10 and p90 of the samples of both series, without what drifts between the rounds",
        "reference_every": REFERENCE_EVERY,
        "timed": "a genotype from the image tensor to its label map, an ONNX file from its input to its output",
        "weights": "fresh ones of genotypes, where PReLUs or REUs are with the statistics of two images in batch norms; "
        "those of ONNX files",
    }


def _csv_row(block: BenchBlock, row: TimedNetwork) -> dict[str, Any]:
    network, prediction, error, known = row.network, row.prediction, row.prediction_error, row.accuracy
    return {
        "network": network.name,
        "kind": network.kind,
        "device": block.conditions.device.name,
        "runtime": block.runtime,
        "runtime_version": block.conditions.runtime.version,
        "height": network.size[0],
        "width": network.size[1],
        "batch": row.batch,
        "classes": network.design.deployment.num_classes if network.design is not None else None,
        **{name: _number(getattr(row, name)) for name in ("ms", "median_ms", "p10_ms", "p90_ms", "mean_ms")},
        "statistic": row.statistic,
        "samples": len(row.samples_ms),
        "fps": f"{row.fps:.3f}",
        "parameters": network.parameters,
        "macs": network.macs,
        "weight_bytes": None if network.memory is None else network.memory.weights,
        "activation_bytes": None if network.memory is None else network.memory.activations,
        "activation_bytes_before_last_resize": None if network.memory is None else network.memory.body,
        "miou_percent": None if known is None else f"{100 * known.miou:.3f}",
        "miou_of": None if known is None else known.kind,
        "miou_is_published": None if known is None else str(known.is_published).lower(),
        "predicted_ms": _number(prediction.ms),
        "predicted_low_ms": _number(prediction.low_ms),
        "predicted_high_ms": _number(prediction.high_ms),
        "prediction_error_percent": None if error is None else f"{100 * error:.2f}",
        "clocks_before": block.observed.clocks_before,
        "clocks_after": block.observed.clocks_after,
        "throttled": "; ".join(block.observed.throttled),
        "output": network.output,
    }


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _block_json(block: BenchBlock) -> dict[str, Any]:
    observed, conditions = block.observed, block.conditions
    return {
        "size": list(block.size),
        "device": asdict(conditions.device),
        "runtime": asdict(conditions.runtime),
        "clock": conditions.protocol.clock,
        "cuda_graphs": conditions.protocol.cuda_graphs,
        "implementation": conditions.protocol.implementation,
        "clocks_before": observed.clocks_before,
        "clocks_after": observed.clocks_after,
        "temperature_before": observed.temperature_before,
        "temperature_after": observed.temperature_after,
        "throttled": list(observed.throttled),
        "system": dict(observed.system),
        "reference": None if block.reference is None else {"key": block.reference, "ms": block.reference_ms},
        "table": block.table,
        "no_table": block.no_table,
        "slowdown_since_table": block.slowdown,
        "noise_floor": block.noise_floor,
        "networks": [_row_json(row) for row in block.rows],
    }


def _row_json(row: TimedNetwork) -> dict[str, Any]:
    network, prediction = row.network, row.prediction
    return {
        "network": network.name,
        "kind": network.kind,
        "output": network.output,
        "space": None if network.design is None else network.design.genotype.space,
        "classes": None if network.design is None else network.design.deployment.num_classes,
        "ms": row.ms,
        "statistic": row.statistic,
        "median_ms": row.median_ms,
        "p10_ms": row.p10_ms,
        "p90_ms": row.p90_ms,
        "mean_ms": row.mean_ms,
        "fps": row.fps,
        "parameters": network.parameters,
        "macs": network.macs,
        "memory_fp32": None if network.memory is None else network.memory.as_json(),
        "miou": None if row.accuracy is None else asdict(row.accuracy),
        "predicted_ms": prediction.ms,
        "predicted_low_ms": prediction.low_ms,
        "predicted_high_ms": prediction.high_ms,
        "prediction_error": row.prediction_error,
        "no_prediction": prediction.reason,
        "samples_ms": [round(one, 6) for one in row.samples_ms],
    }
