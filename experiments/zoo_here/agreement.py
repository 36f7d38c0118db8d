"""How well predictions agree with measurements, over networks that no calibration has seen; the table and the charts of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from scipy.stats import spearmanr

from nas.files.atomic import write_bytes_atomic, write_text_atomic
from nas.measuring.fit_calibration import Fit, Terms, fit, quality
from nas.reports.accuracy_chart import ChartPanel, ChartPoint, draw_accuracy_chart
from nas.reports.picture_bytes import figure_bytes

CALIBRATING = ("lgcnet", "squeezenas/")
"""Beginnings of the names of networks that calibrate a table."""
COVERAGE = 0.9
COLUMNS = (
    *("network", "runtime", "size", "gmacs", "measured_ms", "p10_ms", "p90_ms", "level_ms"),
    *(
        "plain_ms",
        "predicted_ms",
        "error_percent",
        "calibrating",
        "published_miou_val",
        "published_miou_test",
        "published_fps_3090",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A network at a size in a runtime.

    Args:
        network: Its name.
        runtime: What ran it.
        size: (height, width) of the images in pixels.
        macs: Multiply-accumulates for one image.
        measured_ms: Median.
        p10_ms: 10th percentile.
        p90_ms: 90th percentile.
        speed: What brings its times to the level of the table.
        terms: What the table says of its operations.
        miou_val: Published mIoU on the validation split of Cityscapes in %; None: none.
        miou_test: The same on its test split.
        fps_3090: Published frames per second at 512x1024 on an RTX 3090; None: none.
    """

    network: str
    runtime: str
    size: tuple[int, int]
    macs: int
    measured_ms: float
    p10_ms: float
    p90_ms: float
    speed: float
    terms: Terms
    miou_val: float | None
    miou_test: float | None
    fps_3090: float | None

    @property
    def calibrates(self) -> bool:
        """Whether a calibration is fitted on it."""
        return self.network.startswith(CALIBRATING)

    @property
    def level_ms(self) -> float:
        """The median at the level of the table."""
        return self.measured_ms * self.speed


def blocks_of(rows: Sequence[Row]) -> dict[tuple[str, tuple[int, int]], list[Row]]:
    """(Runtime, size) -> its rows."""
    blocks: dict[tuple[str, tuple[int, int]], list[Row]] = {}
    for row in rows:
        blocks.setdefault((row.runtime, row.size), []).append(row)
    return blocks


def calibration_of(rows: Sequence[Row]) -> Fit:
    """The calibration of a block, fitted on lgcnet's and SqueezeNAS's networks alone."""
    some = [row for row in rows if row.calibrates]
    return fit([row.terms for row in some], [row.level_ms for row in some], coverage=COVERAGE)


def agreement_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Block -> correlations and errors over the networks that no calibration has seen."""
    summary: dict[str, Any] = {}
    for (runtime, size), block in blocks_of(rows).items():
        unseen = [row for row in block if not row.calibrates]
        measured = [row.level_ms for row in unseen]
        found = calibration_of(block)
        predicted = found.predict([row.terms for row in unseen])
        known = [row for row in unseen if row.fps_3090 is not None]
        summary[f"{runtime} {size[0]}x{size[1]}"] = {
            "networks": len(unseen),
            "calibration": asdict(found),
            "calibrated": asdict(quality(predicted, measured)),
            "plain_sum": asdict(quality([row.terms.total_ms for row in unseen], measured)),
            "spearman_macs_ms": _rank([float(row.macs) for row in unseen], measured),
            "spearman_ms_here_ms_3090": _rank([1 / float(row.fps_3090 or 1) for row in known], [row.level_ms for row in known]),
            "networks_with_fps_3090": len(known),
        }
    return summary


def _rank(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None of fewer than three networks."""
    return float(spearmanr(first, second).statistic) if len(first) > 2 else None


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write results.csv: one row a network, size and runtime."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for (runtime, size), block in blocks_of(rows).items():
        predicted = calibration_of(block).predict([row.terms for row in block])
        for row, ms in zip(block, predicted.tolist(), strict=True):
            times = (f"{value:.3f}" for value in (row.measured_ms, row.p10_ms, row.p90_ms, row.level_ms, row.terms.total_ms, ms))
            writer.writerow(
                [
                    row.network,
                    runtime,
                    f"{size[0]}x{size[1]}",
                    f"{row.macs / 1e9:.4f}",
                    *times,
                    f"{100 * (ms / row.level_ms - 1):.2f}",
                ]
                + [int(row.calibrates), *("" if one is None else one for one in (row.miou_val, row.miou_test, row.fps_3090))]
            )
    write_text_atomic(path, text.getvalue())


def write_charts(folder: Path, rows: Sequence[Row]) -> None:
    """Draw predicted against measured, and published mIoU against measured ms, one panel a block."""
    blocks = blocks_of(rows)
    figure, panels = _panels(len(blocks), (6, 5))
    for panel, ((runtime, size), block) in zip(panels, blocks.items(), strict=True):
        predicted = calibration_of(block).predict([row.terms for row in block])
        for seen, colour, label in ((True, "0.6", "calibrating"), (False, "tab:blue", "not seen")):
            points = [(row.level_ms, ms) for row, ms in zip(block, predicted, strict=True) if row.calibrates is seen]
            panel.loglog(*zip(*points, strict=True), "o", color=colour, label=label, markersize=4)
        ends = (min(row.level_ms for row in block), max(row.level_ms for row in block))
        panel.loglog(ends, ends, color="0.8", zorder=0)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
        panel.set(title=f"{runtime} {size[0]}x{size[1]}", xlabel="measured ms, at the speed of the table", ylabel="predicted ms")
        panel.legend()
    write_bytes_atomic(folder / "predicted.png", figure_bytes(figure, dpi=110, file_format="png"))
    figure = draw_accuracy_chart([_accuracies(*block) for block in blocks.items()], time="measured ms")
    write_bytes_atomic(folder / "chart.png", figure_bytes(figure, dpi=120, file_format="png"))


def _accuracies(place: tuple[str, tuple[int, int]], block: Sequence[Row]) -> ChartPanel:
    """A panel of published mIoU against measured ms: hand-made networks, searched ones, those with figures of test images alone."""
    points = []
    for row in sorted(block, key=_kind):
        miou = row.miou_test if row.miou_val is None else row.miou_val
        if miou is not None:
            name = row.network.removeprefix("zoo/").removeprefix("squeezenas/")
            points.append(ChartPoint(name=name, ms=row.measured_ms, miou=miou / 100, kind=_kind(row), is_published=True))
    runtime, (height, width) = place
    return ChartPanel(f"{runtime}, {height}x{width}, one thread; mIoU as published for Cityscapes, mostly at 1024x2048", points)


def _kind(row: Row) -> str:
    """What the mIoU of a network is of; figures of two kinds have fronts of their own."""
    made = "hand-made" if row.network.startswith("zoo/") else "searched"
    return f"{made}, {'test alone' if row.miou_val is None else 'val'}"


def _panels(count: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, two in a row, each of a size in inches."""
    columns = min(count, 2)
    figure, panels = plt.subplots(
        -(-count // columns),
        columns,
        figsize=(size[0] * columns, size[1] * -(-count // columns)),
        squeeze=False,
        layout="constrained",
    )
    for surplus in panels.flat[count:]:
        surplus.remove()
    return figure, list(panels.flat[:count])
