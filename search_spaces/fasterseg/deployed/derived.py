"""The derived network: stem, cells that branches share or have of their own, fusion, heads.

Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917, as in the official code. Maps are resized to the size of the map that they
meet, which at sizes divisible by 32 are the official factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from nas.space.graph import Graph, NetworkBuilder, Value, map_spec
from search_spaces.fasterseg.config import channels, width_of
from search_spaces.fasterseg.deployed.branches import Branch, cell_owners
from search_spaces.fasterseg.deployed.operators import conv_spec, operator_spec

_WIDEST_HEAD = 256
"""Channels up to which a head does not halve them."""

ATTENTION = ("ffm.attention.1", "ffm.attention.2")
"""Names of the two 1x1 convolutions of the channel attention, numbered as officially."""

Maps = dict[int, Value]
"""Stride -> the latest map of a branch at that stride."""


@dataclass(frozen=True, slots=True)
class _Derived:
    """Shared state of the description (a derived network of Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917).

    Args:
        builder: Where to.
        filters: F.
        num_classes: Classes.
        head_width: Width of everything after the branches, in twelfths.
    """

    builder: NetworkBuilder
    filters: int
    num_classes: int
    head_width: int

    def head_channels(self, stride: int) -> int:
        """Channels of a map at a stride in the width of the head."""
        return channels(self.filters, stride, self.head_width)


def describe_derived(
    builder: NetworkBuilder,
    decided: Mapping[str, str],
    branches: tuple[Branch, ...],
    *,
    filters: int,
    num_classes: int,
    with_attention: bool,
) -> Graph:
    """Describe a derived network of Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917.

    Args:
        builder: Where to.
        decided: The decisions; of these only the widths of stem and head are read.
        branches: What they say of the branches.
        filters: F.
        num_classes: Classes K.
        with_attention: Hold the weights of the official channel attention, which is never run (Q15 of the README).

    Returns:
        The graph. It has `logits`, `labels` and the auxiliary outputs `heads16` and `heads32`, [N, K, H, W] each.
    """
    parts = _Derived(builder, filters, num_classes, width_of(decided["head.width"]))
    image = builder.image()
    stem = describe_stem(builder, image, filters=filters, width=width_of(decided["stem.width"]))
    maps = _describe_cells(parts, stem, branches)
    by_end = {branch.stride: one for branch, one in zip(branches, maps, strict=True)}
    ends = [_describe_end(parts, branch.stride, one) for branch, one in zip(branches, maps, strict=True)]
    joined = builder.concat("ffm.join", ends)
    fused = builder.op("ffm.conv", conv_spec(joined, joined.channels, kernel=1), joined)
    for name in ATTENTION if with_attention else ():
        pooled = Value(fused.index, fused.channels, 1, 1)
        builder.idle(name, map_spec("bare_conv", pooled, pooled, fused.channels))
    logits = _describe_head(parts, "heads8", fused, image)
    labels = builder.op("heads8.argmax", map_spec("argmax", logits, logits, 1), logits)
    middle = builder.concat("heads16.join", [by_end[stride][16] for stride in by_end if stride >= 16])
    auxiliary = {
        "heads16": _describe_head(parts, "heads16", middle, image),
        "heads32": _describe_head(parts, "heads32", by_end[32][32], image),
    }
    return builder.finish(logits=logits, labels=labels, **auxiliary)


def describe_stem(builder: NetworkBuilder, image: Value, *, filters: int, width: int) -> Value:
    """Three operations of stride 2: an image -> channels(filters, 8, width) channels at an eighth of its size.

    Args:
        builder: Where to.
        image: The image.
        filters: F.
        width: Width of the stem, in twelfths.
    """
    of_stride = partial(channels, filters, twelfths=width)
    value = builder.op("stem.0", operator_spec("conv", image, 2 * of_stride(2), stride=2), image)
    value = builder.op("stem.1", operator_spec("conv_2x", value, 2 * of_stride(4), stride=2), value)
    return builder.op("stem.2", operator_spec("conv_2x", value, of_stride(8), stride=2), value)


def _describe_cells(parts: _Derived, stem: Value, branches: tuple[Branch, ...]) -> list[Maps]:
    """The cells of all branches, one branch after the other; the latest maps of each by stride."""
    owners = cell_owners(branches)
    shared = {(owner, layer) for i, some in enumerate(owners) for layer, owner in enumerate(some) if owner < i}
    outputs: list[list[Value]] = []
    maps: list[Maps] = []
    for i, branch in enumerate(branches):
        value, latest = stem, {8: stem}
        outputs.append([])
        for number, owner in enumerate(owners[i]):
            if owner < i:
                value = outputs[owner][number]
            else:
                part = "cells" if (i, number) in shared else f"cells{branch.stride}"
                value = _describe_cell(parts, f"{part}.{number}", branch, number, value)
            outputs[i].append(value)
            latest[branch.out_stride(number)] = value
        maps.append(latest)
    return maps


def _describe_cell(parts: _Derived, name: str, branch: Branch, number: int, value: Value) -> Value:
    layer, out_stride = branch.layers[number], branch.out_stride(number)
    leaving = channels(parts.filters, out_stride, layer.width)
    spec = operator_spec(layer.op, value, leaving, stride=out_stride // layer.stride)
    return parts.builder.op(name, spec, value, chosen=layer.op)


def _describe_end(parts: _Derived, end: int, maps: Maps) -> Value:
    """Lead the last map of a branch up to an eighth of the image, scale by scale: 1x1, resize, join with the map there, 3x3."""
    value, stride, step = maps[end], end, 0
    while stride > min(maps):
        number = f".{step}" if end == 32 else ""
        stride //= 2
        arm = parts.builder.op(f"arms{end}{number}", conv_spec(value, parts.head_channels(stride), kernel=1), value)
        finer, refine = maps[stride], f"refines{end}{number}"
        up = parts.builder.op(f"{refine}.resize", map_spec("resize_corners", arm, finer, arm.channels), arm, finer)
        joined = parts.builder.concat(f"{refine}.join", [up, finer])
        value = parts.builder.op(f"{refine}.conv", conv_spec(joined, parts.head_channels(stride), kernel=3), joined)
        step += 1
    return value


def _describe_head(parts: _Derived, name: str, value: Value, image: Value) -> Value:
    """3x3 convolution, scores of classes, resizing to the size of the image."""
    middle = value.channels if value.channels <= _WIDEST_HEAD else value.channels // 2
    hidden = parts.builder.op(f"{name}.conv", conv_spec(value, middle, kernel=3), value)
    scores = parts.builder.op(f"{name}.classifier", map_spec("classifier", hidden, hidden, parts.num_classes), hidden)
    return parts.builder.op(f"{name}.resize", map_spec("resize_corners", scores, image, parts.num_classes), scores, image)
