"""What `nas bench algorithms` shows: a table, a chart of regret over cost, a page, and the files of both."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.probing.algorithms.judging import CONFIDENCE, Judged
from nas.reports.page import note, page, picture, table
from nas.reports.picture_bytes import figure_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADER = ("algorithm", "runs", "CPU s", "regret", "+-", "random", "ratio", "p", "rank", "gap")
LEGEND = (
    "regret: mIoU of the most accurate network within the limit minus that of what was found, in percent, mean over the runs",
    f"+-: half of the {CONFIDENCE:.0%} confidence interval of the mean; CPU s: mean of a run",
    "random: regret of random search within the same CPU seconds; ratio: regret over that; p: that random search does no worse",
    "rank: Spearman of networks by their loss in the supernet at the end with their mIoU; gap: mIoU of the supernet as it is "
    "sampled minus that of its argmax network, in percent; means over the runs",
)
CAPTION = "Mean regret over CPU seconds of a run; bars are confidence intervals of the mean"
MARKERS = "os^Dv"
"""Of the first ten algorithms, the next ten, and so on: colours come again."""
COLUMNS = ("algorithm", "seed", "seconds", "regret_percent")


def cells(judged: Judged) -> list[str]:
    """An algorithm's cells under `HEADER`."""
    ratio = f"{judged.mean / judged.random_regret:.2f}" if judged.random_regret > 0 else "-"
    return [
        judged.name,
        str(len(judged.regrets)),
        f"{judged.seconds:.0f}",
        f"{100 * judged.mean:.2f}",
        f"{100 * judged.half_width:.2f}",
        f"{100 * judged.random_regret:.2f}",
        "-" if judged.p_value is None else ratio,
        "-" if judged.p_value is None else f"{judged.p_value:.2g}",
        "-" if judged.rank is None else f"{judged.rank:.2f}",
        "-" if judged.gap is None else f"{100 * judged.gap:.2f}",
    ]


def algorithms_csv(found: Sequence[Judged]) -> str:
    """A row a run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in found:
        writer.writerows([one.name, seed, f"{one.seconds:.3f}", f"{100 * regret:.4f}"] for seed, regret in enumerate(one.regrets))
    return text.getvalue()


def algorithms_chart(found: Sequence[Judged], title: str) -> bytes:
    """The chart as the content of a PNG file."""
    return figure_bytes(_chart(found, title), dpi=120, metadata={"Software": None})


def algorithms_page(found: Sequence[Judged], title: str) -> str:
    """The page: the table, the chart, what the columns are."""
    body = [
        table(HEADER, [cells(one) for one in found]),
        picture(algorithms_chart(found, title), CAPTION, width_px=800),
        *(note(line) for line in LEGEND),
    ]
    return page("nas bench algorithms", [(title, "\n".join(body))])


def _chart(found: Sequence[Judged], title: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5 + 0.19 * len(found)), layout="constrained")
    axes = figure.subplots()
    for number, one in enumerate(found):
        color = f"C{number % 10}"
        if one.curve:
            seconds, regrets = zip(*one.curve, strict=True)
            axes.plot(seconds, [100 * regret for regret in regrets], color=color, label=one.name)
        else:
            marker = MARKERS[number // 10 % len(MARKERS)]
            axes.errorbar(
                one.seconds, 100 * one.mean, yerr=100 * one.half_width, fmt=marker, capsize=3, color=color, label=one.name
            )
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set(xlabel="CPU seconds of a run", ylabel="regret, points of mIoU")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower left", fontsize=8)
    return figure
