"""Settings of the FasterSeg space; defaults are those of the official code (VITA-Group/FasterSeg, commit 478b026)."""

from __future__ import annotations

from dataclasses import dataclass, field

from nas.config.checks import at_least, one_of, require
from nas.files.value_text import value_text

STRIDES = (8, 16, 32)
"""Strides of the three scales."""
OPS = ("conv", "conv_downup", "conv_2x", "conv_2x_downup")
"""Operators of a derived network, in the order of the logits; the supernet has a skip before them, which never survives."""
BRANCHES = {"32+16": (32, 16), "32+8": (32, 8)}
"""Option of `branches` -> the strides at which the branches end, in the order in which they are fused."""
FIDELITIES = ("corrected", "official")
OFFICIAL_STUDENT_WIDTH = 8
TWELFTHS = 12
"""Widths are stated in twelfths."""


@dataclass(kw_only=True, slots=True)
class FasterSegConfig:
    """FasterSeg's search space."""

    name: str = "fasterseg"
    """Name of the space."""
    layers: int = 16
    """Layers of the lattice, and the most that a branch has."""
    filters: int = 12
    """F: a full map at stride s has s F channels. What search.init_channels and deploy.init_channels are unless they are given."""
    widths: list[int] = field(default_factory=lambda: [4, 6, 8, 10, 12])
    """Widths to choose from, in twelfths of the full one."""
    student_width: int | None = None
    """Width of the student's stem and head, in twelfths; null: that of `widths` nearest to 8, the official one. The teacher has the
    largest."""
    path_weights: str = "outputs"
    """Maps that betas weigh in the supernet: outputs, those of cells, as in the official code; or inputs, as in the paper, where
    each cell runs once in place of twice."""
    path_rule: str = "downs"
    """Rule by which a branch's path is derived: downs, where going down is the most probable, as in the official code but for a
    difference of one layer (Q12); or most_probable, the path whose inputs are the most probable ones all together."""
    fidelity: str = "corrected"
    """corrected, or official: with the defects of the official code that change results, which the README lists."""

    def __post_init__(self) -> None:
        """Check what the settings say of each other."""
        at_least("space.", self, {"layers": len(STRIDES), "filters": 1})
        good = self.student_width is None or self.student_width in self.widths
        require(good, f"space.student_width: got {self.student_width}, expected one of space.widths, {value_text(self.widths)}")
        one_of("space.path_weights", self.path_weights, ("outputs", "inputs"))
        one_of("space.path_rule", self.path_rule, ("downs", "most_probable"))
        one_of("space.fidelity", self.fidelity, FIDELITIES)
        ascending = self.widths == sorted(set(self.widths))
        good = ascending and len(self.widths) >= 1 and self.widths[0] >= 1 and self.widths[-1] <= TWELFTHS
        require(good, f"space.widths: got {value_text(self.widths)}, expected ascending numbers of twelfths from 1 to {TWELFTHS}")
        narrowest = channels(self.filters, STRIDES[1], self.widths[0])
        good = narrowest >= 2 and channels(self.filters, STRIDES[0], self.widths[0]) >= 1
        require(
            good,
            f"space.filters, space.widths: got {self.filters}, {value_text(self.widths)}, whose narrowest maps have no channels; "
            "give more",
        )


def student_width(config: FasterSegConfig) -> int:
    """Width of the student's stem and head, in twelfths; of two that are equally near to the official one, the smaller.

    >>> student_width(FasterSegConfig(widths=[4, 6, 12]))
    6
    """
    if config.student_width is not None:
        return config.student_width
    return min(config.widths, key=lambda width: abs(width - OFFICIAL_STUDENT_WIDTH))


def width_name(twelfths: int) -> str:
    """The option of a width.

    >>> width_name(8)
    '8/12'
    """
    return f"{twelfths}/{TWELFTHS}"


def width_of(option: str) -> int:
    """The twelfths that an option states; `width_name` backwards."""
    return int(option.partition("/")[0])


def scale_name(stride: int) -> str:
    """The option of a scale.

    >>> scale_name(16)
    '1/16'
    """
    return f"1/{stride}"


def stride_of(option: str) -> int:
    """The stride that an option states; `scale_name` backwards."""
    return int(option.partition("/")[2])


def channels(filters: int, stride: int, twelfths: int) -> int:
    """Channels of a map: round(s F w).

    >>> channels(12, 8, 4), channels(12, 32, 12)
    (32, 384)
    """
    return round(stride * filters * twelfths / TWELFTHS)
