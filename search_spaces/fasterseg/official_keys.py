"""Names of tensors in the checkpoints of the official repository (VITA-Group/FasterSeg, commit 478b026)."""

from __future__ import annotations

from collections.abc import Iterator

from nas.space.graph import Graph
from search_spaces.fasterseg.deployed.derived import ATTENTION

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
    keys: OfficialKeys = {}
    for node in graph.nodes:
        head, *rest = node.name.split(".")
        if head.startswith("cells"):
            keys.update(_pairs(node.name, _cell(int(rest[0]), _branch(head)), _CELLS[node.spec.kind]))
        elif head == "stem":
            keys.update(_pairs(node.name, node.name, _FIRST | _SECOND if node.spec.kind == "conv_2x" else _NUMBERED))
        elif node.name == "ffm.conv":
            keys.update(_pairs(node.name, "ffm.conv_1x1", _NAMED))
        elif node.name == f"{head}.classifier":
            keys.update({f"{node.name}.conv.{name}": (f"{head}.conv_1x1.{name}",) for name in ("weight", "bias")})
        elif node.name == f"{head}.conv" and head.startswith("heads"):
            keys.update(_pairs(node.name, f"{head}.conv_3x3", _NAMED))
        elif head.startswith(("arms", "refines")) and node.spec.kind == "conv_bn_relu":
            keys.update(_pairs(node.name, node.name.removesuffix(".conv"), _NUMBERED))
    keys.update({f"{name}.conv.weight": (_attention(name),) for name in graph.idle})
    return keys


def official_extras_of(graph: Graph) -> dict[str, str | None]:
    """Official tensors of a derived network without a place in ours -> the one that each repeats; None: it is never executed.

    A cell that both branches share is there once for each. The channel attention of the fusion is there and does nothing; a network
    with `space.fidelity=official` has a place for it.
    """
    extras: dict[str, str | None] = {_attention(name): None for name in ATTENTION if name not in graph.idle}
    for node in graph.nodes:
        head, *rest = node.name.split(".")
        if head == "cells":
            copies, originals = (_tensors(_cell(int(rest[0]), branch), _CELLS[node.spec.kind]) for branch in (1, 0))
            extras.update(zip(copies, originals, strict=True))
    return extras


def _attention(name: str) -> str:
    """The official tensor of a convolution of the channel attention."""
    return f"{name.replace('attention', 'channel_attention')}.conv.weight"


def _branch(head: str) -> int:
    """Official number of the branch of a cell: the first ends at stride 32 whatever the other does, and has the shared ones."""
    return 0 if head in ("cells", "cells32") else 1


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
