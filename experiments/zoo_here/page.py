"""Write docs/zoo.md: what hand-made networks there are, what they cost, what was published of them, what was measured here.

    python experiments/zoo_here/page.py

Everything is read: genotypes, graphs, results.csv of this folder where there is one, and missing.yaml.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from nas.files.atomic import write_text_atomic
from nas.files.shipped import published_genotypes
from nas.reports.network_summary import count_macs, count_parameters
from nas.space.deployment import Deployment
from nas.space.design import load_design
from search_spaces import all_spaces

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "zoo.md"
RESULTS = HERE / "results.csv"
MISSING = HERE / "missing.yaml"
CHARTS = {
    "chart.png": "published mIoU against milliseconds measured here; the lines are fronts",
    "predicted.png": "predicted against measured milliseconds",
}
SIZE = (1024, 2048)
CLASSES = 19
RUNTIMES = {"onnxruntime": "ONNX Runtime", "torch-eager": "eager"}
MEASURED_AT = ("360x480", "512x1024")
SURVEY_SIZES = ("1024x2048", "512x1024", "256x512")
"""Sizes at which the survey times on an RTX 3090."""
DEVICES = {
    "3090": "RTX 3090",
    "2080ti": "RTX 2080 Ti",
    "1080ti": "GTX 1080 Ti",
    "titan_x": "Titan X",
    "titan_xp": "Titan Xp",
    "titan_rtx": "Titan RTX",
    "xavier": "Jetson AGX Xavier",
}
"""Devices of published speeds, as genotypes and people write them."""
ACCURACIES = {"cityscapes_val": "mIoU val", "cityscapes_test": "mIoU test", "camvid_test": "mIoU CamVid"}
HEADER = (
    *("network", "name", "year", "parameters M", "GMACs", *ACCURACIES.values()),
    *(f"ms here, {name}" for name in RUNTIMES.values()),
)
SOURCES_HEADER = (
    *("name", "FPS RTX 3090 at " + " / ".join(SURVEY_SIZES), "FPS elsewhere", "FPS from"),
    *("mIoU from", "parameters and GMACs as in"),
)

TOP = """\
# The zoo: hand-made networks by name

What would you pick instead of a searched network? Each network of this page is a genotype by name, in every command. In zsh and
PowerShell a setting with brackets stands in quotes: `'networks=[A,B]'`.

```bash
nas show list=genotypes
nas show genotype=zoo/fast_scnn out=fast_scnn.png
nas predict genotype=zoo/fast_scnn latency.table=macs
```

Which is faster here, at the size of your images, and how do they stand beside a network of yours
([side by side](bench-networks.md))?

```bash
nas bench networks=[zoo/fast_scnn,zoo/ddrnet_23_slim] bench.sizes=[[96,128]] runtime=onnxruntime out=runs/zoo_times
```

Which is more accurate on your data? Weights do not ship: a network is trained, and once it is evaluated `nas bench` shows the mIoU
beside the time.

```bash
nas train genotype=zoo/fast_scnn data=camvid data.root=camvid data.size=[96,128] out=runs/zoo
nas eval run=runs/zoo
nas export run=runs/zoo
nas bench networks=[runs/zoo,zoo/ddrnet_23_slim] runtime=onnxruntime bench.sizes=[[96,128]] num_classes=11 out=runs/zoo_beside
```

Is a searched one better than these on your device? Search on the same data, with the measured time of the network to beat as
`latency.target_ms=` ([how](search-on-my-data.md)). Train what was found by the command above, with `genotype=runs/search` for the
name and all else alike, evaluate it, and name both runs in one bench. `num_classes=` gives all networks of a bench the same
classes, on which the time of the last resize and of the choice of labels depends.

They are described with the operations of the search spaces, so that parameters, multiply-accumulates, latencies, pictures and
files come from the same code ([the space](../search_spaces/zoo)). All give logits at the size of the image and take any number of
classes and any height and width (HyperSeg: multiples of 64). Auxiliary heads are trained (`train.aux_weight`) and never deployed.
`nas profile genotype=zoo/NAME` measures the operations of one on your device.

This page is written by `python experiments/zoo_here/page.py`.

![Fast-SCNN, as nas show draws it](zoo.png)

## The networks
"""
NOTES = """\
Parameters and GMACs (multiply-accumulates of convolutions and matrix products, in thousands of millions) are those of the deployed
network for 19 classes at 1024x2048. mIoU in percent, as published: on the validation and the test images of Cityscapes, and on the
test images of CamVid. `-`: not published{measured}
"""
SEARCHED = """\
## Published searched networks beside them

The same columns. None of these was searched for the machine of the last two columns, nor for these sizes or runtimes. mIoU is of
the authors' own trainings and mostly of images of 1024x2048. Which network is better on your device and your data shows once both
are trained and evaluated alike, as above.
"""
SOURCES = """\
## Published speed, and where numbers are from

Frames a second at height x width. Speeds of several sources were measured in several ways: compare them within one source. For the
classes and the size with which it was counted, a network has the counts of the code that the last column names; where it has others
on purpose, its file in [networks](../search_spaces/zoo/networks) says why. All figures stand in the `provenance` of the genotype,
which `nas show genotype=zoo/NAME` prints.
"""


def main() -> None:
    """Write the page."""
    write_text_atomic(PAGE, page())


def page() -> str:
    """The text of docs/zoo.md."""
    measured = _results()
    names = [name for name in published_genotypes() if name.startswith("zoo/")]
    searched = [name for name in published_genotypes() if name not in names]
    rows, beside = ([_row(name, measured.get(name, {})) for name in some] for some in (names, searched))
    said = (
        f", or not measured, as the size is none that it takes.\nms here are medians at {' / '.join(MEASURED_AT)}, one image, "
        "one thread of the project's own machine ([experiment](../experiments/zoo_here/README.md))."
        if measured
        else ". ms were not measured here yet."
    )
    table, sources = _table(HEADER, rows), _table(SOURCES_HEADER, [_sources_row(name) for name in names])
    texts = [TOP, *table, "", NOTES.format(measured=said), SEARCHED, *_table(HEADER, beside), "", *_charts()]
    texts += [SOURCES, *sources, "", *_remarks(), *_missing()]
    return "\n".join(texts)


def _row(name: str, measured: Mapping[str, str]) -> list[str]:
    """Cells of a network in the first table."""
    design = load_design(name, all_spaces())
    facts = design.genotype.provenance
    graph = design.deployed(Deployment(SIZE, design.deployment.init_channels, CLASSES)).graph
    published = facts.get("published") or {}
    return [
        facts["title"],
        f"`{name}`",
        str(facts["year"]),
        f"{sum(count_parameters(graph.deployed()).values()) / 1e6:.3f}",
        f"{sum(count_macs(graph).values()) / 1e9:.2f}",
        *(str(published.get(key, "-")) for key in ACCURACIES),
        *(measured.get(runtime, "-") for runtime in RUNTIMES),
    ]


def _sources_row(name: str) -> list[str]:
    """Cells of a network in the second table."""
    facts = load_design(name, all_spaces()).genotype.provenance
    published = facts.get("published") or {}
    survey = [f"fps_3090_{size}" for size in SURVEY_SIZES]
    elsewhere = [key for key in published if key.startswith("fps_") and key not in ("fps_from", *survey)]
    return [
        f"`{name}`",
        " / ".join(str(published.get(key, "-")) for key in survey) if set(survey) & set(published) else "-",
        "; ".join(f"{published[key]} {_where(key)}" for key in elsewhere) or "-",
        *(str(published.get(key, "-")) for key in ("fps_from", "accuracy_from")),
        str(facts["counted"]),
    ]


def _where(key: str) -> str:
    """Device and size of a published speed in words.

    >>> _where("fps_titan_xp_768x1536")
    'Titan Xp 768x1536'
    """
    device, size = key.removeprefix("fps_").rsplit("_", 1)
    return f"{DEVICES[device]} {size}"


def _results() -> dict[str, dict[str, str]]:
    """Network -> runtime -> median ms measured here, at each of the sizes; empty before the experiment."""
    if not RESULTS.is_file():
        return {}
    found: dict[str, dict[str, dict[str, str]]] = {}
    with RESULTS.open(newline="") as file:
        for row in csv.DictReader(file):
            sizes = found.setdefault(row["network"], {}).setdefault(row["runtime"], {})
            sizes[row["size"]] = f"{float(row['measured_ms']):.1f}"
    return {
        network: {runtime: " / ".join(ms.get(size, "-") for size in MEASURED_AT) for runtime, ms in runtimes.items()}
        for network, runtimes in found.items()
    }


def _charts() -> list[str]:
    """The charts of what was measured here; empty before the experiment."""
    return [f"![{words}](../experiments/zoo_here/{name})\n" for name, words in CHARTS.items() if (HERE / name).is_file()]


def _remarks() -> list[str]:
    """What is to be known of published numbers, a line a network."""
    facts = [load_design(name, all_spaces()).genotype.provenance for name in published_genotypes() if name.startswith("zoo/")]
    return [
        "## What to know of published numbers",
        "",
        *(f"- {one['title']}: {one['remarks']}" for one in facts if "remarks" in one),
        "",
    ]


def _missing() -> list[str]:
    """The list of networks that are not there, with the reason of each."""
    reasons: Mapping[str, str] = yaml.safe_load(MISSING.read_text(encoding="utf-8")) or {}
    if not reasons:
        return []
    return ["## Not there", "", *(f"- {name}: {reason}" for name, reason in reasons.items()), ""]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [_line(header), _line(["---"] * len(header)), *(_line(row) for row in rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
