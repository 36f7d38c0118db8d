"""Latency of a derived network from a table: the sum over the operations that it executes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from nas.config.jobs import PredictJob
from nas.cost import resolve_table
from nas.cost.genotype_latency import predict
from nas.cost.prediction import FILE_NAME
from nas.errors import ConfigError
from nas.files.atomic import write_text_atomic
from nas.reports.prediction_report import PredictReport
from nas.runs.rundir import held_out
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
    design = load_design(sources[0], spaces)
    design = design.deployed(job.deploy.replacing(design.deployment, job.num_classes))
    table = resolve_table(job.latency.table)
    if table is None:
        raise ConfigError("latency.table: got none, expected a table to look the operations up in, e.g. auto/torch-eager or macs")
    latency = predict(design, table, given=job.latency.table)
    report = PredictReport(design=design, table=table, latency=latency, path=None)
    if job.out is None:
        return report
    with held_out(job.out, "predict") as folder:
        path = folder / FILE_NAME
        write_text_atomic(path, json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n")
    return replace(report, path=path)
