"""The structure of a network as a networkx graph: vertices are tensors, edges are the operations between them.

A sum is one vertex with an edge for each term, labelled by the operation that makes the term; so is a concatenation with the
convolution that joins it again. That is what papers draw, and it loses nothing: every node of the `Graph` is named once.
"""

from __future__ import annotations

from collections import defaultdict

import networkx as nx

from nas.ops import OpSpec
from nas.ops.kinds import sized_by_last_input
from nas.ops.spec import DROPOUTS
from nas.space.graph import Graph, Node

_SUMS = frozenset({"add", "select"})
_PRODUCTS = frozenset({"multiply", "gate_channels", "gate_pixels", "channel_dot"})


def architecture_graph(graph: Graph) -> nx.MultiDiGraph:
    """The structure of a supernet or of a derived network; a directed graph without cycles.

    Vertices are numbered as in `graph`, with the attributes `name`, `part`, `channels`, `height`, `width` (pixels), `stride` (how
    much smaller than the image, a power of two), `join` (sum, product, concat, the kind of another operation that reads several
    values, or empty), `joins` (nodes that join their inputs here) and `output`.
    Edges have `name` (of the node that computes it; empty where a tensor is read as it is), `operations` (labels; several while
    the decision is open), `specs` (in the order of the labels), `decisions`, `option` (what was chosen, or None) and `inside`
    (whether both ends are of one part).
    Inputs of which an operation reads only the size are left out, and so is dropout, which a deployed network does not execute.
    """
    return _Contraction(graph).structure()


def operation_label(spec: OpSpec) -> str:
    """The name by which candidates are called, for any operation.

    >>> operation_label(OpSpec(kind="relu_sep_conv_bn", in_channels=8, height=4, width=4, out_channels=8, out_height=4,
    ...                        out_width=4, kernel=3, dilation=2))
    'dil_sep_conv_3x3_d2'
    """
    size = f"{spec.kernel}x{spec.kernel}"
    if spec.kind == "inverted_residual":
        name = f"k{spec.kernel}_e{spec.expansion}_g{spec.groups}"
        return name if spec.dilation == 1 else f"{name}_d{spec.dilation}"
    names = {
        "conv_bn_relu": f"conv_{size}",
        "relu_conv_bn": f"conv_{size}",
        "relu_sep_conv_bn": f"sep_conv_{size}" if spec.dilation == 1 else f"dil_sep_conv_{size}_d{spec.dilation}",
        "max_pool": f"max_pool_{size}",
        "grid_pool": f"global_pool_{size}",
        "identity": "skip_connect",
        "resize": "interpolate",
        "resize_corners": "interpolate",
    }
    return names.get(spec.kind, spec.kind)


class _Contraction:
    """Split of a graph's nodes into vertices and edges of the picture."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.inputs: list[tuple[int, ...]] = []
        for node in graph.nodes:
            inputs = _data_inputs(node)
            self.inputs.append(tuple(self.inputs[i][0] if _kind(graph.nodes[i]) in DROPOUTS else i for i in inputs))
        self.readers: dict[int, list[int]] = defaultdict(list)
        for reader, inputs in enumerate(self.inputs):
            for source in inputs if _kind(graph.nodes[reader]) not in DROPOUTS else ():
                self.readers[source].append(reader)
        self.merged = {self.inputs[i][0]: i for i in range(len(graph.nodes)) if self._joins_again(i)}
        self.on_edges = {i for i in range(len(graph.nodes)) if self._is_term(i)}

    def structure(self) -> nx.MultiDiGraph:
        structure = nx.MultiDiGraph()
        image_height, image_width = _image_size(self.graph)
        concat_of = {vertex: concat for concat, vertex in self.merged.items()}
        for index, node in enumerate(self.graph.nodes):
            if index in self.on_edges or index in self.merged or _kind(node) in DROPOUTS:
                continue
            joins = [self.graph.nodes[concat_of[index]].name, node.name] if index in concat_of else []
            if _is_join(node):
                joins.append(node.name)
            channels, height, width = (3, image_height, image_width) if node.role == "input" else _shape(node)
            structure.add_node(
                index,
                name=node.name,
                part=node.part,
                channels=channels,
                height=height,
                width=width,
                stride=_stride(image_height, height),
                join=_join(node) if joins else "",
                joins=tuple(joins),
                output=tuple(name for name, output in self.graph.outputs.items() if output == index),
            )
        for index in list(structure):
            for source in self.inputs[concat_of.get(index, index)]:
                self._add_edge(structure, source, index, joined=index in concat_of)
        return structure

    def _add_edge(self, structure: nx.MultiDiGraph, source: int, target: int, *, joined: bool) -> None:
        node = self.graph.nodes[target]
        computing: Node | None = node if not joined and not _is_join(node) else None
        if source in self.on_edges:
            computing = self.graph.nodes[source]
            source = self.inputs[source][0]
        structure.add_edge(
            source,
            target,
            name=computing.name if computing else "",
            operations=tuple(_candidates(computing)) if computing else (),
            specs=tuple(_candidates(computing).values()) if computing else (),
            decisions=computing.decisions if computing else (),
            option=computing.chosen if computing else None,
            inside=structure.nodes[source]["part"] == structure.nodes[target]["part"],
        )

    def _joins_again(self, index: int) -> bool:
        """Whether node `index` is a fixed operation that alone reads a concatenation of its own part."""
        node, inputs = self.graph.nodes[index], self.inputs[index]
        if node.role not in ("op", "per_architecture") or _is_join(node) or len(inputs) != 1:
            return False
        source = self.graph.nodes[inputs[0]]
        return _kind(source) == "concat" and source.part == node.part and self._read_once(inputs[0])

    def _is_term(self, index: int) -> bool:
        """Whether node `index` only computes one term of a sum, or of a concatenation that is joined again."""
        node = self.graph.nodes[index]
        if not self.inputs[index] or _is_join(node) or index in self.merged.values() or not self._read_once(index):
            return False
        reader = self.readers[index][0]
        is_joined = _kind(self.graph.nodes[reader]) in _SUMS or reader in self.merged
        parts = {self.graph.nodes[other].part for other in (self.inputs[index][0], index, reader)}
        return is_joined and len(parts) == 1

    def _read_once(self, index: int) -> bool:
        return len(self.readers[index]) == 1 and index not in self.graph.outputs.values()


def _kind(node: Node) -> str:
    """The kind of a fixed node, `select`, or empty for an open operation and for the image."""
    if node.role == "select":
        return "select"
    return node.spec.kind if () in node.specs else ""


def _is_join(node: Node) -> bool:
    """Whether a fixed node joins several values."""
    return _kind(node) == "select" or len(_data_inputs(node)) > 1


def _join(node: Node) -> str:
    """How a vertex joins what it reads; a convolution of a concatenation counts as one."""
    kind = _kind(node)
    if kind in _SUMS or kind == "shift":
        return "sum"
    if kind in _PRODUCTS:
        return "product"
    return kind if _is_join(node) else "concat"


def _data_inputs(node: Node) -> tuple[int, ...]:
    """The inputs whose values are read, and not only their size; of an open operation, the first."""
    kind = _kind(node)
    if not kind:
        return node.inputs[:1]
    return node.inputs[:-1] if kind != "select" and sized_by_last_input(kind) else node.inputs


def _candidates(node: Node) -> dict[str, OpSpec]:
    """Operations of a node, by label: the options of its decision, of several decisions those of the first, at its widest."""
    if not node.decisions:
        return {operation_label(spec): spec for spec in node.specs.values()}
    widest: dict[str, OpSpec] = {}
    for combination, spec in sorted(node.specs.items(), key=lambda item: item[1].out_channels):
        widest[node.option_names[0][combination[0]]] = spec
    return {option: widest[option] for option in node.option_names[0] if option in widest}


def _shape(node: Node) -> tuple[int, int, int]:
    """(channels, height, width) of a result; the widest while it is open."""
    largest = max(node.specs.values(), key=lambda spec: spec.out_channels)
    return largest.out_channels, largest.out_height, largest.out_width


def _image_size(graph: Graph) -> tuple[int, int]:
    """(height, width) of what the operations on the image read."""
    images = {index for index, node in enumerate(graph.nodes) if node.role == "input"}
    reading = [spec for node in graph.nodes if images.intersection(_data_inputs(node)) for spec in node.specs.values()]
    return reading[0].height, reading[0].width


def _stride(image: int, height: int) -> int:
    """The power of two by which ceil-halving leads from the image's height to `height`; larger maps count as 1."""
    stride = 1
    while -(-image // (2 * stride)) >= height and 2 * stride <= image:
        stride *= 2
    return stride
