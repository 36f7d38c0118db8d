"""Latency of a derived network from a table: the sum over the operations that it executes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from nas.config.jobs import PredictJob
from nas.cost import CostTable, LatencyTable, resolve_table
from nas.cost.genotype_latency import predict
from nas.cost.prediction import FILE_NAME
from nas.devices.runtimes import IN_PROCESS, WORKER_RUNTIMES
from nas.errors import ConfigError
from nas.files.atomic import write_text_atomic
from nas.files.command_words import setting
from nas.reports.prediction_report import PredictReport
from nas.runs.rundir import held_out
from nas.space.deployment import Deployment
from nas.space.design import load_design
from nas.space.search_space import SpaceEntry


def predict_job(job: PredictJob, spaces: Mapping[str, SpaceEntry]) -> PredictReport:
    """Predict as `nas predict` does, and write `predict.json` where a folder is given.

    Raises:
        UserError: If genotype, table or folder cannot be used.
    """
    sources = [source for source in (job.genotype, job.run) if source is not None]
    if len(sources) != 1:
        got = "both genotype= and run=" if sources else "neither genotype= nor run="
        raise ConfigError(f"got {got}, expected one of them: genotype=FILE or a published name, or run=FOLDER")
    own = load_design(sources[0], spaces)
    design = own.deployed(job.deploy.replacing(own.deployment, job.num_classes))
    table = resolve_table(job.latency.table)
    if table is None:
        raise ConfigError("latency.table: got none, expected a table to look the operations up in, e.g. auto/torch-eager or macs")
    latency = predict(design, table, given=job.latency.table)
    words = tuple(_next_words(sources[0], own.deployment, design.deployment, table))
    report = PredictReport(design=design, table=table, latency=latency, path=None, next_words=words)
    if job.out is None:
        return report
    with held_out(job.out, "predict") as folder:
        path = folder / FILE_NAME
        write_text_atomic(path, json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n")
    return replace(report, path=path)


def _next_words(source: str, own: Deployment, asked: Deployment, table: CostTable) -> list[str]:
    """The command that times the network that was predicted; none where `nas bench` cannot: other channels, or another runtime."""
    runtime = table.runtime if isinstance(table, LatencyTable) else None
    if asked.init_channels != own.init_channels or (runtime is not None and runtime.backend not in {*IN_PROCESS, *WORKER_RUNTIMES}):
        return []
    return [
        "bench",
        setting("networks", source),
        *([] if asked.input == own.input else [setting("bench.sizes", [list(asked.input)])]),
        *([] if asked.num_classes == own.num_classes else [setting("num_classes", asked.num_classes)]),
        *([] if runtime is None else [setting("runtime", runtime.name)]),
    ]
