"""The genotypes that ship with the package, as a table; read from their files alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.files.plain_yaml import parse_plain_yaml
from nas.reports.text_table import text_table

HEADER = ("genotype", "network", "year", "input", "classes", "val", "test", "CamVid")
SCORES = ("cityscapes_val", "cityscapes_test", "camvid_test")
"""What `provenance.published` may state, as the last columns show it."""
ABSENT = "-"


def published_list(files: Mapping[str, Path]) -> list[str]:
    """Lines of `nas show list=genotypes`.

    Args:
        files: Name -> file; see `nas.files.shipped.published_genotypes`.
    """
    if not files:
        return ["no published genotypes yet"]
    rows = [[name, *_cells(parse_plain_yaml(path.read_text(encoding="utf-8")).data)] for name, path in files.items()]
    folders = sorted({str(path.parent) for path in files.values()})
    return [
        *text_table(HEADER, rows, left=2),
        "val, test: published mIoU in percent on Cityscapes; CamVid: on its test images",
        "nas show genotype=NAME: parameters, MACs, published speed, sources; nas bench 'networks=[NAME,NAME]': ms here",
        *(f"files in {folder}" for folder in folders),
    ]


def _cells(document: Mapping[str, Any]) -> list[str]:
    """The columns behind the name."""
    provenance, deploy = document["provenance"], document["deploy"]
    height, width = deploy["input"]
    scores = provenance.get("published", {})
    return [
        str(provenance.get("title", ABSENT)),
        str(provenance.get("year", ABSENT)),
        f"{height}x{width}",
        str(deploy["num_classes"]),
        *(f"{scores[key]:.1f}" if key in scores else ABSENT for key in SCORES),
    ]
