"""Stage `profile validate`: whole networks against the sum of a table, and the calibration that follows."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.config.measuring_jobs import ValidateJob
from nas.cost.calibration import Calibration, Quality
from nas.cost.expected import ExpectedLatency
from nas.cost.latency_table import LatencyTable, read_table, save_table
from nas.cost.lookup import WORK_FOLDER, find_table
from nas.cost.prediction import predict_on
from nas.cost.profile_command import profile_command
from nas.cost.random_architecture import drawn_over_costs, spread_over_costs
from nas.cost.table_lock import changing_table
from nas.cost.table_parts import parse_key
from nas.errors import ConfigError, FailedCheckError
from nas.files.atomic import write_bytes_atomic, write_text_atomic
from nas.measuring.example_operations import example_network
from nas.measuring.fit_calibration import Fit, Terms, fit, objections, quality, terms_of
from nas.measuring.network_rounds import noise_floor
from nas.measuring.runners.open_runner import check_table, open_runner
from nas.measuring.runners.request import request_for_table
from nas.measuring.runners.runner import SizedNetwork
from nas.network.network import Network
from nas.reports.picture_bytes import figure_bytes
from nas.reports.text_table import text_table
from nas.runs import rundir
from nas.space.deployment import Deployment
from nas.space.graph import Graph
from nas.space.search_space import SearchSpace
from nas.worker.rounds import OnProgress

REPORT, NETWORKS, PICTURE = "validate.json", "networks.csv", "scatter.png"
FORMAT_VERSION = 1
"""The version of `validate.json`."""
WORST = 3
"""Networks whose breakdown is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A random network.

    Args:
        choices: Its architecture.
        terms: What the table says of it.
        kinds: Kind of operation -> number, predicted ms.
        measured_ms: Median of both series.
        series_ms: Median of each series.
        judges: Whether it judges the calibration; else it is fitted.
    """

    choices: Mapping[str, str]
    terms: Terms
    kinds: Mapping[str, tuple[int, float]]
    measured_ms: float
    series_ms: tuple[float, float]
    judges: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateResult:
    """Result of a validation.

    Args:
        out: Folder of its files.
        table: Identifier of the table.
        table_path: The file that the calibration was written into; None: it was not written.
        objections: Why it must not be; none: it may.
        samples: The networks, by predicted latency.
        plain: Quality of the plain sum over all networks.
        plain_held_out: The same over the networks that judge.
        fitted: The calibration's numbers.
        held_out: Its quality over the networks that judge.
        floor: Noise floor.
    """

    out: Path
    table: str
    table_path: Path | None
    objections: Sequence[str]
    samples: Sequence[Sample]
    plain: Quality
    plain_held_out: Quality
    fitted: Fit
    held_out: Quality
    floor: float

    def predicted_ms(self, sample: Sample) -> float:
        """Calibrated prediction of a network."""
        return float(self.fitted.predict([sample.terms])[0])

    def summary(self) -> list[str]:
        """Lines for the terminal: the errors, the calibration, the worst cases, the files."""
        measured = [sample.measured_ms for sample in self.samples]
        judges = sum(sample.judges for sample in self.samples)
        rows = [
            [name, *_quality_cells(one)]
            for name, one in (
                (f"plain sum, all {len(self.samples)}", self.plain),
                (f"plain sum, {judges} held out", self.plain_held_out),
                (f"calibrated, {judges} held out", self.held_out),
            )
        ]
        lines = [
            f"{len(self.samples)} random networks on {self.table}, {min(measured):.2f} to {max(measured):.2f} ms; "
            f"noise floor (each timed twice) {self.floor:.1%}",
            *text_table(["prediction", "bias", "MAPE", "RMSE ms", "within 5 %", "within 10 %", "Spearman", "Kendall"], rows),
            f"calibration ({self.fitted.form}): {self.fitted.overhead_ms:.3f} ms + {self.fitted.compute_scale:.3f} x compute + "
            f"{self.fitted.memory_scale:.3f} x memory + {self.fitted.gap_ms:.4f} ms an operation",
            f"error bar: +- {self.fitted.bar:.1%}; {self.held_out.inside_bar or 0:.0%} of the networks held out lie inside",
            "worst of those held out:",
            *(f"  {line}" for sample in self._worst() for line in self._breakdown(sample)),
        ]
        if self.table_path is not None:
            lines.append(f"wrote the calibration into {self.table_path}")
        if self.objections:
            lines.append(f"not fit to calibrate the table: {'; '.join(self.objections)}")
        return [*lines, *(f"wrote {self.out / name}" for name in (REPORT, NETWORKS, PICTURE))]

    def _worst(self) -> list[Sample]:
        judges = [sample for sample in self.samples if sample.judges]
        return sorted(judges, key=lambda one: -abs(self.predicted_ms(one) / one.measured_ms - 1))[:WORST]

    def _breakdown(self, sample: Sample) -> list[str]:
        predicted, first = self.predicted_ms(sample), sorted(sample.kinds.items(), key=lambda kind: -kind[1][1])[:5]
        return [
            f"measured {sample.measured_ms:.2f} ms ({sample.series_ms[0]:.2f} and {sample.series_ms[1]:.2f}), predicted "
            f"{predicted:.2f} ({predicted / sample.measured_ms - 1:+.1%}), plain sum {sample.terms.total_ms:.2f}",
            "  by the table: " + ", ".join(f"{count} {kind} {ms:.2f} ms" for kind, (count, ms) in first),
        ]


def validate(job: ValidateJob, space: SearchSpace, *, on_progress: OnProgress | None = None) -> ValidateResult:
    """Time random networks of a space against a table's sum, fit the calibration on half of them, judge it on the others.

    Args:
        job: Table, space, shape, number of networks.
        space: The search space.
        on_progress: See `OnProgress`.

    Raises:
        UserError: If the table is of another device, another version of the runtime, or lacks operations.
        FailedCheckError: If the calibration was to be stored and is worse than none; the table stays as it was.
    """
    if job.deploy.input is None:
        raise ConfigError("deploy.input: got null, expected the size of the networks' input; give deploy.input=[HEIGHT,WIDTH]")
    path, target = _table_files(job)
    table = read_table(path)
    deployment = job.deploy.deployment(space, job.num_classes)
    describe = partial(space.graph, deployment)
    table.require(space.plan(deployment), command=profile_command(space.config, table, deployment, given=str(target)))
    with ExitStack() as held:
        with open_runner(job, request_for_table(job, table)) as runner:
            check_table(table, runner, path)
            out = held.enter_context(rundir.held_out(job.out, "profile validate"))
            generator = torch.Generator().manual_seed(job.seed)
            drawn = _networks(space, describe, table, count=job.samples, generator=generator)
            graphs = [describe(decided=choices) for choices in drawn]
            networks = [
                SizedNetwork(
                    partial(example_network, partial(Network, graph.deployed()), size=deployment.input, seed=job.seed + i),
                    deployment.input,
                )
                for i, graph in enumerate(graphs)
            ]
            level = table.reference
            timed, _ = runner.time_networks(
                networks, None if level is None else parse_key(level.key), seed=job.seed, on_progress=on_progress
            )
        times = timed.samples(level_ms=None if level is None else level.median_ms)
        samples = [
            _sample(choices, one, table, times[i], judges=i % 2 == 1)
            for i, (choices, one) in enumerate(zip(drawn, graphs, strict=True))
        ]
        result = _judged(samples, job, out=out, table=table.identifier, floor=noise_floor(times), path=target)
        if result.table_path is not None:
            calibration = _calibration(result, space=space.config.name, deployment=deployment, coverage=job.coverage)
            with changing_table(target, "profile validate"):
                save_table(read_table(target if target.exists() else path).with_calibration(calibration), target)
        _write(result, job)
        if job.calibrate and result.objections:
            kept = table.calibration(space.config.name, deployment)
            state = "is not calibrated" if kept is None else f"keeps its calibration of {kept.measured_at}"
            raise FailedCheckError(
                f"{path} {state}: with the new one, {'; '.join(result.objections)}. Measure again while nothing else runs there, "
                "with more samples= and rounds=",
                result.summary(),
            )
        return result


def _networks(
    space: SearchSpace, describe: Callable[..., Graph], table: LatencyTable, *, count: int, generator: torch.Generator
) -> list[Mapping[str, str]]:
    """Random networks spread over what the table says that they cost."""
    if space.contains_derived:
        return spread_over_costs(space, ExpectedLatency(describe(), table.cost), count=count, generator=generator)
    return drawn_over_costs(
        space, lambda choices: predict_on(describe(decided=choices), table).ms, count=count, generator=generator
    )


def _table_files(job: ValidateJob) -> tuple[Path, Path]:
    """The table's file, and the one that a calibration goes into: the same, or a copy of a shipped one in the working folder."""
    name = job.latency.table
    if name in ("none", "macs"):
        raise ConfigError(f"latency.table: got {name}, expected a table that was measured, e.g. auto/torch-eager")
    path = find_table(name)
    if not (job.calibrate and _is_shipped(path)):
        return path, path
    copy = WORK_FOLDER / f"{read_table(path).identifier}.json"
    return (copy if copy.exists() else path), copy


def _is_shipped(path: Path) -> bool:
    from nas.files.shipped import tables_dir

    return tables_dir().resolve() in path.resolve().parents


def _sample(choices: Mapping[str, str], graph: Graph, table: LatencyTable, times: np.ndarray, *, judges: bool) -> Sample:
    specs = [spec for _, spec in graph.operations()]
    counts = Counter(spec.kind for spec in specs)
    kinds = {kind: (count, sum(table.cost(spec) for spec in specs if spec.kind == kind)) for kind, count in counts.items()}
    first, second = np.median(times, axis=1).tolist()
    return Sample(
        choices=choices,
        terms=terms_of(graph, table),
        kinds={kind: value for kind, value in kinds.items() if value[1] > 0},
        measured_ms=float(np.median(times)),
        series_ms=(first, second),
        judges=judges,
    )


def _judged(samples: Sequence[Sample], job: ValidateJob, *, out: Path, table: str, floor: float, path: Path) -> ValidateResult:
    fitting, judging = ([one for one in samples if one.judges is judges] for judges in (False, True))
    fitted = fit([one.terms for one in fitting], [one.measured_ms for one in fitting], coverage=job.coverage)
    measured = [one.measured_ms for one in judging]
    plain_held_out = quality([one.terms.total_ms for one in judging], measured)
    held_out = quality(fitted.predict([one.terms for one in judging]), measured, bar=fitted.bar)
    against = objections(
        held_out, plain_held_out, noise_floor=floor, coverage=job.coverage, fitted=len(fitting), judged=len(judging)
    )
    return ValidateResult(
        out=out,
        table=table,
        table_path=path if job.calibrate and not against else None,
        objections=against,
        samples=samples,
        plain=quality([one.terms.total_ms for one in samples], [one.measured_ms for one in samples]),
        plain_held_out=plain_held_out,
        fitted=fitted,
        held_out=held_out,
        floor=floor,
    )


def _calibration(result: ValidateResult, *, space: str, deployment: Deployment, coverage: float) -> Calibration:
    judged = sum(one.judges for one in result.samples)
    return Calibration(
        space=space,
        input=deployment.input,
        init_channels=deployment.init_channels,
        overhead_ms=result.fitted.overhead_ms,
        gap_ms=result.fitted.gap_ms,
        compute_scale=result.fitted.compute_scale,
        memory_scale=result.fitted.memory_scale,
        bar=result.fitted.bar,
        coverage=coverage,
        fitted=len(result.samples) - judged,
        judged=judged,
        held_out=result.held_out,
        noise_floor=result.floor,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _write(result: ValidateResult, job: ValidateJob) -> None:
    report = {
        "format_version": FORMAT_VERSION,
        "table": result.table,
        "space": job.space.name,
        "input": job.deploy.input,
        "networks": len(result.samples),
        "rounds": job.rounds,
        "noise_floor": result.floor,
        "plain": asdict(result.plain),
        "plain_held_out": asdict(result.plain_held_out),
        "calibration": asdict(result.fitted),
        "held_out": asdict(result.held_out),
        "objections": list(result.objections),
    }
    write_text_atomic(result.out / REPORT, json.dumps(report, indent=2) + "\n")
    write_text_atomic(result.out / NETWORKS, _csv(result))
    write_bytes_atomic(result.out / PICTURE, figure_bytes(_draw(result), dpi=110))


def _csv(result: ValidateResult) -> str:
    """One network a line, with its architecture as JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sum_ms", "predicted_ms", "measured_ms", "first_ms", "second_ms", "operations", "held_out", "choices"])
    for one in result.samples:
        numbers = (one.terms.total_ms, result.predicted_ms(one), one.measured_ms, *one.series_ms)
        row = [*(f"{number:.4f}" for number in numbers), one.terms.operations, int(one.judges), json.dumps(dict(one.choices))]
        writer.writerow(row)
    return text.getvalue()


def _draw(result: ValidateResult) -> Any:  # noqa: ANN401
    """Measured against predicted: plain sum and calibrated, with the bar."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    measured = [one.measured_ms for one in result.samples]
    low, high = 0.9 * min(measured), 1.1 * max(measured)
    judging = [one for one in result.samples if one.judges]
    columns = (("plain sum of the table", [one.terms.total_ms for one in judging], result.plain_held_out, 0.0),)
    calibrated = ("calibrated", [result.predicted_ms(one) for one in judging], result.held_out, result.fitted.bar)
    for axes, (title, predicted, found, bar) in zip(panels, (*columns, calibrated), strict=True):
        line = np.array([low, high])
        axes.plot(line, line, color="#22262b", linewidth=1)
        if bar:
            axes.fill_between(line, line * (1 - bar), line * (1 + bar), color="#2b6cb0", alpha=0.15, label=f"bar +- {bar:.1%}")
        axes.scatter(predicted, [one.measured_ms for one in judging], s=22, color="#2b6cb0", label="held-out networks")
        axes.set_title(f"{title}: MAPE {found.mape:.1%}, Spearman {found.spearman:.3f}", fontsize=10)
        axes.set_xlabel("predicted, ms")
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize=8, loc="upper left")
    panels[0].set_ylabel("measured, ms")
    figure.suptitle(f"{result.table}: {len(judging)} networks held out; noise floor {result.floor:.1%}", fontsize=10)
    return figure


def _quality_cells(found: Quality) -> list[str]:
    shares = (f"{found.bias:+.1%}", f"{found.mape:.1%}", f"{found.rmse_ms:.3f}", f"{found.within_5:.0%}", f"{found.within_10:.0%}")
    return [*shares, f"{found.spearman:.3f}", f"{found.kendall:.3f}"]
