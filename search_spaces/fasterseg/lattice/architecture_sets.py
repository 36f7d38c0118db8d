"""The fixed widths of the supernet's architecture sets, and its outputs.

Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917, as in the official code.
"""

from __future__ import annotations

from dataclasses import dataclass

OUTPUTS = ("8s", "16s", "32s", "8s_32s", "16s_32s")
"""Outputs at an eighth of the image's size, which a search trains. Each is what a head makes of one or two maps."""
DEPLOYED_OUTPUT = "16s_32s"
"""The output that stands for the supernet where one is wanted."""


@dataclass(frozen=True, slots=True)
class SetWidths:
    """Fixed widths of an architecture set, the teacher or the student.

    Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917; the values are those of the official code.

    Args:
        stem: Width of the stem, in twelfths.
        head: Width of everything after the lattice, in twelfths.
    """

    stem: int
    head: int
