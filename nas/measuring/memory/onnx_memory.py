"""Memory of a network in an ONNX file, be it anybody's: its initialisers, and the maps between its nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any

from nas.errors import ConfigError
from nas.measuring.memory.map_lifetimes import Memory, Step, memory_of_steps

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
"""Operators whose result is the map that they read, seen otherwise."""
POINTWISE = frozenset(
    "Abs Add BatchNormalization Cast Celu Clip Div Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Max Min Mish Mul Neg Not Pow"
    " PRelu Relu Selu Sigmoid Softplus Sqrt Sub Sum Tanh ThresholdedRelu".split()
)
"""Operators that may write over a map that they read."""


def onnx_memory(model: ModelProto, size: tuple[int, int] | None = None) -> Memory:
    """Memory that a model takes, a free batch as one image.

    Args:
        model: Its weights need not be loaded. Maps inside of the branches of an `If` or `Loop` do not count.
        size: (height, width) in pixels, where the file leaves those of an input [N, C, H, W] free.

    Raises:
        ConfigError: If the size of a map does not follow from file and size.
    """
    shapes = _shapes(model, size)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    constants |= {node.output[0]: value for node in model.graph.node if (value := _constant(node)) is not None}
    nodes = [node for node in model.graph.node if node.op_type != "Constant"]
    read = {name for node in nodes for name in node.input}
    weights = sum(_bytes(tensor.data_type, tensor.dims) for name, tensor in constants.items() if name in read)
    source = {value.name: value.name for value in model.graph.input if value.name not in constants}
    steps = [Step("input", [], {name: _sized(shapes, name, "the input") for name in source})]
    for node in nodes:
        reads = [source[name] for name in node.input if name in source]
        results = [name for name in node.output if name]
        if node.op_type in VIEWS and reads:
            source |= dict.fromkeys(results, reads[0])
            makes = {}
        else:
            source |= {name: name for name in results}
            makes = {name: _sized(shapes, name, f"{node.op_type} {node.name}".strip()) for name in results}
        shape = "x".join(map(str, shapes[results[0]][1])) if results[0] in shapes else ""
        steps.append(Step(f"{node.op_type} {shape}".strip(), reads, makes, node.op_type in POINTWISE))
    outputs = {source.get(value.name, value.name) for value in model.graph.output}
    return memory_of_steps(steps, outputs, weights=weights)


def _shapes(model: ModelProto, size: tuple[int, int] | None) -> dict[str, tuple[int, list[int]]]:
    """Map -> type of its elements, and its shape as far as it is known: 0 stands for what is not."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    constants = {tensor.name for tensor in fixed.graph.initializer}
    for value in fixed.graph.input:
        if value.name not in constants:
            _fix(value.type.tensor_type.shape.dim, size)
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True).graph
    return {
        value.name: (value.type.tensor_type.elem_type, [dim.dim_value for dim in value.type.tensor_type.shape.dim])
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape")
    }


def _fix(dims: Any, size: tuple[int, int] | None) -> None:
    """Give the free sides of an input their size: the batch 1, those of an image as stated."""
    wanted = [1, 0, *(size or (0, 0))] if len(dims) == 4 else [1, *[0] * (len(dims) - 1)]
    for dim, side in zip(dims, wanted, strict=True):
        if not dim.dim_value and side:
            dim.dim_value = side


def _sized(shapes: dict[str, tuple[int, list[int]]], name: str, operator: str) -> int:
    """Bytes of a map."""
    kind, dims = shapes.get(name, (0, [0]))
    if not all(dims):
        raise ConfigError(
            f"{operator}: the size of its map {name!r} does not follow from the file; give the size of the images, or fix the"
            " shapes in the file (onnxsim)"
        )
    return _bytes(kind, dims)


def _bytes(kind: int, dims: Iterable[int]) -> int:
    from onnx import helper

    return prod(dims) * int(helper.tensor_dtype_to_np_dtype(kind).itemsize)


def _constant(node: NodeProto) -> TensorProto | None:
    """The tensor of a `Constant` node; None for other nodes, and for the few numbers that such a node may hold otherwise."""
    return next(_tensors(node), None) if node.op_type == "Constant" else None


def _tensors(node: NodeProto) -> Iterator[TensorProto]:
    yield from (attribute.t for attribute in node.attribute if attribute.name == "value")
