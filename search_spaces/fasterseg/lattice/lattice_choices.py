"""Decisions of the supernet: operator, input and width of each cell of the lattice.

The cell of a layer at a stride is named `cells.LAYER.STRIDE`. Its decisions are `.op` (one for what it keeps and what it sends
down), `.input` (from the finer scale, or from the same) and `.width` (of the map that enters it). Layer 0 has stride 8 alone, layer
1 strides 8 and 16. What enters layer 0 has the width of the stem, what leaves the last layer that of the head.

Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917: alpha, beta and the expansion ratios, in the layout of the official code.
"""

from __future__ import annotations

from collections.abc import Iterator

from nas.space.choice import Choice
from search_spaces.fasterseg.config import OPS, STRIDES, FasterSegConfig, width_name
from search_spaces.fasterseg.deployed.operators import SKIP

LATTICE_OPS = (SKIP, *OPS)
"""Operators of a cell, in the order of the logits."""
INPUTS = ("down", "keep")
"""Origin of a cell's input, in the order of the logits: the finer scale or the same."""
STEM_WIDTH = "stem.width"
HEAD_WIDTH = "head.width"


def cell_name(layer: int, stride: int) -> str:
    """Name of a cell.

    >>> cell_name(3, 16)
    'cells.3.16'
    """
    return f"cells.{layer}.{stride}"


def op_decision(layer: int, stride: int) -> str:
    """The decision on a cell's operator."""
    return f"{cell_name(layer, stride)}.op"


def input_decision(layer: int, stride: int) -> str:
    """The decision on where a cell's input is from."""
    return f"{cell_name(layer, stride)}.input"


def width_in(layer: int, stride: int) -> str:
    """The decision on the width of the map that enters a cell: that of the stem for layer 0."""
    return STEM_WIDTH if layer == 0 else f"{cell_name(layer, stride)}.width"


def width_out(layer: int, stride: int, *, layers: int) -> str:
    """The decision on the width of the map that leaves a layer at a stride: that of the head for the last layer."""
    return HEAD_WIDTH if layer == layers - 1 else width_in(layer + 1, stride)


def strides_of(layer: int) -> tuple[int, ...]:
    """The strides at which a layer has cells.

    >>> strides_of(1)
    (8, 16)
    """
    return STRIDES[: layer + 1]


def goes_down(layer: int, stride: int, *, layers: int) -> bool:
    """Whether a cell sends a map to the next coarser scale."""
    return stride < STRIDES[-1] and layer < layers - 1


def has_two_inputs(layer: int, stride: int) -> bool:
    """Whether a cell's input is a decision: cells on the finest scale and on the diagonal have one."""
    return stride > STRIDES[0] and layer > STRIDES.index(stride)


def lattice_choices(config: FasterSegConfig) -> tuple[Choice, ...]:
    """All decisions of the supernet; those on the widths of stem and head have no logits in any architecture set.

    Args:
        config: Layers and widths.
    """
    widths = tuple(map(width_name, config.widths))
    return (
        *(Choice(name, widths, name.replace(".", "_"), 0, relaxation="sampled") for name in (STEM_WIDTH, HEAD_WIDTH)),
        *_cell_choices(config.layers, widths),
    )


def _cell_choices(layers: int, widths: tuple[str, ...]) -> Iterator[Choice]:
    """Decisions in groups: `op_S`, `input_S` and `width_S` are the official alpha, beta and ratio, rows in order of layers."""
    for scale, stride in enumerate(STRIDES):
        for layer in range(scale, layers):
            yield Choice(op_decision(layer, stride), LATTICE_OPS, f"op_{stride}", layer - scale, relaxation="softmax")
            if has_two_inputs(layer, stride):
                yield Choice(input_decision(layer, stride), INPUTS, f"input_{stride}", layer - scale - 1, relaxation="softmax")
            if layer > 0:
                row = layer - max(scale, 1)
                yield Choice(width_in(layer, stride), widths, f"width_{stride}", row, relaxation="sampled")
