"""From a PyTorch module to an ONNX graph of one image size and any batch, in any opset that runtimes of the field read.

PyTorch's exporter by tracing is used, not the one by `torch.export`: asked for an opset below 18, the latter fails to convert
(2.13: no adapter for Pad) and keeps 18, which TensorRT 8 cannot read. While tracing, `_FixedSizes` states what the
exporter alone would get wrong or leave to the device.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

BATCH = "batch"
"""Name of the free dimension."""


def trace_onnx(module: nn.Module, inputs: Mapping[str, Tensor], *, output: str, opset: int, free_batch: bool = True) -> ModelProto:
    """The ONNX graph of a module: all sizes constant but, where asked for, the first axis of each input and of the output.

    Args:
        module: In evaluation mode; takes the inputs in their order and returns one tensor.
        inputs: Name -> example [N, C, H, W].
        output: Name of the output.
        opset: Version of the operator set.
        free_batch: Whether the first axis is free; else it is that of the examples.
    """
    import onnx

    axes = {name: {0: BATCH} for name in (*inputs, output)} if free_batch else None
    written = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad(), _FixedSizes():
        # Constant sizes are what is wanted here, and the age of this exporter is known: see above.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            cast("Any", written),  # this exporter takes it, and a kill leaves no file behind
            dynamo=False,
            opset_version=opset,
            input_names=list(inputs),
            output_names=[output],
            dynamic_axes=axes,
        )
        shape = module(*inputs.values()).shape
        model = onnx.load_model_from_string(written.getvalue())
    _fold_constants(model)
    while not free_batch and _fix_shapes(model):  # what was asked for may be the size of a map whose own size follows
        _fold_constants(model)
    _strip(model)
    _state_shape(model, shape, free_batch=free_batch)
    return model


def to_float16(model: ModelProto) -> None:
    """Make weights and activations float16, in place; float inputs and outputs stay float32, with a cast after or before each.

    Done on the graph, because PyTorch on a CPU takes minutes to trace float16 convolutions of large maps.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    nodes = list(graph.node)
    scales = {name for node in nodes if node.op_type == "Resize" for name in node.input[1:3]}  # float32 by definition
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in scales:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for attribute in (attribute for node in nodes if node.op_type == "Cast" for attribute in node.attribute):
        attribute.i = TensorProto.FLOAT16 if attribute.i == TensorProto.FLOAT else attribute.i
    inputs = [value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT]
    outputs = [value.name for value in graph.output if value.type.tensor_type.elem_type == TensorProto.FLOAT]
    inside = {name: f"{name}_float16" for name in (*inputs, *outputs)}
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [inside.get(name, name) for name in names]
    down = [helper.make_node("Cast", [name], [inside[name]], to=TensorProto.FLOAT16) for name in inputs]
    up = [helper.make_node("Cast", [inside[name]], [name], to=TensorProto.FLOAT) for name in outputs]
    del graph.node[:]
    graph.node.extend([*down, *nodes, *up])


def add_metadata(model: ModelProto, *, version: str, properties: Mapping[str, str]) -> None:
    """Say in the file who made it, and what is needed to use it."""
    from onnx import helper

    model.producer_name, model.producer_version = "segnas", version
    helper.set_model_props(model, dict(properties))


def node_counts(model: ModelProto) -> dict[str, int]:
    """Operator -> how often it occurs, sorted by name."""
    kinds = [node.op_type for node in model.graph.node]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def pooling_matrix(size: int, bins: int) -> NDArray[np.float32]:
    """The averages of adaptive pooling along one axis as a matrix [bins, size].

    Bin i is the mean of the pixels from floor(i size / bins) to below ceil((i + 1) size / bins).

    >>> pooling_matrix(3, 2).tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
    """
    matrix = np.zeros((bins, size), dtype=np.float32)
    for i in range(bins):
        first, end = i * size // bins, -(-(i + 1) * size // bins)
        matrix[i, first:end] = 1 / (end - first)
    return matrix


class PlainSizes(TorchFunctionMode):
    """While tracing: sizes are plain numbers.

    Traced sizes would become integer arithmetic in the graph, where division truncates and Python's rounds down: `-(-size // 2)`
    is then wrong for odd sizes.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Stand in for `func`."""
        del types
        kwargs = kwargs or {}
        if func == torch.Tensor.shape.__get__:  # type: ignore[attr-defined]
            return torch.Size(int(side) for side in func(*args))
        if func == torch.Tensor.size:
            sizes = torch.Size(int(side) for side in args[0].shape)
            axis = args[1] if len(args) > 1 else kwargs.get("dim")
            return sizes if axis is None else sizes[axis]
        return self.call(func, args, kwargs)

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Stand in for a function that is not about sizes."""
        return func(*args, **kwargs)


class _FixedSizes(PlainSizes):
    """`PlainSizes`, and adaptive pooling is average pooling, or two products where bins are unequal.

    Adaptive pooling has no operator in ONNX, and the exporter forgets the size of a resized map.
    """

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Stand in for `func`."""
        return _adaptive_avg_pool(*args, **kwargs) if func is functional.adaptive_avg_pool2d else func(*args, **kwargs)


def _adaptive_avg_pool(x: Tensor, output_size: int | Iterable[int | None]) -> Tensor:
    """[N, C, H, W] -> [N, C, bins, bins]; as `functional.adaptive_avg_pool2d`, in operators that ONNX has."""
    sizes = [int(side) for side in x.shape[2:]]
    wanted = [output_size] * 2 if isinstance(output_size, int) else list(output_size)
    bins = [size if bin_ is None else bin_ for size, bin_ in zip(sizes, wanted, strict=True)]
    if bins == [1, 1]:
        return functional.adaptive_avg_pool2d(x, 1)  # GlobalAveragePool
    if all(size % bin_ == 0 for size, bin_ in zip(sizes, bins, strict=True)):
        return functional.avg_pool2d(x, (sizes[0] // bins[0], sizes[1] // bins[1]))
    rows, columns = (torch.from_numpy(pooling_matrix(*pair)).to(x.dtype) for pair in zip(sizes, bins, strict=True))
    return torch.matmul(rows, torch.matmul(x, columns.T.contiguous()))


def _fold_constants(model: ModelProto) -> None:
    """Compute what does not depend on the input once, here, and keep it as initialisers; what nothing reads goes."""
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    graph = model.graph
    constant = {tensor.name for tensor in graph.initializer}
    fixed: list[NodeProto] = []
    rest: list[NodeProto] = []
    for node in graph.node:
        is_fixed = all(name in constant for name in node.input if name)
        (fixed if is_fixed else rest).append(node)
        if is_fixed:
            constant.update(node.output)
    read = {name for node in rest for name in node.input} | {value.name for value in graph.output}
    wanted = [name for node in fixed for name in node.output if name in read]
    if wanted:
        outputs = [helper.make_empty_tensor_value_info(name) for name in wanted]
        part = helper.make_graph(fixed, "constants", [], outputs, initializer=graph.initializer)
        values = ReferenceEvaluator(helper.make_model(part, opset_imports=model.opset_import)).run(None, {})
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), name) for name, value in zip(wanted, values, strict=True)
        )
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(rest)
    graph.initializer.extend(kept)


def _fix_shapes(model: ModelProto) -> bool:
    """Put shapes of maps that are known in place of the nodes that would ask for them; whether there were any."""
    from onnx import TensorProto, numpy_helper, shape_inference

    inferred = shape_inference.infer_shapes(model, strict_mode=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input)
        if value.type.tensor_type.elem_type != TensorProto.UNDEFINED
    }
    asking = [node for node in model.graph.node if node.op_type == "Shape" and all(shapes.get(node.input[0], [0]))]
    for node in asking:
        model.graph.node.remove(node)
        model.graph.initializer.append(numpy_helper.from_array(np.array(shapes[node.input[0]], dtype=np.int64), node.output[0]))
    return bool(asking)


def _strip(model: ModelProto) -> None:
    """Drop what only speaks of this machine and of how the graph was made."""
    model.doc_string = model.graph.doc_string = ""
    model.graph.name = "network"
    for field in (model.metadata_props, model.graph.metadata_props, model.graph.value_info):
        del field[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]


def _state_shape(model: ModelProto, shape: torch.Size, *, free_batch: bool) -> None:
    """State the shape of the output; tracing knows only that it has one."""
    dims = model.graph.output[0].type.tensor_type.shape.dim
    for dim, side in list(zip(dims, shape, strict=True))[int(free_batch) :]:
        dim.dim_value = side
