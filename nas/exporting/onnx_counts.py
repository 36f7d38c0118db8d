"""Parameters and multiply-accumulates of an ONNX graph of fixed shapes, as PyTorch's networks are counted here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

Shapes = Mapping[str, Sequence[int]]
"""Name of a map or of a weight -> its sides."""
UNCOUNTED = frozenset(
    "Attention ConvInteger DeformConv Einsum GRU If LSTM Loop MatMulInteger QLinearConv QLinearMatMul RNN Scan".split()
)
"""Operators that multiply and accumulate, or have graphs in them that may, and that are not counted: no number is made of a graph
with one of them, nor with an operator of another domain than ONNX' own."""
NO_WEIGHTS: Mapping[str, Sequence[int]] = {
    "BatchNormalization": (3, 4),
    "Clip": (1, 2),
    "DequantizeLinear": (1, 2),
    "Pad": (1, 2),
    "QuantizeLinear": (1, 2),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
}
"""Operator -> inputs whose constants are statistics or settings; every other constant of floating-point numbers is a parameter."""


def count_onnx_parameters(model: ModelProto) -> int:
    """Numbers that a training has made: constants that an operator reads, each once, without statistics and settings.

    Weights held as whole numbers count where they become floating-point numbers (`DequantizeLinear`).
    """
    from onnx import TensorProto

    floats = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
    constants = [*model.graph.initializer, *_constants(model)]
    sizes = {tensor.name: prod(tensor.dims) for tensor in constants}
    are_floats = {tensor.name for tensor in constants if tensor.data_type in floats}
    weights = set()
    for node in model.graph.node:
        for number, name in enumerate(node.input):
            held = node.op_type == "DequantizeLinear" and number == 0
            if name in sizes and number not in NO_WEIGHTS.get(node.op_type, ()) and (held or name in are_floats):
                weights.add(name)
    return sum(sizes[name] for name in weights)


def count_onnx_macs(model: ModelProto) -> int | None:
    """Multiply-accumulates of convolutions, transposed ones and matrix products; other operators cost none.

    Args:
        model: A graph of fixed shapes.

    Returns:
        None: a shape does not follow from the graph, or an operator of `UNCOUNTED` is in it.
    """
    if any(node.op_type in UNCOUNTED or node.domain not in ("", "ai.onnx") for node in model.graph.node):
        return None
    shapes = _shapes(model)
    total = 0
    for node in model.graph.node:
        count = _COUNTS.get(node.op_type)
        if count is None:
            continue
        names = [*node.input[:2], node.output[0]]
        if not all(all(side > 0 for side in shapes.get(name, (0,))) for name in names):
            return None
        total += count(node, *(shapes[name] for name in names))
    return total


def _conv(node: NodeProto, image: Sequence[int], weight: Sequence[int], output: Sequence[int]) -> int:
    """Each number of the output is a sum over a group's channels and the kernel: weight [out, in / groups, *kernel]."""
    del node, image
    return prod(output) * prod(weight[1:])


def _conv_transpose(node: NodeProto, image: Sequence[int], weight: Sequence[int], output: Sequence[int]) -> int:
    """Each number of the input goes to a group's channels over the kernel: weight [in, out / groups, *kernel]."""
    del node, output
    return prod(image) * prod(weight[1:])


def _matmul(node: NodeProto, one: Sequence[int], other: Sequence[int], output: Sequence[int]) -> int:
    """Each number of the output is a sum over the last axis of the first factor."""
    del node, other
    return prod(output) * one[-1]


def _gemm(node: NodeProto, one: Sequence[int], other: Sequence[int], output: Sequence[int]) -> int:
    """As `_matmul`; the first factor may be transposed."""
    del other
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return prod(output) * one[0 if transposed else 1]


_COUNTS: Mapping[str, Callable[[NodeProto, Sequence[int], Sequence[int], Sequence[int]], int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
}


def _constants(model: ModelProto) -> list[TensorProto]:
    """The values of nodes that are constants, under the names of their outputs."""
    found = []
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                tensor = type(attribute.t)()
                tensor.CopyFrom(attribute.t)
                tensor.name = node.output[0]
                found.append(tensor)
    return found


def _shapes(model: ModelProto) -> dict[str, list[int]]:
    """The shapes that follow from those of the inputs; a side that does not follow is 0."""
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
    return {**shapes, **{tensor.name: list(tensor.dims) for tensor in (*graph.initializer, *_constants(model))}}
