"""The cell: a small graph of nodes whose edges are searched.

Cheng et al., LGCNet, 2023, arXiv:2302.08481, section III-B, eq. 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas.ops.candidates import EdgeShape, candidate_specs
from nas.space.graph import NetworkBuilder, Value
from search_spaces.lgcnet.config import LGCNetConfig


@dataclass(frozen=True, slots=True)
class Edge:
    """Edge (i, j) of a cell, the place of one mixed operation.

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, section III-B.

    Args:
        number: Row of the edge in the architecture parameters of its cell.
        source: State i that it leaves: 0 and 1 are the inputs of the cell, 2, ... its nodes.
        node: Node that it enters, from 0.
    """

    number: int
    source: int
    node: int


def cell_edges(num_nodes: int) -> tuple[Edge, ...]:
    """Edges of a cell: every node reads both inputs and all earlier nodes (LGCNet, section III-B); two nodes have p = 5 edges.

    >>> [(edge.source, edge.node) for edge in cell_edges(2)]
    [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1)]
    """
    pairs = [(source, node) for node in range(num_nodes) for source in range(2 + node)]
    return tuple(Edge(number, source, node) for number, (source, node) in enumerate(pairs))


def edge_name(cell: int | str, edge: int) -> str:
    """Name of an edge, and of its decision.

    >>> edge_name(3, 1), edge_name("reduction", 1)
    ('cells.3.edge.1', 'cells.reduction.edge.1')
    """
    return f"cells.{cell}.edge.{edge}"


def describe_cell(
    builder: NetworkBuilder,
    inputs: tuple[Value, Value],
    config: LGCNetConfig,
    *,
    number: int,
    decided_as: int | str,
    channels: int,
) -> Value:
    """Append a cell: x_i = sum_{j < i} sum_k Z^k_{j,i} O^k_{j,i}(x_j); its output is the concatenation of the nodes.

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, section III-B, eq. 3. In a reduction cell the edges that leave the inputs have
    stride 2 [reading]. In the cell after one, the older input has twice the size of the newer.

    Args:
        builder: Where to.
        inputs: Outputs of the cells before the last and of the last.
        config: Nodes, candidate operations, reduction cells.
        number: Number of the cell.
        decided_as: Whose decisions it follows: its own number, or the kind of cell that shares them.
        channels: Width C of the cell.

    Returns:
        The concatenated nodes, n * C channels.

    Shapes:
        [N, C0, H0, W0] and [N, C1, H, W] -> [N, n C, ceil(H / s), ceil(W / s)], s = 2 in a reduction cell, else 1.
    """
    older, newer = inputs
    states: list[Value] = [
        _input(builder, f"cells.{number}.input.0", older, channels, stride=2 if number - 1 in config.reduction_cells else 1),
        _input(builder, f"cells.{number}.input.1", newer, channels, stride=1),
    ]
    edges = cell_edges(config.num_nodes)
    for node in range(config.num_nodes):
        terms = []
        for edge in (edge for edge in edges if edge.node == node):
            source = states[edge.source]
            stride = 2 if number in config.reduction_cells and edge.source < 2 else 1
            specs = candidate_specs(tuple(config.ops), _shape(source, channels, stride))
            decision = edge_name(decided_as, edge.number)
            terms.append(builder.choice(edge_name(number, edge.number), specs, source, decision=decision))
        states.append(builder.add(f"cells.{number}.node.{node}", terms))
    return builder.concat(f"cells.{number}.output", states[2:])


def _input(builder: NetworkBuilder, name: str, value: Value, channels: int, *, stride: int) -> Value:
    """Bring an input to the cell's width and, across a reduction, to the size of the newer input."""
    kind = "relu_conv_bn" if stride == 1 else "factorized_reduce"
    return builder.op(name, _shape(value, channels, stride).spec(kind), value)


def _shape(value: Value, channels: int, stride: int) -> EdgeShape:
    return EdgeShape(in_channels=value.channels, out_channels=channels, height=value.height, width=value.width, stride=stride)
