"""The page of a run, made from the files of its folder alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nas.cost.frame_rate import frame_rate_on
from nas.cost.prediction import FILE_NAME as PREDICTION
from nas.cost.prediction import Latency, share
from nas.errors import ConfigError
from nas.files.atomic import write_text_atomic
from nas.files.file_digest import file_digest
from nas.files.shortening import shorten
from nas.files.value_text import value_text
from nas.reports.envelope import MOST_SPANS
from nas.reports.page import folded, note, page, picture, table
from nas.reports.picture_bytes import figure_bytes
from nas.reports.run_metrics import RunMetrics, run_metrics
from nas.reports.stated_latency import latency_of_report
from nas.runs import run_config, rundir
from nas.runs.progress import as_clock
from nas.runs.run_json import read_done, read_evaluation, read_prediction
from nas.runs.tracking import metric_rows
from nas.space.design import Design, load_design
from nas.space.genotype import FILE_NAME as GENOTYPE
from nas.space.genotype import dump_genotype
from nas.space.search_space import SpaceEntry

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FILE_NAME = "report.html"
"""The page in the folder of a run."""


MAX_PICTURES = 8
"""Pictures of predictions that are shown; the others stay in their folder."""


_DPI = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """Content of the folder of a run.

    Args:
        run: The folder.
        config: Its settings, the verb among them.
        metrics: Its metrics; empty if it has none yet.
        done: Facts of its end; None while it is not finished.
        design: Its architecture; None before the first checkpoint.
        prediction: Content of predict.json if it is of this genotype.
        evaluation: Content of eval.json; None if there is none.
        pictures: The pictures of predictions; of an evaluation that lists its own, those alone.
        weights_changed: Whether the evaluation is of other weights than the run has now.
    """

    run: Path
    config: Mapping[str, Any]
    metrics: RunMetrics
    done: Mapping[str, Any] | None
    design: Design | None
    prediction: Mapping[str, Any] | None
    evaluation: Mapping[str, Any] | None
    pictures: Sequence[Path]
    weights_changed: bool = False


def read_run(run: Path, spaces: Mapping[str, SpaceEntry]) -> RunFiles:
    """Read the folder of a run.

    Raises:
        UserError: If it is no run, or a file is damaged; a last line of metrics.jsonl that is not whole is left out.
    """
    metrics = run / "metrics.jsonl"
    config = run_config.load_config(run)
    if not isinstance(config.get("data", {}).get("name"), str):
        raise ConfigError(
            f"{run / run_config.CONFIG}: data.name: got {shorten(config.get('data'))}, expected the name of a data set"
        )
    design = _design(run, config["verb"], spaces)
    prediction = read_prediction(run / PREDICTION)
    expected = None if design is None else design.genotype.provenance.get("expected_latency")
    if prediction is not None and not (
        isinstance(expected, float | int) and math.isclose(expected, prediction["latency"], rel_tol=1e-5)
    ):
        prediction = None  # of another genotype than the one that is there now
    return RunFiles(
        run=run,
        config=config,
        metrics=run_metrics(metric_rows(metrics) if metrics.is_file() else ()),
        done=read_done(run / rundir.FINISHED),
        design=design,
        prediction=prediction,
        evaluation=(evaluation := read_evaluation(run / "eval.json")),
        pictures=_pictures(run, evaluation or {}),
        weights_changed=_weights_changed(run, evaluation or {}),
    )


def write_report(files: RunFiles, folder: Path) -> Path:
    """Write the page of a run; the same files give the same page, byte for byte."""
    config = files.config
    title = f"nas {config['verb']}: {_space_name(files)} on {config['data']['name']}"
    sections = [
        ("", table([], _facts(files), facts=True)),
        ("Curves", _curves(files)),
        ("Architecture", _architecture(files)),
        *([("Latency of each part", _parts(files.prediction))] if files.prediction else []),
        *([("Evaluation", _evaluation(files.evaluation, files))] if files.evaluation else []),
        *([("Predictions", _predictions(files.pictures))] if files.pictures else []),
        ("Settings", folded(run_config.CONFIG, yaml.safe_dump(dict(config), sort_keys=False))),
        ("Files", table(["file", "bytes"], _files(files.run))),
    ]
    path = folder / FILE_NAME
    write_text_atomic(path, page(title, sections))
    return path


def _design(run: Path, verb: str, spaces: Mapping[str, SpaceEntry]) -> Design | None:
    """The architecture of a run; of an unfinished search that of its last checkpoint."""
    if (run / GENOTYPE).is_file():
        return load_design(run, spaces)
    if verb == "search" and (run / rundir.CHECKPOINT).is_file():
        from nas.reports.checkpoint_design import design_of_checkpoint  # loads PyTorch, which other reports do without

        return design_of_checkpoint(run / rundir.CHECKPOINT, spaces)
    return None


def _pictures(run: Path, evaluation: Mapping[str, Any]) -> list[Path]:
    """The pictures of the evaluation, or of one that does not list them all that there are."""
    names = evaluation.get("pictures")
    there = sorted((run / "predictions").rglob("*.png"))
    if not isinstance(names, list):
        return [path for path in there if path.parent.name == "predictions"]
    return [path for path in there if path.relative_to(run / "predictions").as_posix() in names]


def _weights_changed(run: Path, evaluation: Mapping[str, Any]) -> bool:
    """Whether the weights that a run ended with are no longer those that were evaluated."""
    digest, file = evaluation.get("weights_sha256"), run / rundir.WEIGHTS
    of_the_end = Path(str(evaluation.get("weights"))).name == rundir.WEIGHTS
    return digest is not None and of_the_end and file.is_file() and file_digest(file) != digest


def _space_name(files: RunFiles) -> str:
    if files.design is not None:
        return files.design.genotype.space
    return str(files.config.get("space", {}).get("name", "a network"))


def _facts(files: RunFiles) -> list[list[str]]:
    """Key facts of a run."""
    config, step = files.config, files.metrics.steps
    state = f"not finished; {step} steps so far"
    if files.done is not None:
        state = f"finished after {step} steps, {as_clock(files.done.get('seconds'))} since it was last started"
    facts = [["run", files.run.name or str(files.run)], ["state", state], ["seed", str(config.get("seed"))]]
    named = {"val": "validation mIoU", "val_argmax": "validation mIoU, argmax"}
    facts += [[named[split], f"{value:.4f}"] for split, value in files.metrics.miou.items()]
    if files.prediction is not None:
        low, high = files.prediction["low"], files.prediction["high"]
        bounds = "" if low is None else f", {low:.3f} to {high:.3f}"
        unit = files.prediction["unit"]
        facts.append(["predicted latency", f"{files.prediction['latency']:.3f} {unit}{bounds}"])
        rate = frame_rate_on(Latency(files.prediction["latency"], low, high, {}), unit, files.prediction["table"])
        facts += [] if rate is None else [["predicted rate", str(rate)]]
    if files.design is not None:
        provenance = files.design.genotype.provenance
        targets = {name: value for name, value in provenance.items() if name.startswith("target_latency")}
        facts += [[name.replace("_", " "), f"{value:g} ms"] for name, value in targets.items() if isinstance(value, float | int)]
        facts += [[name, str(value)] for name, value in provenance.items() if name in ("table", "commit") and value]
    return facts


def _curves(files: RunFiles) -> str:
    from nas.reports.curves import draw_curves

    unit = files.design.genotype.provenance.get("cost_unit") if files.design is not None else None
    figure = draw_curves(files.metrics.curves, cost_unit=str(unit or ""))
    if figure is None:
        return note("no rows in metrics.jsonl yet")
    drawn = picture(_png(figure), "from metrics.jsonl", width_px=round(figure.get_figwidth() * 100))
    shown, points = files.metrics.num_shown, files.metrics.num_points
    if shown == points:
        return drawn
    how = f"of a curve of more than {MOST_SPANS:,} the first, smallest, largest and last of each of its spans"
    return drawn + note(f"shows {shown:,} of {points:,} points: {how}; metrics.jsonl has all")


def _architecture(files: RunFiles) -> str:
    from nas.reports.plots import draw_genotype

    if files.design is None:
        return note("no genotype and no checkpoint yet")
    genotype, prediction = files.design.genotype, files.prediction
    parts_ms = prediction["by_part"] if prediction is not None and prediction["unit"] == "ms" else None
    figure = draw_genotype(genotype, files.design.graph, parts_ms=parts_ms)
    source = GENOTYPE if (files.run / GENOTYPE).is_file() else "the argmax of the last checkpoint"
    counts = Counter(genotype.choices.values())
    return "\n".join(
        [
            picture(_png(figure), source, width_px=round(figure.get_figwidth() * 80)),
            table(["option", "decisions"], [[option, str(count)] for option, count in counts.most_common()]),
            folded(GENOTYPE, dump_genotype(genotype)),
        ]
    )


def _parts(prediction: Mapping[str, Any]) -> str:
    total, unit = prediction["latency"], prediction["unit"]
    costs = [*prediction["by_part"].items(), ("total", total)]
    rows = [[part, f"{cost:.3f}", f"{share(cost, total):.1%}"] for part, cost in costs]
    return table(["part", unit, "share"], rows) + note(f"predicted from {prediction['table']}")


def _evaluation(evaluation: Mapping[str, Any], files: RunFiles) -> str:
    scalars = [[name, f"{value:.4f}"] for name, value in evaluation.items() if isinstance(value, float)]
    classes = evaluation.get("classes", {})
    rows = [[name, "-" if row.get("iou") is None else f"{row['iou']:.4f}"] for name, row in classes.items()]
    size = evaluation.get("size")
    at = f" at {size[0]}x{size[1]}" if isinstance(size, list) and len(size) == 2 else ""
    notes = [f"{evaluation.get('images')} images of the {evaluation.get('split')} split of {evaluation.get('data')}{at}"]
    notes += [f"weights: {evaluation['weights']}"] if "weights" in evaluation else []
    notes += [str(latency_of_report(evaluation["latency"]))] if "latency" in evaluation else []
    notes += [f"other data than those of the training: {line}" for line in _other_data(evaluation, files.config)]
    if files.weights_changed:
        notes.append(f"{rundir.WEIGHTS} has changed since: these numbers are of earlier weights; nas eval run={files.run} again")
    return "\n".join([*map(note, notes), table([], scalars, facts=True), "<br>", table(["class", "IoU"], rows)])


def _other_data(evaluation: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """The settings of the data in which an evaluation differs from the training, in one line; none where it does not."""
    evaluated, trained = evaluation.get("data_settings"), config.get("data")
    if not isinstance(evaluated, Mapping) or not isinstance(trained, Mapping):
        return []
    keys = [key for key in {**evaluated, **trained} if key not in ("cache", "workers")]
    differ = [key for key in keys if key in evaluated and evaluated[key] != trained.get(key, evaluated[key])]
    words = [f"data.{key}={value_text(evaluated[key])} (training: {value_text(trained[key])})" for key in differ]
    return [", ".join(words)] if words else []


def _predictions(pictures: Sequence[Path]) -> str:
    shown = [picture(path.read_bytes(), path.stem) for path in pictures[:MAX_PICTURES]]
    rest = len(pictures) - len(shown)
    return "\n".join([*shown, *([note(f"{rest} more in predictions/")] if rest else [])])


def _files(run: Path) -> list[list[str]]:
    """Files and folders of a run, a folder with the sum of what is in it; without the report itself and locks."""
    rows = []
    for path in sorted(run.iterdir()):
        if path.is_dir():
            inside = [file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink()]
            rows.append([f"{path.name}/ ({len(inside)} files)", f"{sum(inside):,}"])
        elif path.name not in (FILE_NAME, *rundir.LOCKS):
            rows.append([path.name, f"{path.stat().st_size:,}"])
    return rows


def _png(figure: Figure) -> bytes:
    """A figure as PNG, without a name of what made it."""
    return figure_bytes(figure, dpi=_DPI, metadata={"Software": None})
