"""Names of tensors in the checkpoints of the official repository (VITA-Group/FasterSeg, commit 478b026)."""

from __future__ import annotations

from collections.abc import Iterator

from nas.graph import Graph

OfficialKeys = dict[str, tuple[str, ...]]

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_NUMBERED = {"conv": "conv.0", "bn": "conv.1"}
_NAMED = {"conv": "conv", "bn": "bn"}
_SINGLE = {"conv": "conv1", "bn": "bn1"}
_FIRST = {"first.conv": "conv1", "first.bn": "bn1"}
_SECOND = {"second.conv": "conv2", "second.bn": "bn2"}
_CELLS = {"conv_bn_relu": _SINGLE, "conv_downup": _FIRST, "conv_2x": _FIRST | _SECOND, "conv_2x_downup": _FIRST | _SECOND}


def official_keys_of(graph: Graph) -> OfficialKeys:
    """Our tensors of a derived network -> the official ones."""
    number_of = {stride: number for number, stride in enumerate(_own_cells(graph))}
    keys: OfficialKeys = {}
    for node in graph.nodes:
        head, *rest = node.name.split(".")
        if head == "cells":
            layer, stride = map(int, rest)
            keys.update(_pairs(node.name, _cell(layer, number_of[stride]), _CELLS[node.spec.kind]))
        elif head == "stem":
            keys.update(_pairs(node.name, node.name, _FIRST | _SECOND if node.spec.kind == "conv_2x" else _NUMBERED))
        elif node.name == "ffm.conv":
            keys.update(_pairs(node.name, "ffm.conv_1x1", _NAMED))
        elif node.name == f"{head}.classifier":
            keys.update({f"{node.name}.conv.{name}": (f"{head}.conv_1x1.{name}",) for name in ("weight", "bias")})
        elif node.name == f"{head}.conv":
            keys.update(_pairs(node.name, f"{head}.conv_3x3", _NAMED))
        elif head.startswith(("arms", "refines")):
            keys.update(_pairs(node.name, node.name, _NUMBERED))
    return keys


def official_extras_of(graph: Graph) -> dict[str, str | None]:
    """Official tensors of a derived network without a place in ours -> the one that each repeats; None: it is never executed.

    A cell that branches share is there once for each of them. The channel attention of the fusion is there and does nothing.
    """
    extras: dict[str, str | None] = {f"ffm.channel_attention.{i}.conv.weight": None for i in (1, 2)}
    first, *others = _own_cells(graph).values()
    for number, cells in enumerate(others, start=1):
        for layer in range(min(cells)):  # what comes before a branch's own cells it shares with the first branch
            copies, originals = (_tensors(_cell(layer, branch), _CELLS[first[layer]]) for branch in (number, 0))
            extras.update(zip(copies, originals, strict=True))
    return extras


def _own_cells(graph: Graph) -> dict[int, dict[int, str]]:
    """Stride at which a branch ends -> layer -> kind of operation of its cell, without those that it shares with one before.

    In the order in which the branches are fused, coarse ones first. A branch has at least its last layer to itself.
    """
    cells: dict[int, dict[int, str]] = {}
    for node in graph.nodes:
        head, *rest = node.name.split(".")
        if head == "cells":
            layer, stride = map(int, rest)
            cells.setdefault(stride, {})[layer] = node.spec.kind
    return dict(sorted(cells.items(), reverse=True))


def _cell(layer: int, branch: int) -> str:
    return f"cells.{layer}-{branch}._op._op"


def _tensors(prefix: str, names: dict[str, str]) -> list[str]:
    """The official tensors of convolutions without bias and of batch norms."""
    return [official for _, (official,) in _pairs("", prefix, names)]


def _pairs(ours: str, theirs: str, names: dict[str, str]) -> Iterator[tuple[str, tuple[str]]]:
    """Convolutions without bias and batch norms, each tensor under both of its names."""
    for own, official in names.items():
        for tensor in _NORM if own.endswith("bn") else ("weight",):
            yield f"{ours}.{own}.{tensor}", (f"{theirs}.{official}.{tensor}",)
