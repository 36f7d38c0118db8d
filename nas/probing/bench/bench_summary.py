"""Lines for the terminal on networks that were timed side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nas.cost.frame_rate import in_words
from nas.files.command_words import setting
from nas.probing.bench.benched_networks import GENOTYPE, ONNX, BenchedNetwork
from nas.probing.bench.network_times import BenchBlock, TimedNetwork
from nas.reports.text_table import text_table

HEADER = (
    "network",
    "ms",
    "p10",
    "p90",
    "FPS",
    "mIoU %",
    "parameters",
    "GMACs",
    "weights MB",
    "activations MB",
    "predicted ms",
    "error",
)
LEGEND = (
    "p10, p90: a tenth of the samples is below, above, in ms; FPS: images a second, 1000 / ms for one at a time",
    "GMACs: 10^9 multiply-accumulates for one image; activations: of one image the most that are alive at a time",
    "weights, activations: of genotypes in fp32, of ONNX files in the types that they state",
    "error: predicted over measured ms, minus 1",
)
"""What the columns are."""

LISTED = 6
"""Networks that a line names; the files have all."""


def block_lines(block: BenchBlock) -> list[str]:
    """A table of the networks by their time, and what is to be known of it."""
    return [block_title(block), *text_table(HEADER, [row_cells(row) for row in by_time(block)]), *block_notes(block)]


def block_title(block: BenchBlock) -> str:
    """Device, runtime, size, and what the times are."""
    conditions, (height, width), first = block.conditions, block.size, block.rows[0]
    where = f"{conditions.device.name}, {block.runtime} ({conditions.runtime.version})"
    return f"{where}, {height}x{width}, {first.statistic} of {len(first.samples_ms)} samples"


def by_time(block: BenchBlock) -> list[TimedNetwork]:
    """The networks, the fastest first."""
    return sorted(block.rows, key=lambda row: row.ms)


def row_cells(row: TimedNetwork) -> list[str]:
    """The cells of a network, as in `HEADER`; a published mIoU ends in *."""
    network, error, known = row.network, row.prediction_error, row.accuracy
    return [
        network.name,
        *("-" if value is None else f"{value:.3f}" for value in (row.ms, row.p10_ms, row.p90_ms)),
        in_words(row.fps),
        "-" if known is None else f"{100 * known.miou:.2f}{'*' if known.is_published else ''}",
        f"{network.parameters:,}",
        "-" if network.macs is None else f"{network.macs / 1e9:.3f}",
        *("-" if size is None else f"{size / 1e6:.1f}" for size in _sizes(network)),
        "-" if row.prediction.ms is None else f"{row.prediction.ms:.3f}",
        "-" if error is None else f"{error:+.1%}",
    ]


def _sizes(network: BenchedNetwork) -> tuple[int | None, int | None]:
    """Bytes of the weights, and most bytes of maps that are alive."""
    return (None, None) if network.memory is None else (network.memory.weights, network.memory.activations)


def block_notes(block: BenchBlock) -> Iterator[str]:
    """What is to be known of the numbers, a line each."""
    observed = block.observed
    if block.noise_floor is not None:
        yield f"the two series of a network differ by {block.noise_floor:.1%} on average"
    for what, before, after in (
        ("clocks", observed.clocks_before, observed.clocks_after),
        ("temperatures", observed.temperature_before, observed.temperature_after),
    ):
        if before is not None or after is not None:
            yield f"{what}: {before or 'not known'} before, {after or 'not known'} after"
    if observed.throttled:
        yield f"throttled: {', '.join(observed.throttled)}"
    if {row.network.kind for row in block.rows} == {GENOTYPE, ONNX}:
        ends = ", ".join(f"{row.network.name} with {row.network.output}" for row in block.rows if row.network.kind == ONNX)
        yield f"genotypes end with their label map, ONNX files with what they give: {ends}"
    if block.slowdown is not None and any(row.prediction.ms is not None for row in block.rows):
        yield (
            f"predicted by {block.table}; the device takes {block.slowdown:.3f} times as long as when that was measured, which the "
            "errors allow for"
        )
    yield from _classes(block)
    yield from _not_predicted(block)
    yield from _accuracies(block)
    for row in block.rows:
        if row.network.macs is None:
            yield f"MACs of {row.network.name} are not known: a shape does not follow from the file, or an operator is not counted"
        if row.network.memory is None:
            yield f"memory of {row.network.name} is not known: the size of a map does not follow from the file"


def listed(texts: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(texts) - LISTED
    return ", ".join(texts) if more <= 1 else f"{', '.join(texts[:LISTED])} and {more} more"


def _classes(block: BenchBlock) -> Iterator[str]:
    """That genotypes have different numbers of classes, where they do: the last layers of more classes take longer."""
    names: dict[int, list[str]] = {}
    for row in block.rows:
        if row.network.design is not None:
            names.setdefault(row.network.design.deployment.num_classes, []).append(row.network.name)
    if len(names) > 1:
        each = "; ".join(f"{count} of {listed(own)}" for count, own in sorted(names.items()))
        yield f"classes differ, and more take longer: {each}; num_classes=N gives all genotypes the same"


def _classes_of(row: TimedNetwork) -> list[str]:
    """The setting of its number of classes."""
    design = row.network.design
    return [] if design is None else [setting("num_classes", design.deployment.num_classes)]


def _not_predicted(block: BenchBlock) -> Iterator[str]:
    """Each reason once, with the networks that it holds for."""
    by_reason: dict[str, list[TimedNetwork]] = {}
    for row in block.rows:
        if row.prediction.reason is not None:
            by_reason.setdefault(row.prediction.reason, []).append(row)
    for reason, rows in by_reason.items():
        if all(row.prediction.lacking for row in rows):
            words = (
                "nas profile",
                setting("genotype", rows[0].network.name),
                setting("deploy.input", block.size),
                *_classes_of(rows[0]),
                setting("runtime", block.runtime),
                *block.measured_with,
            )
            lacking = listed([f"{row.prediction.lacking} of {row.network.name}" for row in rows])
            yield f"not predicted: {reason}: {lacking}; measure them, e.g. with {' '.join(words)}"
        elif len(rows) == len(block.rows):
            yield f"not predicted: {reason}"
        else:
            yield f"not predicted: {listed([row.network.name for row in rows])}: {reason}"


def _accuracies(block: BenchBlock) -> Iterator[str]:
    """What the figures of mIoU are of, and who has none."""
    kinds: dict[str, list[str]] = {}
    for row in block.rows:
        if row.accuracy is not None:
            ours = "" if not row.accuracy.is_published else " (*), with the authors' weights and size of images"
            kinds.setdefault(f"{row.accuracy.kind}{ours}", []).append(row.network.name)
    for kind, names in kinds.items():
        yield f"mIoU {kind}" + (f": {listed(names)}" if len(kinds) > 1 else "")
    without = [row.network.name for row in block.rows if row.accuracy is None]
    if kinds and without:
        where = "of a run in its folder, of an ONNX file in one for bench.evaluations"
        yield f"mIoU not known: {listed(without)}; nas eval measures it, {where}"
