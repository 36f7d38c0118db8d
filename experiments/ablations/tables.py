"""The ablations of the paper as data: each table, its rows, and the overrides that make a row (LGCNet, Tables VI-XI, Figure 7)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One setting.

    Args:
        label: What stands in the paper's first columns.
        overrides: Overrides of `nas search` beside the recipe; () is LGCNet itself.
        paper: What the paper reports: mIoU in percent, then FPS, on Cityscapes and one Titan Xp; None where it gives none.
        random: Draw an architecture instead of searching one: `any`, or `fast`, one no slower than the searched ones.
    """

    label: str
    overrides: tuple[str, ...] = ()
    paper: tuple[float, float] | None = None
    random: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """One table or figure.

    Args:
        title: What is compared.
        column: Heading of the first column.
        rows: Its settings.
    """

    title: str
    column: str
    rows: tuple[Row, ...]


TABLES: dict[str, Table] = {
    "VI": Table(
        "What cells tell each other",
        "cells",
        (
            Row("a: shared (one normal, one reduction cell)", ("space.cells=shared", "space.communication=none"), (68.6, 100.1)),
            Row("b: independent", ("space.communication=none",), (67.1, 118.9)),
            Row("c: independent, FC between cells", ("space.communication=fc",), (69.7, 112.8)),
            Row("d: independent, GCN-guided module", (), (73.0, 115.2)),
        ),
    ),
    "VII": Table(
        "Against random architectures",
        "architecture",
        (
            Row("random", (), (69.8, 61.9), random="any"),
            Row("random, no slower than LGCNet's", (), (66.3, 107.6), random="fast"),
            Row("LGCNet", (), (73.0, 115.2)),
        ),
    ),
    "VIII": Table(
        "Width d of the guided module",
        "d",
        (
            Row("without the module", ("space.communication=none",), (67.1, 112.9)),
            Row("16", ("space.guided_dim=16",), (72.1, 111.6)),
            Row("32", ("space.guided_dim=32",), (72.2, 109.2)),
            Row("64", (), (73.0, 115.2)),
            Row("128", ("space.guided_dim=128",), (72.5, 107.1)),
            Row("256", ("space.guided_dim=256",), (72.6, 116.3)),
        ),
    ),
    "IX": Table(
        "Reasoning graph of the guided module",
        "graph",
        (
            Row("operation-identity", ("space.reasoning=operation_identity",), (71.2, 106.4)),
            Row("edge-similarity", (), (73.0, 115.2)),
        ),
    ),
    "X": Table(
        "Head",
        "fusion",
        (
            Row("a: none", ("space.head=none",), (69.5, 124.1)),
            Row("b: ASPP", ("space.head=aspp",), (72.4, 108.4)),
            Row("c: PPM", ("space.head=ppm",), (72.5, 114.1)),
            Row("d: multi-scale cell of CAS", ("space.head=mscell",), (72.7, 112.7)),
            Row("e: dense-connected fusion cell", (), (73.0, 115.2)),
        ),
    ),
    "XI": Table(
        "Cells that the fusion cell reads",
        "cells",
        (
            Row("a: 0, 5, 13", ("space.fused_cells=[0,5,13]",), (72.5, 109.8)),
            Row("b: 0, 6, 13", ("space.fused_cells=[0,6,13]",), (71.8, 113.4)),
            Row("c: 0, 7, 13", (), (72.9, 115.1)),
            Row("e: 0, 7, 10", ("space.fused_cells=[0,7,10]",), (72.2, 115.2)),
            Row("f: 0, 7, 11", ("space.fused_cells=[0,7,11]",), (72.1, 114.6)),
            Row("g: 0, 7, 12", ("space.fused_cells=[0,7,12]",), (72.4, 112.8)),
        ),
    ),
    "figure7": Table(
        "Latency weight",
        "weight (relative)",
        (
            Row("0", ("latency.weight=0",)),
            Row("0.03", ("latency.weight=0.03",)),
            Row("0.12", ()),
            Row("0.5", ("latency.weight=0.5",)),
        ),
    ),
}
