"""The chart of a bench, and its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nas.measuring.processing_times import ProcessingTimes
from nas.probing.bench.bench_summary import HEADER, LEGEND, block_notes, block_title, by_time, row_cells
from nas.probing.bench.network_times import BenchBlock
from nas.reports.accuracy_chart import ChartPanel, ChartPoint, draw_accuracy_chart, front
from nas.reports.page import note, page, picture, table
from nas.reports.picture_bytes import figure_bytes

PNG, HTML = "bench.png", "bench.html"
_DPI = 120
_WIDTH_PX = 1000
CAPTION = (
    "mIoU against time; the line is the front: no network is both faster and more accurate. Hollow: published, filled: measured by "
    "nas eval."
)


def bench_chart(blocks: Sequence[BenchBlock]) -> bytes:
    """The chart as the content of a PNG file: a panel a runtime and size."""
    return figure_bytes(draw_accuracy_chart([_panel(block) for block in blocks]), dpi=_DPI, metadata={"Software": None})


def bench_page(
    blocks: Sequence[BenchBlock], processing: Sequence[ProcessingTimes], protocol: Mapping[str, Any], left_out: Sequence[str]
) -> str:
    """The page: every block with its table, its chart and what is to be known of it.

    Args:
        blocks: What was measured.
        processing: What comes before and after a network.
        protocol: How.
        left_out: What was not, and why.
    """
    sections = [(block_title(block), _block(block)) for block in blocks]
    sections += [("Before and after a network", _processing(one)) for one in processing]
    if left_out:
        sections.append(("Not timed", "".join(note(one) for one in left_out)))
    sections.append(("Columns", "".join(note(one) for one in LEGEND)))
    sections.append(("Protocol", table([], _facts(protocol), facts=True)))
    return page("nas bench: networks side by side", sections)


def _block(block: BenchBlock) -> str:
    panel = _panel(block)
    chart = figure_bytes(draw_accuracy_chart([panel]), dpi=_DPI, metadata={"Software": None})
    rows = [row_cells(row) for row in by_time(block)]
    kinds = dict.fromkeys(point.kind for point in panel.points if point.miou is not None)
    fronts = [
        f"front of {kind}: {', '.join(point.name for point in front([one for one in panel.points if one.kind == kind]))}"
        for kind in kinds
    ]
    return "\n".join(
        [table(HEADER, rows), picture(chart, CAPTION, width_px=_WIDTH_PX), *(note(line) for line in (*fronts, *block_notes(block)))]
    )


def _panel(block: BenchBlock) -> ChartPanel:
    points = []
    for row in block.rows:
        known = row.accuracy
        if known is None:
            points.append(ChartPoint(name=row.network.name, ms=row.ms))
        else:
            points.append(
                ChartPoint(name=row.network.name, ms=row.ms, miou=known.miou, kind=known.kind, is_published=known.is_published)
            )
    return ChartPanel(block_title(block), points)


def _processing(times: ProcessingTimes) -> str:
    steps = [[step.step, *(f"{ms:.3f}" for ms in (step.median_ms, step.p10_ms, step.p90_ms)), step.what] for step in times.steps]
    first, *_, before, after = times.summary()
    sums = [note(line.strip()) for line in (before, after)]
    return "\n".join([note(first), table(["step", "ms", "p10", "p90", "what"], steps), *sums])


def _facts(protocol: Mapping[str, Any]) -> list[list[str]]:
    """Names and values, those of a section one below the other."""
    rows = []
    for name, value in protocol.items():
        if isinstance(value, Mapping):
            rows += [[f"{name.replace('_', ' ')}: {inner}", str(one)] for inner, one in value.items()]
        else:
            rows.append([name.replace("_", " "), str(value)])
    return rows
